//! Readers that take all topics of the hub, whatever their codecs, and make a digest of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Failure, Progress};
use ottla::{Broker, Consumer, Error, Raw};

use crate::company::HUB;
use crate::digest::Digest;

/// Reads bytes: who makes a digest need not understand them.
pub(crate) type Reader = Consumer<Raw, Raw>;

/// Subscribes to every topic whose name says that it belongs to the hub, those that are made later among
/// them.
pub(crate) fn subscribe(broker: &Broker, group: &str) -> Result<Reader, Failure> {
    let reader = broker.consumer().topics_matching(|name| name.starts_with(HUB)).group(group);
    Ok(reader.build()?)
}

/// As [`subscribe`], in a group that has never read anything.
pub(crate) fn subscribe_anew(broker: &Broker, group: &str) -> Result<Reader, Failure> {
    match broker.delete_group(group) {
        Ok(()) | Err(Error::GroupNotFound { .. }) => subscribe(broker, group),
        Err(error) => Err(error.into()),
    }
}

/// The digest of each topic from its first record on, read until it is over and there is nothing more; so
/// many records are awaited.
pub(crate) fn digests(
    reader: &mut Reader,
    awaited: u64,
    is_over: &AtomicBool,
) -> Result<BTreeMap<String, Digest>, Failure> {
    let mut digests: BTreeMap<String, Digest> = BTreeMap::new();
    let mut progress = Progress::new("records read", awaited);
    reader.seek_to_beginning();
    loop {
        let is_last_look = is_over.load(Ordering::Acquire);
        let records = reader.poll(if is_last_look { Duration::ZERO } else { Duration::from_millis(10) })?;
        for record in &records {
            let digest = match digests.get_mut(record.topic()) {
                Some(digest) => digest,
                None => digests.entry(record.topic().to_owned()).or_default(),
            };
            digest.add(record.offset(), record.timestamp(), record.key_bytes(), record.value_bytes());
            progress.add(1);
        }
        reader.commit(&records)?;
        if is_last_look && records.is_empty() {
            return Ok(digests);
        }
    }
}
