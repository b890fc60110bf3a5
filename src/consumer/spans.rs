//! What a sink asks of its consumer: how far records of a poll reach, and to go elsewhere.

use super::Consumer;
use super::assigned::Assigned;
use super::records::{PartitionRun, Records};
use crate::error::{Error, Result};
use crate::group::Place;
use crate::ids::TopicPartition;
use crate::record::codec::Codec;
use crate::sync::Arc;

/// What a poll returned of one partition: what was to be read from `start` up to `end`.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) topic: Arc<str>,
    pub(crate) place: Place,
    /// Of the log.
    pub(crate) log_id: u64,
    /// Where the consumer was. The first record may have a higher offset, if compaction has removed some.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Span {
    pub(crate) fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.place.1)
    }
}

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// Whether a sink can be made of it.
    pub(crate) fn check_landable(&self) -> Result<()> {
        self.group()?;
        match self.polled {
            None => Ok(()),
            Some(_) => Err(Error::InvalidConfig {
                setting: "auto_commit",
                value: "true".into(),
                allowed: "false for the consumer of a sink".into(),
            }),
        }
    }

    /// Empty without a group.
    pub(crate) fn group_name(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }

    /// Whether partitions have come or gone of which the sink does not know yet. Never, without a sink.
    #[inline]
    pub(super) fn is_misplaced(&self) -> bool {
        self.placed.is_some_and(|placed| placed != self.subscription.revision())
    }

    /// Whether the sink has not seen yet where each partition is to go on.
    pub(crate) fn is_to_be_placed(&self) -> bool {
        self.placed != Some(self.subscription.revision())
    }

    /// The sink has seen to where each partition goes on.
    pub(crate) fn set_placed(&mut self) {
        self.placed = Some(self.subscription.revision());
    }

    /// It is a consumer like others again.
    pub(crate) fn leave_sink(&mut self) {
        self.placed = None;
    }

    /// Where the consumer is in each partition: spans of nothing.
    pub(crate) fn places(&self) -> Vec<Span> {
        let span = |assigned: &Assigned| Span {
            topic: assigned.shared_topic_name(),
            place: assigned.place(),
            log_id: assigned.log().identity().id,
            start: assigned.position(),
            end: assigned.position(),
        };
        self.subscription.iter().map(span).collect()
    }

    /// What these records, of the last poll, span in each partition.
    pub(crate) fn spans(&self, records: &Records<K, V>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for run in records.runs() {
            match spans.iter_mut().find(|span| span.place == run.place()) {
                Some(span) => span.end = run.end_offset(),
                None => spans.push(self.span(run)),
            }
        }
        spans
    }

    fn span(&self, run: &PartitionRun) -> Span {
        let log_id = self.subscription.find(run.place()).map_or(0, |assigned| assigned.log().identity().id);
        let (topic, place) = (run.shared_topic(), run.place());
        Span { topic, place, log_id, start: run.start_offset(), end: run.end_offset() }
    }

    /// The earliest offset and the next one to be given in the partition.
    pub(crate) fn range(&self, span: &Span) -> Result<(u64, u64)> {
        let log = self.subscription.get(&span.topic, span.place.1)?.log();
        Ok((log.start_offset(), log.end_offset()))
    }

    /// Whether the group has committed an offset of the partition.
    pub(crate) fn has_committed(&self, span: &Span) -> bool {
        self.coordinator.committed().get(self.group_name(), span.place).is_some()
    }

    /// Goes on from `offset`, if the partition is still this consumer's.
    pub(crate) fn go_to(&mut self, place: Place, offset: u64) {
        let found = self.subscription.iter_mut().find(|assigned| assigned.place() == place);
        found.into_iter().for_each(|assigned| assigned.seek(offset));
    }

    /// Makes sure that no power loss takes what the span holds.
    pub(crate) fn sync_through(&self, span: &Span) -> Result<()> {
        let log = self.subscription.get(&span.topic, span.place.1)?.log();
        log.sync_beyond(span.end.saturating_sub(1))
    }
}
