//! Where a codec writes: a few bytes on the stack, more of them in a `Vec`.

use std::fmt;
use std::io;
use std::ops::Deref;

/// Fits every integer, a UUID, and a decimal `u64`.
const INLINE_BYTES: usize = 24;

/// Where a [`Codec`](crate::Codec) writes the bytes of what it encodes. It comes empty, and up to 24 bytes
/// in it cost no allocation.
///
/// It is written to as a `Vec<u8>` is, or through [`io::Write`], or as the `Vec` that
/// [`vec_mut`](Self::vec_mut) yields; and it is read as a `&[u8]`, so a codec can end with
/// `Ok(Some(scratch))`.
///
/// ```
/// use std::io::Write;
/// use ottla::Scratch;
///
/// let mut scratch = Scratch::new();
/// scratch.extend_from_slice(b"cents ");
/// write!(scratch, "{}", 20_000)?;
/// assert_eq!(&scratch[..], b"cents 20000");
/// scratch.vec_mut().push(b'.');
/// assert_eq!(scratch.len(), 12);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Scratch(Bytes);

/// `Empty` is there so that making one of each per record of a batch costs little.
enum Bytes {
    Empty,
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Vec<u8>),
}

impl Scratch {
    /// An empty one. A codec is given its scratch; this is for tests that call a codec.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self(Bytes::Empty)
    }

    /// Adds one byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Adds bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        if matches!(self.0, Bytes::Empty) {
            self.0 = Bytes::Inline { len: 0, bytes: [0; INLINE_BYTES] };
        }
        if let Bytes::Inline { len, bytes } = &mut self.0 {
            let start = usize::from(*len);
            if let Some(free) = bytes.get_mut(start..start + more.len()) {
                free.copy_from_slice(more);
                *len += more.len() as u8;
                return;
            }
        }
        self.vec_mut_with_room(more.len()).extend_from_slice(more);
    }

    /// The bytes as a `Vec`, for what writes to one. Whatever is written this way is allocated.
    #[inline]
    pub fn vec_mut(&mut self) -> &mut Vec<u8> {
        self.vec_mut_with_room(0)
    }

    fn vec_mut_with_room(&mut self, room: usize) -> &mut Vec<u8> {
        if !matches!(self.0, Bytes::Heap(_)) {
            let mut vec = Vec::with_capacity(self.len() + room);
            vec.extend_from_slice(self);
            self.0 = Bytes::Heap(vec);
        }
        match &mut self.0 {
            Bytes::Heap(vec) => vec,
            _ => unreachable!("it was just moved to the heap"),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Scratch {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Empty => &[],
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Heap(vec) => vec,
        }
    }
}

/// Never fails.
impl io::Write for Scratch {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Scratch {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn bytes_come_back_whichever_way_and_in_whatever_pieces_they_were_written() {
        let text: Vec<u8> = (0..=99).collect();
        for piece in 1..=text.len() {
            let mut scratch = Scratch::new();
            for (number, bytes) in text.chunks(piece).enumerate() {
                match number % 4 {
                    0 => scratch.extend_from_slice(bytes),
                    1 => scratch.write_all(bytes).expect("never fails"),
                    2 => bytes.iter().for_each(|byte| scratch.push(*byte)),
                    _ => assert_eq!(scratch.write(bytes).expect("never fails"), bytes.len()),
                }
            }
            assert_eq!(&scratch[..], text, "in pieces of {piece}");
            scratch.vec_mut().push(7);
            assert_eq!((scratch.len(), scratch.last()), (101, Some(&7)), "in pieces of {piece}");
        }
    }

    #[test]
    fn the_vec_has_what_was_written_before() {
        let mut scratch = Scratch::new();
        scratch.extend_from_slice(b"abc");
        assert_eq!(scratch.vec_mut(), b"abc");
        scratch.vec_mut().clear();
        scratch.push(b'd');
        assert_eq!(&scratch[..], b"d");
    }

    #[test]
    fn up_to_24_bytes_lie_in_the_scratch_itself() {
        for (bytes, inline) in [(0, true), (1, true), (24, true), (25, false)] {
            let mut scratch = Scratch::new();
            scratch.extend_from_slice(&vec![7; bytes]);
            let place = &raw const scratch as usize..&raw const scratch as usize + size_of::<Scratch>();
            assert_eq!(place.contains(&(scratch.as_ptr() as usize)), inline, "{bytes} bytes");
        }
    }
}
