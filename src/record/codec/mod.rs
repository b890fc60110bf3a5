//! Codecs: the types between what a program handles and the bytes in the log.

mod basic;
#[cfg(feature = "json")]
mod json;
mod number;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "prost")]
mod prost;
mod scratch;
#[cfg(feature = "zerocopy")]
mod zerocopy;

pub use basic::Raw;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
#[cfg(feature = "prost")]
pub use prost::Prost;
pub use scratch::Scratch;
#[cfg(feature = "zerocopy")]
pub use zerocopy::Zerocopy;

use crate::error::CodecError;

/// Turns keys or values into bytes and back; named by the type parameters of
/// [`Producer`](crate::Producer) and [`Consumer`](crate::Consumer).
///
/// | codec | takes | yields | bytes |
/// |---|---|---|---|
/// | `String` | `&str` | `&str` | UTF-8 |
/// | [`Raw`] | `&[u8]` | `&[u8]` | as they are |
/// | `u8` to `u128`, `i8` to `i128`, `f32`, `f64` | the number | the number | big-endian, as wide as the type
/// |
/// | `Option<C>` | `Option` of what `C` takes | `Option` of what `C` yields | `None` is null |
/// | `()` | `()` | `()` | writes null, reads anything |
/// | `Json<T>` (feature `json`) | `&T` | `T` | JSON |
/// | `Postcard<T>` (feature `postcard`) | `&T` | `T` | postcard's, through serde |
/// | `Prost<M>` (feature `prost`) | `&M` | `M` | Protocol Buffers |
/// | `Zerocopy<T>` (feature `zerocopy`) | `&T` | `&T`, in the log | as in memory |
///
/// A codec runs outside every lock of the log: it may be slow or panic without harm to others.
///
/// ```
/// use std::io::Write;
///
/// use ottla::{Broker, Codec, CodecError, Scratch, TopicConfig};
///
/// /// A price in cents, as text.
/// struct Cents;
///
/// impl Codec for Cents {
///     type Input<'a> = u32;
///     type View<'a> = u32;
///
///     fn encode<'s, 'i: 's>(input: u32, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
///         write!(scratch, "{input}").map_err(CodecError::new)?;
///         Ok(Some(scratch))
///     }
///
///     fn decode(bytes: Option<&[u8]>) -> Result<u32, CodecError> {
///         let text = std::str::from_utf8(bytes.ok_or_else(CodecError::null)?).map_err(CodecError::new)?;
///         text.parse().map_err(CodecError::new)
///     }
/// }
///
/// let broker = Broker::in_memory();
/// broker.create_topic("prices", TopicConfig::new())?;
/// broker.producer::<String, Cents>("prices")?.send("apple", 120)?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec",
    label = "a codec is needed here: it says how a key or value becomes bytes",
    note = "text: `String` (takes `&str`); bytes: `Raw` (takes `&[u8]`); none: `()`; or null: `Option<C>`",
    note = "structs: `Json<T>`, `Postcard<T>`, `Prost<M>`, `Zerocopy<T>`, each with a feature of `ottla`",
    note = "or implement `ottla::Codec` for a type of your own"
)]
pub trait Codec: 'static {
    /// What is given to send.
    type Input<'a>;
    /// What a record yields; may borrow from the log.
    type View<'a>;

    /// The bytes of `input`, or `None` for a null. Bytes that exist already are returned as they are, so
    /// that nothing copies them but the log; others are written to `scratch`, which comes empty. The input
    /// outlives the scratch, so either can be returned.
    ///
    /// # Errors
    /// Whatever keeps `input` from being encoded; the send fails with
    /// [`Error::Encode`](crate::Error::Encode).
    fn encode<'s, 'i: 's>(
        input: Self::Input<'i>,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s [u8]>, CodecError>;

    /// Reads the bytes of a key or value; `None` is a null.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes; the caller sees a [`DecodeError`](crate::DecodeError).
    fn decode(bytes: Option<&[u8]>) -> Result<Self::View<'_>, CodecError>;
}
