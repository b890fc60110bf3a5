//! Ending the segment that is written to because of its age: only what is sealed is given up and compacted.
//! A log in use begins the next one with its next batch; one that is not, at once.

use super::health::Status;
use super::partition_log::{Home, PartitionLog};
use super::segment::WriteError;
use super::settings::Care;
use super::syncer::SyncSource;
use crate::error::Result;
use crate::trace;

/// The flusher may write a mark after a sync, once.
const ATTEMPTS: usize = 3;

impl PartitionLog {
    /// Ends the segment that is written to if it is too old; `is_over`: because nothing in it is kept.
    /// Whether all records that were there lie in sealed segments now.
    pub(super) fn roll_if_due(&self, care: &Care, now: i64, is_over: bool) -> Result<bool> {
        let Some(home) = self.home() else { return Ok(false) };
        let (is_due, is_resting) = {
            let tail = home.tail.lock();
            let is_old =
                care.segment_age.zip(tail.active().known_created()).is_some_and(|(most, created)| {
                    i64::try_from(most.as_millis()).is_ok_and(|most| now.saturating_sub(created) > most)
                });
            if !tail.has_frames() {
                return Ok(true);
            }
            (is_old || is_over, tail.is_resting())
        };
        if !is_due || self.health.status() != Status::Open {
            return Ok(false);
        }
        self.stage().lock().roll_next();
        if is_over || is_resting {
            for _ in 0..ATTEMPTS {
                if self.roll_at_rest(home)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Begins a segment at the end of the log, unless something is under way.
    fn roll_at_rest(&self, home: &Home) -> Result<bool> {
        home.tail.lock().sync_marks_too();
        home.syncer.sync()?;
        let mut tail = home.tail.lock();
        let chunks = {
            let mut stage = self.stage().lock();
            let is_at_rest = tail.broken().is_none() && tail.is_at_rest();
            if !is_at_rest || !stage.is_at_rest(tail.end_offset()) || !tail.has_frames() {
                return Ok(false);
            }
            // The next batch lies where the segment begins, also if one that came since the plan was made has
            // used it up.
            stage.roll_next();
            // A chunk lies in one segment.
            stage.rest(self.view())
        };
        let file = tail.rest();
        let end_offset = tail.end_offset();
        match tail.roll(&home.place, end_offset) {
            Ok(segment) => self.view().write().push_segment(segment),
            Err(WriteError::Undone(error)) => return Err(error),
            Err(WriteError::NotUndone(fault)) => return Err(self.break_off(home, &mut tail, &fault)),
        }
        tail.sync_header_too();
        drop(tail);
        drop((chunks, file));
        trace::rolled(&self.identity().topic, self.identity().partition, end_offset);
        home.syncer.sync()?;
        // It is closed again, unless somebody writes by now.
        self.rest();
        Ok(true)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use crate::config::TopicConfig;
    use crate::log::flush::FlushQueue;
    use crate::log::flush::tests::{RECORD, log};
    use crate::log::segment_header::SEGMENT_HEADER_BYTES;

    /// A sender comes between the plan to begin a segment and its beginning at rest, and begins one itself.
    #[test]
    fn a_batch_behind_a_segment_that_was_begun_at_rest_is_known_to_lie_where_it_is_written() {
        let (flush, _requests) = FlushQueue::new();
        let log = log(&TopicConfig::new(), flush);
        log.append(&[RECORD]).expect("no fault");
        log.stage().lock().roll_next();
        log.append(&[RECORD]).expect("no fault");
        assert!(log.roll_at_rest(log.home().expect("on disk")).expect("no fault"));
        log.append(&[RECORD]).expect("no fault");
        let view = log.view().read();
        let position = view.chunks().last().expect("the batch is in memory").base_position();
        assert_eq!(position, SEGMENT_HEADER_BYTES);
    }
}
