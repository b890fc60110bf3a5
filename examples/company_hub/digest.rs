//! One SHA-256 for all that a topic holds: places, times, keys and values.

use ottla::Timestamp;
use sha2::{Digest as _, Sha256};

/// The digest of the records that were added, in their order.
#[derive(Clone, Default)]
pub(crate) struct Digest {
    state: Sha256,
    pub(crate) records: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, offset: u64, time: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.state.update(offset.to_be_bytes());
        self.state.update(time.as_millis().to_be_bytes());
        for part in [key, value] {
            // The length goes first, so that what moves from one part to the next is seen; a null has none.
            self.state.update(part.map_or(-1, |bytes| bytes.len() as i64).to_be_bytes());
            self.state.update(part.unwrap_or_default());
        }
        self.records += 1;
    }

    /// In hexadecimal digits.
    pub(crate) fn text(&self) -> String {
        self.state.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
