//! Protocol Buffers through prost (feature `prost`).

use std::fmt;
use std::marker::PhantomData;

use prost::Message;

use super::{Codec, Scratch};
use crate::error::CodecError;

/// A Protocol Buffers message: takes `&M` and yields `M`, where `M` is a struct that `prost` generated or
/// derived.
///
/// ```
/// use ottla::{Broker, Prost, TopicConfig};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Payment {
///     #[prost(string, tag = "1")]
///     to: String,
///     #[prost(uint64, tag = "2")]
///     cents: u64,
/// }
///
/// let broker = Broker::in_memory();
/// broker.create_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, Prost<Payment>>("payments")?;
/// producer.send("alice", &Payment { to: "bob".into(), cents: 20_000 })?;
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Prost<M>(PhantomData<fn() -> M>);

impl<M> fmt::Debug for Prost<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prost")
    }
}

impl<M: Message + Default + 'static> Codec for Prost<M> {
    type Input<'a> = &'a M;
    type View<'a> = M;

    fn encode<'s, 'i: 's>(input: &'i M, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        let vec = scratch.vec_mut();
        vec.reserve_exact(input.encoded_len());
        input.encode(vec).map_err(CodecError::new)?;
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<M, CodecError> {
        M::decode(bytes.ok_or_else(CodecError::null)?).map_err(CodecError::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_nonsense_does_not() {
        #[derive(Clone, PartialEq, Message)]
        struct Payment {
            #[prost(string, tag = "1")]
            to: String,
            #[prost(uint64, tag = "2")]
            cents: u64,
        }
        let payment = Payment { to: "bob".to_owned(), cents: 300 };
        let mut scratch = Scratch::new();
        let bytes = Prost::<Payment>::encode(&payment, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes, b"\x0a\x03bob\x10\xac\x02");
        assert_eq!(Prost::<Payment>::decode(Some(bytes)).expect("decodes"), payment);
        assert!(Prost::<Payment>::decode(Some(&bytes[..4])).is_err());
        assert!(Prost::<Payment>::decode(None).is_err());
        assert_eq!(Prost::<Payment>::decode(Some(b"")).expect("all defaults"), Payment::default());
    }
}
