//! What the crate tells subscribers of the crate `tracing`, one function for each event and span. Without the
//! feature `tracing` all of it compiles to nothing. It is for what happens now and then, never for a record
//! or a poll.
//!
//! A subscriber is others' code: no lock is to be held that it might want. What happens under a lock is told
//! [`Later`].

use std::fmt::{self, Display};
use std::path::Path;

/// An event with a level, a message, and fields that are arguments; `%` is for those that are displayed.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $message:literal $(, $($field:tt)+)?) => {
        tracing::event!(target: "ottla", tracing::Level::$level, $($($field)+,)? $message)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $message:literal $(, $(%)? $field:ident)*) => {{
        let _nobody_listens = ($(&$field,)*);
    }};
}

/// What is under way for as long as it is kept.
#[must_use]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

macro_rules! span {
    ($name:literal, $dir:ident) => {
        Span {
            #[cfg(feature = "tracing")]
            _entered: tracing::info_span!(target: "ottla", $name, dir = %$dir.display()).entered(),
        }
    };
}

/// A directory is being opened, on this thread.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nobody listens"))]
pub(crate) fn opening(dir: &Path) -> Span {
    span!("open", dir)
}

/// A broker is being closed, on this thread.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nobody listens"))]
pub(crate) fn closing(dir: &Path) -> Span {
    span!("close", dir)
}

pub(crate) fn opened(topics: usize, partitions: usize, scanned_bytes: u64) {
    event!(INFO, "the directory is open", topics, partitions, scanned_bytes);
}

/// Of a log that ended with bytes that are no whole record.
pub(crate) fn torn_tail(partition: &dyn Display, bytes: u64, end_offset: u64) {
    event!(WARN, "the torn end of a log was cut off", %partition, bytes, end_offset);
}

/// `is_fenced`: the log takes no records. Otherwise the recovery policy says what was done.
pub(crate) fn damaged(partition: &dyn Display, first_offset: u64, detail: &str, is_fenced: bool) {
    event!(ERROR, "a log is damaged", %partition, first_offset, detail, is_fenced);
}

pub(crate) fn commit_lowered(group: &str, partition: &dyn Display, committed: u64, lowered_to: u64) {
    event!(
        WARN,
        "a commit beyond the end of its partition was lowered", group, %partition, committed, lowered_to
    );
}

/// A log goes on in a new file.
pub(crate) fn rolled(topic: &str, partition: u32, base_offset: u64) {
    event!(DEBUG, "a segment was begun", topic, partition, base_offset);
}

pub(crate) fn write_failed(topic: &str, partition: u32, error: &dyn Display) {
    event!(ERROR, "records could not be written", topic, partition, %error);
}

/// `is_written_again`: nothing is lost. Otherwise the partition takes no records until it is.
pub(crate) fn sync_failed(topic: &str, partition: u32, fault: &dyn Display, is_written_again: bool) {
    event!(ERROR, "a log could not be synced", topic, partition, %fault, is_written_again);
}

/// What an earlier sync or write may have lost is in new files.
pub(crate) fn written_again(topic: &str, partition: u32) {
    event!(INFO, "a log takes records again", topic, partition);
}

/// These partitions came to a member of a group.
pub(crate) fn assigned(group: &str, member_id: u64, partitions: &dyn Display) {
    event!(INFO, "partitions came to a member", group, member_id, %partitions);
}

/// These partitions were given up by a member of a group.
pub(crate) fn revoked(group: &str, member_id: u64, partitions: &dyn Display) {
    event!(INFO, "partitions went from a member", group, member_id, %partitions);
}

/// These partitions were taken from a member of a group, or their topic was deleted.
pub(crate) fn lost(group: &str, member_id: u64, partitions: &dyn Display) {
    event!(WARN, "a member has lost partitions", group, member_id, %partitions);
}

/// A member has not polled in time.
pub(crate) fn evicted(group: &str, member_id: u64) {
    event!(WARN, "a member was evicted", group, member_id);
}

/// A retention has removed the records below `start_offset`.
pub(crate) fn retention(topic: &str, partition: u32, start_offset: u64, records: u64, bytes: u64) {
    event!(DEBUG, "retention removed records", topic, partition, start_offset, records, bytes);
}

/// A log was compacted; so many records were removed, and so many of them were tombstones.
pub(crate) fn compaction(topic: &str, partition: u32, records: u64, bytes: u64, tombstones: u64) {
    event!(DEBUG, "a log was compacted", topic, partition, records, bytes, tombstones);
}

/// A broker is closed; with what went wrong.
pub(crate) fn closed(error: Option<&dyn Display>) {
    match error {
        None => event!(INFO, "the broker is closed"),
        Some(error) => event!(ERROR, "the broker is closed, and not all went well", %error),
    }
}

/// A list for a field.
pub(crate) struct List<'a, T>(pub(crate) &'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, item) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

/// What is to be told when no lock is held any more: when it is dropped.
#[derive(Default)]
pub(crate) struct Later {
    #[cfg(feature = "tracing")]
    told: Vec<Box<dyn FnOnce() + Send>>,
}

impl Later {
    #[cfg_attr(
        not(feature = "tracing"),
        expect(unused_variables, clippy::unused_self, reason = "nobody listens")
    )]
    pub(crate) fn tell(&mut self, tell: impl FnOnce() + Send + 'static) {
        #[cfg(feature = "tracing")]
        self.told.push(Box::new(tell));
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        #[cfg(feature = "tracing")]
        self.told.drain(..).for_each(|tell| tell());
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").finish_non_exhaustive()
    }
}
