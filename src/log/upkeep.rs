//! What the logs of a broker share for giving up records: the time, how far groups have come, and the way to
//! the housekeeper, which belongs to the broker.

use std::fmt::Debug;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::sync::{Arc, Event, OnceLock};

/// Shared by all logs of a broker.
#[derive(Debug)]
pub(crate) struct Upkeep {
    clock: Arc<dyn Clock>,
    /// How long a group counts that is gone.
    offsets_retention: Duration,
    keeper: OnceLock<Arc<dyn Keeper>>,
    /// Notified when there may be room in a log in memory that had none.
    room: Event,
}

/// Who looks after the logs.
pub(crate) trait Keeper: Debug + Send + Sync {
    /// What a group still needs of a partition. `counts_staged`: a commit counts that may still be lost.
    fn progress(&self, group: &str, topic_id: u64, partition: u32, counts_staged: bool) -> Progress;

    /// There may be something to do in the background.
    fn wake(&self);

    /// There is nothing to look after any more.
    fn let_go(&self);
}

/// What a group needs of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has members or committed offsets, and needs the records from this one on.
    From(u64),
    /// It has neither.
    Absent,
    /// Nobody can tell.
    Unknown,
}

impl Upkeep {
    pub(crate) fn new(clock: Arc<dyn Clock>, offsets_retention: Duration) -> Self {
        Self { clock, offsets_retention, keeper: OnceLock::new(), room: Event::new() }
    }

    /// From now on there is somebody who looks after the logs.
    pub(crate) fn set_keeper(&self, keeper: Arc<dyn Keeper>) {
        self.keeper.get_or_init(|| keeper);
    }

    /// The time, in milliseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    pub(crate) fn now_as_timestamp(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn offsets_retention(&self) -> Duration {
        self.offsets_retention
    }

    pub(super) fn progress(
        &self,
        group: &str,
        topic_id: u64,
        partition: u32,
        counts_staged: bool,
    ) -> Progress {
        let keeper = self.keeper.get();
        keeper.map_or(Progress::Unknown, |keeper| keeper.progress(group, topic_id, partition, counts_staged))
    }

    /// There may be something to do in the background.
    pub(crate) fn wake(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.wake();
        }
    }

    /// The list of topics is gone.
    pub(crate) fn catalog_gone(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.let_go();
        }
    }

    /// Notified when there may be room in a log in memory that had none.
    pub(crate) fn room(&self) -> &Event {
        &self.room
    }

    /// Wakes those who wait for room in a log in memory.
    pub(crate) fn notify_room(&self) {
        self.room.notify(usize::MAX);
    }
}

impl Default for Upkeep {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock), Duration::MAX)
    }
}
