//! The codecs that need no conversion: text, bytes, nothing, and what may be null.

use super::{Codec, Scratch};
use crate::error::CodecError;

/// Bytes as they are: takes and yields `&[u8]`.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Raw, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("frames", TopicConfig::new())?;
/// broker.producer::<(), Raw>("frames")?.send((), &[0xff, 0xd8])?; // without a key
///
/// let mut consumer = broker.consumer::<(), Raw>().topic("frames").build()?;
/// let records = consumer.poll(Duration::ZERO)?;
/// assert_eq!(records.iter().next().expect("one").value()?, [0xff, 0xd8]);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Raw {}

impl Codec for Raw {
    type Input<'a> = &'a [u8];
    type View<'a> = &'a [u8];

    #[inline]
    fn encode<'s, 'i: 's>(
        input: &'i [u8],
        _scratch: &'s mut Scratch,
    ) -> Result<Option<&'s [u8]>, CodecError> {
        Ok(Some(input))
    }

    #[inline]
    fn decode(bytes: Option<&[u8]>) -> Result<&[u8], CodecError> {
        bytes.ok_or_else(CodecError::null)
    }
}

impl Codec for String {
    type Input<'a> = &'a str;
    type View<'a> = &'a str;

    #[inline]
    fn encode<'s, 'i: 's>(input: &'i str, _scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        Ok(Some(input.as_bytes()))
    }

    #[inline]
    fn decode(bytes: Option<&[u8]>) -> Result<&str, CodecError> {
        std::str::from_utf8(bytes.ok_or_else(CodecError::null)?).map_err(CodecError::new)
    }
}

impl Codec for () {
    type Input<'a> = ();
    type View<'a> = ();

    #[inline]
    fn encode<'s, 'i: 's>((): (), _scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        Ok(None)
    }

    #[inline]
    fn decode(_bytes: Option<&[u8]>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl<C: Codec> Codec for Option<C> {
    type Input<'a> = Option<C::Input<'a>>;
    type View<'a> = Option<C::View<'a>>;

    #[inline]
    fn encode<'s, 'i: 's>(
        input: Self::Input<'i>,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s [u8]>, CodecError> {
        match input {
            Some(input) => C::encode(input, scratch),
            None => Ok(None),
        }
    }

    #[inline]
    fn decode(bytes: Option<&[u8]>) -> Result<Self::View<'_>, CodecError> {
        bytes.map(|bytes| C::decode(Some(bytes))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_exist_are_not_copied() {
        let text = String::from("alice");
        let mut scratch = Scratch::new();
        let bytes = String::encode(&text, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes.as_ptr(), text.as_ptr());
        let mut scratch = Scratch::new();
        let bytes = Raw::encode(text.as_bytes(), &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes.as_ptr(), text.as_ptr());
    }

    #[test]
    fn null_needs_an_option() {
        assert!(String::decode(None).is_err() && Raw::decode(None).is_err());
        assert_eq!(Option::<String>::decode(None).expect("null"), None);
        assert_eq!(Option::<String>::decode(Some(b"")).expect("empty"), Some(""));
        assert!(<()>::decode(Some(b"ignored")).is_ok());
    }

    #[test]
    fn text_must_be_utf8() {
        assert!(String::decode(Some(&[0xff])).is_err());
    }
}
