//! Plain structs as they lie in memory (feature `zerocopy`).

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use zerocopy::{ConvertError, FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Codec, Scratch};
use crate::error::CodecError;

/// A plain struct, or a slice of them, as it lies in memory: takes `&T`, and yields a `&T` that lies in the
/// log itself. Nothing is converted and nothing copied.
///
/// The bytes are those of the machine: a log on disk cannot be read by one with the other byte order, unless
/// the struct consists of `zerocopy::byteorder` types.
///
/// # Alignment
/// Values begin 8-byte aligned, so a type aligned to 8 bytes or less can always be read. Keys are not
/// aligned: a type for keys has alignment 1 (`#[repr(C, packed)]`, `zerocopy::Unalign`, or fields of
/// `zerocopy::byteorder` types). Bytes that are not aligned for the type, or not of its size, are a
/// [`DecodeError`](crate::DecodeError) that says so.
///
/// ```
/// use ottla::{Broker, TopicConfig, Zerocopy};
/// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C)]
/// struct Tick { nanos: u64, price: u32, size: u32 }
///
/// let broker = Broker::in_memory();
/// broker.create_topic("ticks", TopicConfig::new())?;
/// let producer = broker.producer::<String, Zerocopy<Tick>>("ticks")?;
/// producer.send("OTLA", &Tick { nanos: 1, price: 20_000, size: 5 })?;
///
/// let mut consumer = broker.consumer::<String, Zerocopy<Tick>>().topic("ticks").build()?;
/// let records = consumer.poll(std::time::Duration::ZERO)?;
/// for record in &records {
///     let tick: &Tick = record.value()?;
///     assert_eq!(tick.price, 20_000);
/// }
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Zerocopy<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: ?Sized> fmt::Debug for Zerocopy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zerocopy")
    }
}

impl<T> Codec for Zerocopy<T>
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + ?Sized + 'static,
{
    type Input<'a> = &'a T;
    type View<'a> = &'a T;

    #[inline]
    fn encode<'s, 'i: 's>(input: &'i T, _scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        Ok(Some(input.as_bytes()))
    }

    #[inline]
    fn decode(bytes: Option<&[u8]>) -> Result<&T, CodecError> {
        let bytes = bytes.ok_or_else(CodecError::null)?;
        T::ref_from_bytes(bytes)
            .map_err(|error| unreadable::<T>(bytes.len(), matches!(error, ConvertError::Size(_))))
    }
}

#[cold]
fn unreadable<T: ?Sized>(found: usize, is_of_other_size: bool) -> CodecError {
    let name = type_name::<T>();
    CodecError::new(if is_of_other_size {
        format!("{found} bytes are not one {name}")
    } else {
        format!("the bytes are not aligned for {name}: values are aligned to 8 bytes, keys are not aligned")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_alignment_must_fit() {
        let aligned = [1_u64, 2];
        let bytes = aligned.as_bytes();
        let mut scratch = Scratch::new();
        let encoded =
            Zerocopy::<[u64; 2]>::encode(&aligned, &mut scratch).expect("encodes").expect("not null");
        assert_eq!((encoded, encoded.as_ptr()), (bytes, bytes.as_ptr()));

        assert_eq!(Zerocopy::<[u64; 2]>::decode(Some(bytes)).expect("it fits"), &aligned);
        assert_eq!(Zerocopy::<[u64]>::decode(Some(bytes)).expect("it fits"), &aligned[..]);
        let said = |error: CodecError| error.to_string();
        let error = Zerocopy::<u64>::decode(Some(bytes)).expect_err("two of them");
        assert_eq!(said(error), "16 bytes are not one u64");
        let error = Zerocopy::<[u64]>::decode(Some(&bytes[..12])).expect_err("one and a half");
        assert_eq!(said(error), "12 bytes are not one [u64]");
        let error = Zerocopy::<u64>::decode(Some(&bytes[4..12])).expect_err("not aligned");
        assert!(said(error).starts_with("the bytes are not aligned for u64"));
        assert!(Zerocopy::<[u8; 8]>::decode(Some(&bytes[4..12])).is_ok());
        assert!(Zerocopy::<u64>::decode(None).is_err());
    }
}
