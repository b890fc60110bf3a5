//! Postcard's compact binary form, through serde (feature `postcard`).

use std::fmt;
use std::marker::PhantomData;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Scratch};
use crate::error::CodecError;

/// A value in [postcard](https://postcard.jamesmunns.com)'s form, which is small and quick but names no
/// fields: takes `&T` and yields `T`. Reading as another `T` than was written is an error, or nonsense.
///
/// ```
/// use ottla::{Broker, Postcard, TopicConfig};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Payment { to: String, cents: u64 }
///
/// let broker = Broker::in_memory();
/// broker.create_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, Postcard<Payment>>("payments")?;
/// producer.send("alice", &Payment { to: "bob".into(), cents: 20_000 })?;
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Postcard<T>(PhantomData<fn() -> T>);

impl<T> fmt::Debug for Postcard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Postcard")
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec for Postcard<T> {
    type Input<'a> = &'a T;
    type View<'a> = T;

    fn encode<'s, 'i: 's>(input: &'i T, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        postcard::serialize_with_flavor(input, IntoScratch(scratch)).map(Some).map_err(CodecError::new)
    }

    fn decode(bytes: Option<&[u8]>) -> Result<T, CodecError> {
        let bytes = bytes.ok_or_else(CodecError::null)?;
        match postcard::take_from_bytes(bytes).map_err(CodecError::new)? {
            (value, []) => Ok(value),
            (_, rest) => Err(CodecError::new(format!("{} bytes follow the value", rest.len()))),
        }
    }
}

struct IntoScratch<'s>(&'s mut Scratch);

impl<'s> Flavor for IntoScratch<'s> {
    type Output = &'s [u8];

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<&'s [u8]> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_nonsense_does_not() {
        type Entry = Postcard<(String, Vec<u32>)>;
        let entry = ("alice".to_owned(), vec![1, 2, 300]);
        let mut scratch = Scratch::new();
        let bytes = Entry::encode(&entry, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes, b"\x05alice\x03\x01\x02\xac\x02", "lengths and numbers are varints");
        assert_eq!(Entry::decode(Some(bytes)).expect("decodes"), entry);
        for end in 0..bytes.len() {
            assert!(Entry::decode(Some(&bytes[..end])).is_err(), "{end} bytes");
        }
        let error = Entry::decode(Some(&[bytes, b"!"].concat())).expect_err("too long");
        assert_eq!(error.to_string(), "1 bytes follow the value");
        assert!(Entry::decode(None).is_err());
    }
}
