//! Integers: big-endian and exactly as wide as the type, so that bytes sort as numbers do (unsigned ones).

use super::{Codec, Scratch};
use crate::error::CodecError;

macro_rules! integer_codec {
    ($($integer:ty),*) => {$(
        impl Codec for $integer {
            type Input<'a> = $integer;
            type View<'a> = $integer;

            #[inline]
            fn encode<'s, 'i: 's>(
                input: $integer,
                scratch: &'s mut Scratch,
            ) -> Result<Option<&'s [u8]>, CodecError> {
                scratch.extend_from_slice(&input.to_be_bytes());
                Ok(Some(scratch))
            }

            #[inline]
            fn decode(bytes: Option<&[u8]>) -> Result<$integer, CodecError> {
                let bytes = bytes.ok_or_else(CodecError::null)?;
                let exact = bytes.try_into().map_err(|_| wrong_width(stringify!($integer), bytes.len()))?;
                Ok(<$integer>::from_be_bytes(exact))
            }
        }
    )*};
}

integer_codec!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

#[cold]
fn wrong_width(integer: &str, found: usize) -> CodecError {
    CodecError::new(format!("{found} bytes are not one {integer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian_and_of_one_width() {
        let mut scratch = Scratch::new();
        let bytes = i32::encode(-2, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes, [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(i32::decode(Some(bytes)).expect("decodes"), -2);
        let error = u64::decode(Some(bytes)).expect_err("four bytes are no u64");
        assert_eq!(error.to_string(), "4 bytes are not one u64");
    }
}
