//! Ending a blocked poll from another thread.

use std::fmt;

use crate::sync::Arc;
use crate::sync::signal::Signal;
#[cfg(doc)]
use crate::{consumer::Consumer, error::Error};

/// Ends a blocked poll, from any thread: to stop a consumer, or to tell its thread something. Made by
/// [`Consumer::wake_handle`]; clones wake the same consumer.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Error, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
///
/// let wake_handle = consumer.wake_handle();
/// let stopping = std::thread::spawn(move || wake_handle.wake());
/// assert!(matches!(consumer.poll(Duration::MAX), Err(Error::Woken)));
/// stopping.join().unwrap();
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone)]
pub struct WakeHandle {
    signal: Arc<Signal>,
}

impl WakeHandle {
    pub(super) fn new(signal: &Arc<Signal>) -> Self {
        Self { signal: Arc::clone(signal) }
    }

    /// Ends the poll under way with [`Error::Woken`]; if there is none, or if it returns records all the
    /// same, the next one. A wake ends one poll; several before that poll count as one. No position changes.
    /// Never blocks; does nothing when the consumer is gone.
    pub fn wake(&self) {
        self.signal.interrupt();
    }
}

impl fmt::Debug for WakeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeHandle").finish_non_exhaustive()
    }
}
