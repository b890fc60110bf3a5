//! What a sink asks of its consumer: how far records of a poll reach, and to go elsewhere.

use super::Consumer;
use super::assigned::Assigned;
use super::policy::OutOfRange;
use super::records::Records;
use crate::error::{Error, Result};
use crate::group::Place;
use crate::ids::TopicPartition;
use crate::log::Files;
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
    fn of(assigned: &Assigned, start: u64, end: u64) -> Self {
        let (topic, log_id) = (assigned.shared_topic_name(), assigned.log().identity().id);
        Self { topic, place: assigned.place(), log_id, start, end }
    }

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

    /// It is a consumer like others, or the sink is to look anew where each partition goes on.
    pub(crate) fn take_placed(&mut self) -> Option<u64> {
        self.placed.take()
    }

    /// Undoes [`take_placed`](Self::take_placed).
    pub(crate) fn restore_placed(&mut self, placed: Option<u64>) {
        self.placed = placed;
    }

    /// What a poll does for the group, without reading anything.
    pub(crate) fn keep_up(&mut self) -> Result<()> {
        self.poll_begins()?;
        self.subscription.read_files(Files::Here);
        let outcome = self.follow();
        self.poll_ends();
        outcome
    }

    /// Where the consumer is in each partition that is still there: spans of nothing.
    pub(crate) fn places(&self) -> Vec<Span> {
        let there = self.subscription.iter().filter(|assigned| !assigned.is_lost() && !assigned.is_deleted());
        let spans = there.map(|assigned| Span::of(assigned, assigned.position(), assigned.position()));
        spans.collect()
    }

    /// What these records, of the last poll, span in each partition.
    pub(crate) fn spans(&self, records: &Records<K, V>) -> Result<Vec<Span>> {
        let mut spans: Vec<Span> = Vec::new();
        for run in records.runs() {
            match spans.iter_mut().find(|span| span.place == run.place()) {
                Some(span) => span.end = run.end_offset(),
                None => {
                    let assigned = self.assigned(run.place())?;
                    spans.push(Span::of(assigned, run.start_offset(), run.end_offset()));
                }
            }
        }
        Ok(spans)
    }

    /// The earliest offset and the next one to be given in the partition.
    pub(crate) fn range(&self, span: &Span) -> Result<(u64, u64)> {
        let log = self.assigned(span.place)?.log();
        Ok((log.start_offset(), log.end_offset()))
    }

    /// Where a sink begins of which the database knows nothing: where the consumer is; or, if the group has
    /// committed something and the database is another one, with what is there.
    pub(crate) fn first_to_land(&self, span: &Span) -> Result<u64> {
        match self.coordinator.committed().get(self.group_name(), span.place) {
            Some(_) => Ok(self.range(span)?.0),
            None => Ok(span.start),
        }
    }

    /// Whether what lies from `offset` to where the span begins is gone, and the consumer was told to go on
    /// without it.
    pub(crate) fn passes_over(&self, offset: u64, span: &Span, earliest: u64) -> bool {
        offset < span.start
            && match self.subscription.policy() {
                OutOfRange::Error => false,
                // The log's start only rises: where the consumer was sent then, it has begun since.
                OutOfRange::Earliest => span.end > span.start && span.start <= earliest,
                OutOfRange::Latest => offset < earliest,
            }
    }

    /// Goes on from `offset`, if the partition is still this consumer's; whether that is ahead.
    pub(crate) fn go_to(&mut self, place: Place, offset: u64) -> bool {
        let found = self.subscription.iter_mut().find(|assigned| assigned.place() == place);
        found.is_some_and(|assigned| {
            let is_ahead = assigned.position() < offset;
            assigned.seek(offset);
            is_ahead
        })
    }

    /// Commits one offset.
    pub(crate) fn commit_place(&self, place: Place, offset: u64) -> Result<()> {
        self.commit_offsets([(self.name_of(place), offset)])
    }

    /// The name of a partition; of no topic, if it is not this consumer's.
    pub(crate) fn name_of(&self, place: Place) -> TopicPartition {
        self.subscription.name_of(place)
    }

    fn assigned(&self, place: Place) -> Result<&Assigned> {
        self.subscription.find(place).ok_or_else(|| Error::NotAssigned { partition: self.name_of(place) })
    }

    /// Makes sure that no power loss takes what the span holds.
    pub(crate) fn sync_through(&self, span: &Span) -> Result<()> {
        let log = self.assigned(span.place)?.log();
        log.sync_beyond(span.end.saturating_sub(1))
    }
}
