//! How much a poll returns: at most so many records and bytes, and how many bytes are worth returning before
//! its timeout.

use crate::error::{Error, Result};
use crate::log::Portion;

/// A poll without `max_bytes` asks no further partition when it has this much.
const POLL_BYTES: usize = 4 << 20;

/// The limits of a consumer's polls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) max_records: Option<usize>,
    pub(super) max_bytes: Option<usize>,
    pub(super) min_bytes: Option<usize>,
}

/// What a poll has taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) records: usize,
    /// Of whole frames.
    pub(super) bytes: usize,
}

impl Limits {
    /// Checks every setting.
    pub(super) fn check(&self) -> Result<()> {
        at_least_one("max_records", self.max_records)?;
        at_least_one("max_bytes", self.max_bytes)?;
        let most = self.max_bytes.unwrap_or(POLL_BYTES);
        match self.min_bytes {
            Some(bytes) if !(1..=most).contains(&bytes) => Err(Error::InvalidConfig {
                setting: "min_bytes",
                value: bytes.to_string(),
                allowed: format!("1 to {most}; max_bytes sets the upper end"),
            }),
            _ => Ok(()),
        }
    }

    /// How much of the next run may still be taken; `None`: all of it, so that no frame is looked at.
    #[inline]
    pub(super) fn portion(&self, taken: Taken) -> Option<Portion> {
        if self.max_records.is_none() && self.max_bytes.is_none() {
            return None;
        }
        Some(Portion {
            records: self.max_records.map(|most| most.saturating_sub(taken.records)),
            bytes: self.max_bytes.map(|most| most.saturating_sub(taken.bytes)),
            at_least_one: taken.records == 0,
        })
    }

    /// Whether a poll ends with what it has.
    #[inline]
    pub(super) fn are_reached(&self, taken: Taken) -> bool {
        taken.bytes >= self.max_bytes.unwrap_or(POLL_BYTES)
            || self.max_records.is_some_and(|most| taken.records >= most)
    }
}

fn at_least_one(setting: &'static str, value: Option<usize>) -> Result<()> {
    match value {
        Some(0) => {
            let allowed = "1 or more".to_owned();
            Err(Error::InvalidConfig { setting, value: "0".to_owned(), allowed })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(records: usize, bytes: usize) -> Taken {
        Taken { records, bytes }
    }

    #[test]
    fn without_limits_nothing_is_cut_and_a_poll_still_ends() {
        let limits = Limits::default();
        assert!(limits.portion(taken(0, 0)).is_none());
        assert!(!limits.are_reached(taken(1_000_000, POLL_BYTES - 1)));
        assert!(limits.are_reached(taken(1, POLL_BYTES)));
    }

    #[test]
    fn what_was_taken_is_not_allowed_again_and_one_record_always_is() {
        let limits = Limits { max_records: Some(10), max_bytes: Some(1_000), min_bytes: None };
        let first = limits.portion(taken(0, 0)).expect("limited");
        assert_eq!((first.records, first.bytes, first.at_least_one), (Some(10), Some(1_000), true));
        let later = limits.portion(taken(7, 1_200)).expect("limited");
        assert_eq!((later.records, later.bytes, later.at_least_one), (Some(3), Some(0), false));
        assert!(limits.are_reached(taken(10, 0)) && limits.are_reached(taken(1, 1_000)));
        assert!(!limits.are_reached(taken(9, 999)));
    }

    #[test]
    fn every_limit_refuses_what_is_outside_its_range_and_names_it() {
        let none = Limits::default();
        for (setting, limits) in [
            ("max_records", Limits { max_records: Some(0), ..none }),
            ("max_bytes", Limits { max_bytes: Some(0), ..none }),
            ("min_bytes", Limits { min_bytes: Some(0), ..none }),
            ("min_bytes", Limits { min_bytes: Some(POLL_BYTES + 1), ..none }),
            ("min_bytes", Limits { min_bytes: Some(11), max_bytes: Some(10), ..none }),
        ] {
            let error = limits.check().expect_err(setting).to_string();
            assert!(error.contains(setting) && error.contains('1'), "{error}");
        }
        Limits { max_records: Some(1), max_bytes: Some(8 << 20), min_bytes: Some(8 << 20) }
            .check()
            .expect("in range");
    }
}
