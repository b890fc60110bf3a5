//! What a consumer can be told as a member of a group.

use std::time::Duration;

use super::ConsumerBuilder;
use super::member::Member;
use super::rebalance::RebalanceListener;
use crate::error::{Error, Result};
use crate::group::{Assignor, Instance, StickyAssignor, check_instance_id};
use crate::record::codec::Codec;
use crate::sync::{Arc, Mutex};

/// Kafka's `session.timeout.ms`.
const DEFAULT_INSTANCE_TIMEOUT: Duration = Duration::from_secs(45);

/// What only members of groups have.
#[derive(Default)]
pub(super) struct MemberSettings {
    pub(super) assignor: Option<Arc<dyn Assignor>>,
    listener: Option<Box<dyn RebalanceListener>>,
    max_poll_interval: Option<Duration>,
    instance_id: Option<String>,
    instance_timeout: Option<Duration>,
}

impl<K: Codec, V: Codec> ConsumerBuilder<K, V> {
    /// How the members of the group divide partitions among them; they must agree on it. Default:
    /// [`StickyAssignor`](crate::StickyAssignor), which balances and moves as little as possible. Also there:
    /// [`RangeAssignor`](crate::RangeAssignor), [`RoundRobinAssignor`](crate::RoundRobinAssignor), and your
    /// own.
    ///
    /// ```
    /// # use ottla::{Broker, Error, RangeAssignor, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// let builder = || broker.consumer::<String, u64>().topic("payments").group("ledger");
    /// let first = builder().assignor(RangeAssignor).build()?;
    /// assert!(matches!(builder().build(), Err(Error::AssignorMismatch { .. })));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn assignor(mut self, assignor: impl Assignor) -> Self {
        self.as_member.assignor = Some(Arc::new(assignor));
        self
    }

    /// Who is told when partitions come to this member, or go: see [`RebalanceListener`]. Default: nobody.
    pub fn rebalance_listener(mut self, listener: impl RebalanceListener + 'static) -> Self {
        self.as_member.listener = Some(Box::new(listener));
        self
    }

    /// How long this member may go without a poll, from the end of one to the beginning of the next: 1 ms or
    /// more. After that its partitions go to the other members, its commits answer
    /// [`Error::CommitFenced`], and its next poll [`Error::MemberEvicted`]; the one after that joins anew. A
    /// poll that waits is none too long. Default: none; a member that hangs keeps its partitions.
    ///
    /// A thread of the broker looks after such limits, which runs while a group has one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Error, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let builder = broker.consumer::<String, u64>().topic("payments").group("ledger");
    /// let mut slow = builder.max_poll_interval(Duration::from_millis(200)).build()?;
    /// let records = slow.poll(Duration::from_secs(1))?;
    /// while broker.describe_group("ledger").is_ok_and(|group| !group.members.is_empty()) {
    ///     std::thread::sleep(Duration::from_millis(1)); // the work takes too long
    /// }
    /// assert!(matches!(slow.commit(&records), Err(Error::CommitFenced { .. })));
    /// assert!(matches!(slow.poll(Duration::ZERO), Err(Error::MemberEvicted { .. })));
    /// assert_eq!(slow.poll(Duration::from_secs(1))?.len(), 1); // it has joined anew
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.as_member.max_poll_interval = Some(interval);
        self
    }

    /// Makes this a static member: when its consumer is dropped or closed, its partitions wait for
    /// [`instance_timeout`](Self::instance_timeout), read by nobody, for a consumer with the same id in the
    /// same group, which takes them over without a rebalance. For a consumer that is restarted while the
    /// broker runs. The id has 1 to 249 bytes, and belongs to one consumer at a time. Default: none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Error, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("pulse", TopicConfig::new().partitions(2))?;
    /// let builder = |id| broker.consumer::<String, u64>().topic("pulse").group("alarm").instance_id(id);
    /// let (mut east, mut west) = (builder("east").build()?, builder("west").build()?);
    /// assert!(matches!(builder("west").build(), Err(Error::InstanceInUse { .. })));
    /// east.poll(Duration::ZERO)?;
    /// west.poll(Duration::ZERO)?;
    ///
    /// let generation = broker.describe_group("alarm")?.generation;
    /// drop(west);
    /// let west = builder("west").build()?;
    /// assert_eq!(west.assignment().len(), 1);
    /// assert_eq!(broker.describe_group("alarm")?.generation, generation);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.as_member.instance_id = Some(instance_id.into());
        self
    }

    /// How long the partitions of a static member wait for it when it is gone; after that they go to the
    /// other members. Needs an [`instance_id`](Self::instance_id). Default: 45 s, as Kafka's
    /// `session.timeout.ms`.
    pub fn instance_timeout(mut self, timeout: Duration) -> Self {
        self.as_member.instance_timeout = Some(timeout);
        self
    }
}

impl MemberSettings {
    pub(super) fn check(&self) -> Result<()> {
        self.instance_id.as_deref().map_or(Ok(()), check_instance_id)?;
        if let Some(interval) = self.max_poll_interval.filter(|interval| *interval < Duration::from_millis(1))
        {
            return Err(Error::InvalidConfig {
                setting: "max_poll_interval",
                value: format!("{interval:?}"),
                allowed: "1 ms or more".to_owned(),
            });
        }
        if self.instance_timeout.is_some() && self.instance_id.is_none() {
            return Err(Error::InvalidConfig {
                setting: "instance_timeout",
                value: "given without an instance_id".to_owned(),
                allowed: "given together with one".to_owned(),
            });
        }
        Ok(())
    }

    /// A setting that was given, if there is one.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("assignor", self.assignor.is_some()),
            ("rebalance_listener", self.listener.is_some()),
            ("max_poll_interval", self.max_poll_interval.is_some()),
            ("instance_id", self.instance_id.is_some()),
        ];
        given.into_iter().find_map(|(setting, is_given)| is_given.then_some(setting))
    }

    /// The member of a group in the making; `None` if there is none to be a member of.
    pub(super) fn member(self, group: Option<String>) -> Result<Option<Member>> {
        let Some(group) = group else {
            return match self.given() {
                None => Ok(None),
                Some(setting) => Err(Error::InvalidConfig {
                    setting,
                    value: "given with partitions assigned by hand".to_owned(),
                    allowed: "given to a consumer that subscribes to topics".to_owned(),
                }),
            };
        };
        let mut member = Member::new(group, self.assignor.unwrap_or_else(|| Arc::new(StickyAssignor)));
        let timeout = self.instance_timeout.unwrap_or(DEFAULT_INSTANCE_TIMEOUT);
        member.instance = self.instance_id.map(|id| Instance { id: Arc::from(id), timeout });
        member.max_poll_interval = self.max_poll_interval;
        member.listener = self.listener.map(Mutex::new);
        Ok(Some(member))
    }
}
