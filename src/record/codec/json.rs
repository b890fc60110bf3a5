//! JSON through serde_json (feature `json`).

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Scratch};
use crate::error::CodecError;

/// A value as JSON: takes `&T` and yields `T`. What serde says of JSON that it cannot read as a `T` may quote
/// a part of it, and so may the [`DecodeError`](crate::DecodeError).
///
/// ```
/// use ottla::{Broker, Json, TopicConfig};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Payment { to: String, cents: u64 }
///
/// let broker = Broker::in_memory();
/// broker.create_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, Json<Payment>>("payments")?;
/// producer.send("alice", &Payment { to: "bob".into(), cents: 20_000 })?;
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec for Json<T> {
    type Input<'a> = &'a T;
    type View<'a> = T;

    fn encode<'s, 'i: 's>(input: &'i T, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        serde_json::to_writer(&mut *scratch, input).map_err(CodecError::new)?;
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<T, CodecError> {
        serde_json::from_slice(bytes.ok_or_else(CodecError::null)?).map_err(CodecError::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_back_and_nonsense_does_not() {
        let mut scratch = Scratch::new();
        let numbers = vec![1, 2];
        let bytes = Json::<Vec<u32>>::encode(&numbers, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes, b"[1,2]");
        assert_eq!(Json::<Vec<u32>>::decode(Some(bytes)).expect("decodes"), [1, 2]);
        assert!(Json::<Vec<u32>>::decode(Some(b"{")).is_err());
        assert!(Json::<Vec<u32>>::decode(None).is_err());
    }
}
