//! What the catalog says of a topic's retention and compaction: lines that are there only if they say
//! something else than the default.
//!
//! ```text
//!   retention max_age_ms 604800000
//!   retention max_bytes 10737418240
//!   retention min_age_ms 3600000
//!   retention read_by billing
//!   compaction 50 86400000 0 never
//!   when_full refuse
//!   segment_age_ms 86400000
//! ```

use std::time::Duration;

use super::{meaning_of, word_of};
use crate::config::{Compaction, DEFAULT_SEGMENT_AGE, TopicSettings, WhenFull};

const WAYS: [(WhenFull, &str); 3] =
    [(WhenFull::DropOldest, "drop-oldest"), (WhenFull::Block, "block"), (WhenFull::Refuse, "refuse")];
const NEVER: &str = "never";

pub(super) fn encode(text: &mut String, settings: &TopicSettings) {
    let TopicSettings { retention, compaction, when_full, segment_age, .. } = settings;
    let mut line = |words: String| *text += &format!("  {words}\n");
    if let Some(age) = retention.max_age {
        line(format!("retention max_age_ms {}", age.as_millis()));
    }
    if let Some(bytes) = retention.max_bytes {
        line(format!("retention max_bytes {bytes}"));
    }
    if retention.min_age > Duration::ZERO {
        line(format!("retention min_age_ms {}", retention.min_age.as_millis()));
    }
    for group in &retention.read_by {
        line(format!("retention read_by {}", escaped(group)));
    }
    if let Some(Compaction { min_dirty_percent, delete_retention, min_lag, max_lag }) = compaction {
        let max_lag = max_lag.map_or(NEVER.to_owned(), |lag| lag.as_millis().to_string());
        let (delete_ms, min_ms) = (delete_retention.as_millis(), min_lag.as_millis());
        line(format!("compaction {min_dirty_percent} {delete_ms} {min_ms} {max_lag}"));
    }
    if *when_full != WhenFull::DropOldest {
        line(format!("when_full {}", word_of(&WAYS, when_full)));
    }
    if *segment_age != DEFAULT_SEGMENT_AGE {
        line(format!("segment_age_ms {}", segment_age.as_millis()));
    }
}

/// Takes over a line; `None` if it is not known.
pub(super) fn decode(words: &[&str], settings: &mut TopicSettings) -> Option<()> {
    let retention = &mut settings.retention;
    match words {
        ["retention", "max_age_ms", age] => retention.max_age = Some(millis(age)?),
        ["retention", "max_bytes", bytes] => retention.max_bytes = Some(bytes.parse().ok()?),
        ["retention", "min_age_ms", age] => retention.min_age = millis(age)?,
        ["retention", "read_by", group] => retention.read_by.push(unescaped(group)?),
        ["compaction", percent, delete_retention, min_lag, max_lag] => {
            settings.compaction = Some(Compaction {
                min_dirty_percent: percent.parse().ok()?,
                delete_retention: millis(delete_retention)?,
                min_lag: millis(min_lag)?,
                max_lag: if *max_lag == NEVER { None } else { Some(millis(max_lag)?) },
            });
        }
        ["when_full", word] => settings.when_full = meaning_of(&WAYS, word)?,
        ["segment_age_ms", age] => settings.segment_age = millis(age)?,
        _ => return None,
    }
    Some(())
}

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// A group's name in one word: bytes other than letters, digits, `.`, `_` and `-` as `%` and two hexadecimal
/// digits.
fn escaped(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

fn unescaped(word: &str) -> Option<String> {
    let (mut name, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = behind;
        } else {
            name.push(byte);
        }
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_are_one_word_and_come_back() {
        for name in ["billing", "a b", "100%", "\u{e4}\n\t", "%41"] {
            assert!(!escaped(name).contains(char::is_whitespace), "{name:?}");
            assert_eq!(unescaped(&escaped(name)).as_deref(), Some(name));
        }
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }
}
