//! An area of the company, as a publisher: what it has to tell, in its own codec.

use std::time::Duration;

use common::Failure;
use ottla::{Broker, Codec, Raw, Scratch, Timestamp};

use crate::digest::Digest;

/// Something that an area tells the others.
pub(crate) struct Event<T> {
    /// Whose: a visitor, a machine, a meter, a shop.
    pub(crate) key: String,
    pub(crate) time: Timestamp,
    /// Where it is not what the area's codec can write, the bytes as they came: they are published all the
    /// same, and whoever reads them sorts them out.
    pub(crate) value: Result<T, Vec<u8>>,
}

/// An area with the codec `V`, whose values are kept here as `T`.
pub(crate) struct Area<V: Codec, T> {
    pub(crate) topic: &'static str,
    pub(crate) events: Vec<Event<T>>,
    /// From what is kept to what the codec takes.
    pub(crate) lend: for<'a> fn(&'a T) -> V::Input<'a>,
}

impl<V: Codec, T> Area<V, T> {
    /// Publishes what the topic lacks: an earlier run may have died in the middle, or the area's file may
    /// have grown since.
    pub(crate) fn publish(&self, broker: &Broker) -> Result<(), Failure> {
        let there = self.already_in(broker)?;
        let producer = broker.producer::<String, V>(self.topic)?;
        let raw = broker.producer::<String, Raw>(self.topic)?;
        for Event { key, time, value } in &self.events[there..] {
            match value {
                Ok(value) => producer.record((self.lend)(value)).key(key).timestamp(*time).send()?,
                Err(bytes) => raw.record(bytes).key(key).timestamp(*time).send()?,
            };
        }
        Ok(())
    }

    /// How many of the events the topic holds. Each was acknowledged before the next one was sent, so they
    /// are the first ones.
    fn already_in(&self, broker: &Broker) -> Result<usize, Failure> {
        let mut reader = broker.consumer::<Raw, Raw>().topic(self.topic).build()?;
        let mut events = self.events.iter();
        while reader.lag() > 0 {
            for record in &reader.poll(Duration::from_secs(1))? {
                let there = (record.key_bytes(), record.value_bytes(), record.timestamp());
                let is_ours = match events.next() {
                    Some(event) => {
                        let value = self.bytes_of(event)?;
                        there == (Some(event.key.as_bytes()), Some(&*value), event.time)
                    }
                    None => false,
                };
                if !is_ours {
                    let (topic, offset) = (self.topic, record.offset());
                    let hint = "was the directory made with another --input, --seed or --records?";
                    return Err(format!("{topic} holds other records from offset {offset} on: {hint}").into());
                }
            }
        }
        Ok(self.events.len() - events.len())
    }

    /// The digest that the topic must have.
    pub(crate) fn digest(&self) -> Result<Digest, Failure> {
        let mut digest = Digest::default();
        for (offset, event) in (0..).zip(&self.events) {
            digest.add(offset, event.time, Some(event.key.as_bytes()), Some(&self.bytes_of(event)?));
        }
        Ok(digest)
    }

    fn bytes_of(&self, event: &Event<T>) -> Result<Vec<u8>, Failure> {
        let value = match &event.value {
            Ok(value) => value,
            Err(bytes) => return Ok(bytes.clone()),
        };
        let mut scratch = Scratch::new();
        Ok(V::encode((self.lend)(value), &mut scratch)?.unwrap_or_default().to_vec())
    }
}

/// Beyond this, a line is cut: a record has an end, and so has a reader's patience. What is left of it is
/// unreadable, and will be a dead letter.
const MAX_LINE_BYTES: usize = 512 << 10;

/// The lines of a file with their numbers, without their ends and without empty ones.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(|line| &line[..line.len().min(MAX_LINE_BYTES)])
}

/// The times of events as they come in. One that has no readable time gets that of the one before.
#[derive(Default)]
pub(crate) struct Times(Timestamp);

impl Times {
    pub(crate) fn next(&mut self, time: Option<jiff::Timestamp>) -> Timestamp {
        if let Some(millis) = time.map(jiff::Timestamp::as_millisecond).filter(|&millis| millis >= 0) {
            self.0 = Timestamp::from_millis(millis);
        }
        self.0
    }
}
