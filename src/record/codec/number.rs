//! Numbers: big-endian and exactly as wide as the type, so that bytes sort as numbers do (unsigned integers).

use super::{Codec, Scratch};
use crate::error::CodecError;

macro_rules! number_codec {
    ($($number:ty),*) => {$(
        impl Codec for $number {
            type Input<'a> = $number;
            type View<'a> = $number;

            #[inline]
            fn encode<'s, 'i: 's>(
                input: $number,
                scratch: &'s mut Scratch,
            ) -> Result<Option<&'s [u8]>, CodecError> {
                scratch.extend_from_slice(&input.to_be_bytes());
                Ok(Some(scratch))
            }

            #[inline]
            fn decode(bytes: Option<&[u8]>) -> Result<$number, CodecError> {
                let bytes = bytes.ok_or_else(CodecError::null)?;
                let exact = bytes.try_into().map_err(|_| wrong_width(stringify!($number), bytes.len()))?;
                Ok(<$number>::from_be_bytes(exact))
            }
        }
    )*};
}

number_codec!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

#[cold]
fn wrong_width(number: &str, found: usize) -> CodecError {
    CodecError::new(format!("{found} bytes are not one {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian_and_of_one_width() {
        let mut scratch = Scratch::new();
        let bytes = i32::encode(-2, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes, [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(i32::decode(Some(bytes)).expect("decodes"), -2);
        let error = u64::decode(Some(bytes)).expect_err("four bytes are no u64");
        assert_eq!(error.to_string(), "4 bytes are not one u64");

        let mut scratch = Scratch::new();
        let bytes = f64::encode(-1.5, &mut scratch).expect("encodes").expect("not null");
        assert_eq!(bytes, [0xbf, 0xf8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(f64::decode(Some(bytes)).expect("decodes"), -1.5);
    }
}
