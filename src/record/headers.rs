//! Record headers: an ordered list of names and values, in which a name may come twice and a value may be
//! null. In the log each is: name length (u16), value length (u32, all ones for null), name, value.

use std::fmt;

const LENGTHS_BYTES: usize = 2 + 4;
const NULL: u32 = u32::MAX;

/// The most headers a record can have, and the most bytes a header's name can have.
pub(crate) const MAX_HEADERS: usize = u16::MAX as usize;
pub(crate) const MAX_HEADER_NAME_BYTES: usize = u16::MAX as usize;

/// One header of a record.
///
/// ```
/// use ottla::Header;
///
/// let header = Header { name: "trace", value: Some(b"8f2c") };
/// assert_eq!(header.value.map(<[u8]>::len), Some(4));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; may come again in the same record.
    pub name: &'a str,
    /// The value; `None` is a null, which is not an empty one.
    pub value: Option<&'a [u8]>,
}

impl fmt::Debug for Header<'_> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("name", &self.name)
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}

/// The headers of a record, in the order in which they were given: an iterator, from
/// [`Record::headers`](crate::Record::headers).
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("orders", TopicConfig::new())?;
/// let orders = broker.producer::<u64, String>("orders")?;
/// orders.record("two tickets").key(1).header("trace", "8f2c").null_header("voucher").send()?;
///
/// let mut consumer = broker.consumer::<u64, String>().topic("orders").build()?;
/// let records = consumer.poll(Duration::ZERO)?;
/// let order = records.iter().next().expect("one");
/// assert_eq!(order.headers().map(|header| header.name).collect::<Vec<_>>(), ["trace", "voucher"]);
/// assert_eq!(order.headers().get("trace").expect("it has one").value, Some(&b"8f2c"[..]));
/// assert_eq!(order.headers().get("voucher").expect("it has one").value, None);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Headers<'a> {
    /// `bytes` must begin with `count` encoded headers; what does not parse ends the iteration.
    pub(crate) fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { rest: bytes, count }
    }

    /// The first header called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Header<'a>> {
        self.clone().find(|header| header.name == name)
    }

    /// Whether all bytes are headers, and as many as there should be.
    pub(crate) fn are_well_formed(mut self) -> bool {
        while self.next().is_some() {}
        self.rest.is_empty() && self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let remaining = self.count.checked_sub(1)?;
        let (header, rest) = decode(self.rest)?;
        self.rest = rest;
        self.count = remaining;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count))
    }
}

impl fmt::Debug for Headers<'_> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// The bytes that `headers` take in the log.
pub(crate) fn encoded_bytes(headers: &[Header<'_>]) -> usize {
    headers.iter().map(|header| LENGTHS_BYTES + header.name.len() + header.value.map_or(0, <[u8]>::len)).sum()
}

/// Writes `headers` to the front of `out`, which must have room for them.
pub(crate) fn encode(headers: &[Header<'_>], mut out: &mut [u8]) {
    for header in headers {
        let value = header.value.unwrap_or_default();
        let value_len = header.value.map_or(NULL, |value| value.len() as u32);
        out[..2].copy_from_slice(&(header.name.len() as u16).to_le_bytes());
        out[2..LENGTHS_BYTES].copy_from_slice(&value_len.to_le_bytes());
        let (name_out, rest) = out[LENGTHS_BYTES..].split_at_mut(header.name.len());
        name_out.copy_from_slice(header.name.as_bytes());
        rest[..value.len()].copy_from_slice(value);
        out = &mut rest[value.len()..];
    }
}

fn decode(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let (name_len, rest) = bytes.split_first_chunk::<2>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
    let name = std::str::from_utf8(name).ok()?;
    let (value, rest) = match u32::from_le_bytes(*value_len) {
        NULL => (None, rest),
        len => {
            let (value, rest) = rest.split_at_checked(len as usize)?;
            (Some(value), rest)
        }
    };
    Some((Header { name, value }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_duplicates_empties_and_nulls_survive() {
        let headers = [
            Header { name: "trace", value: Some(b"42") },
            Header { name: "trace", value: None },
            Header { name: "", value: Some(b"") },
        ];
        let mut bytes = vec![0; encoded_bytes(&headers)];
        encode(&headers, &mut bytes);
        let found = Headers::new(&bytes, headers.len());
        assert!(found.clone().are_well_formed());
        assert_eq!(found.get("trace"), Some(headers[0]));
        assert_eq!(found.collect::<Vec<_>>(), headers);
    }

    #[test]
    fn every_prefix_is_recognised_as_incomplete() {
        let headers = [Header { name: "name", value: Some(b"value") }, Header { name: "n", value: None }];
        let mut bytes = vec![0; encoded_bytes(&headers)];
        encode(&headers, &mut bytes);
        for end in 0..bytes.len() {
            assert!(!Headers::new(&bytes[..end], headers.len()).are_well_formed(), "prefix of {end}");
        }
    }
}
