//! Who is a member of which group. One member at a time for now: the second to join is refused.

use std::collections::BTreeSet;

use super::committed_offsets::CommittedOffsets;
use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// The longest group name, in bytes; as for topics.
const MAX_GROUP_NAME_BYTES: usize = 249;

/// Knows the groups of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    /// Names of the groups that have a member.
    active: Mutex<BTreeSet<String>>,
    committed: CommittedOffsets,
    closed: AtomicBool,
}

impl Coordinator {
    pub(crate) fn new(committed: CommittedOffsets) -> Self {
        Self { active: Mutex::default(), committed, closed: AtomicBool::new(false) }
    }

    pub(crate) fn committed(&self) -> &CommittedOffsets {
        &self.committed
    }

    /// The broker is closed: for consumers that have no partition to tell them.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Joins a group; the membership ends when it is dropped.
    pub(crate) fn join(self: &Arc<Self>, group: &str) -> Result<Membership> {
        if !self.active.lock().insert(group.to_owned()) {
            return Err(Error::GroupInUse { group: group.to_owned() });
        }
        Ok(Membership { coordinator: Arc::clone(self), group: group.to_owned() })
    }
}

/// Checks a group's name: 1 to 249 bytes of any text.
pub(crate) fn check_group_name(group: &str) -> Result<()> {
    if (1..=MAX_GROUP_NAME_BYTES).contains(&group.len()) {
        return Ok(());
    }
    Err(Error::InvalidConfig {
        setting: "group",
        value: format!("a name of {} bytes", group.len()),
        allowed: format!("1 to {MAX_GROUP_NAME_BYTES} bytes long"),
    })
}

/// The place of a member in its group.
#[derive(Debug)]
pub(crate) struct Membership {
    coordinator: Arc<Coordinator>,
    group: String,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.coordinator.active.lock().remove(&self.group);
    }
}
