//! The checkpoint: how far each partition was on stable storage when the broker was opened or closed, and in
//! which run of the machine that was. What it says stays true: what was synced is there, or is damaged. A
//! broker that was closed has nothing to read again when it is opened.
//!
//! ```text
//! ottla checkpoint 1
//! boot 0d2a4a0f-7a4e-4c55-a0f5-7cf4d54e2d4b
//! partition d790064c6fdb3d3a end 1200 segment 900 position 8256
//! crc32 1a2b3c4d
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::checked_text::{Format, corrupt};
use crate::error::Result;
use crate::ids::MAX_OFFSET;
use crate::log::SyncedTo;

pub(super) const FILE_NAME: &str = "checkpoint";
const FORMAT: Format = Format { title: "checkpoint", version: 1 };

/// What a checkpoint says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// In which run of the machine the files were last written to; `None` if that is not known.
    pub(super) boot: Option<String>,
    /// By partition id.
    pub(super) synced: BTreeMap<u64, SyncedTo>,
}

/// The file's text.
pub(crate) fn encode(checkpoint: &Checkpoint) -> String {
    let mut lines = String::new();
    if let Some(boot) = &checkpoint.boot {
        lines += &format!("boot {boot}\n");
    }
    for (id, SyncedTo { end_offset, segment, position }) in &checkpoint.synced {
        lines += &format!("partition {id:016x} end {end_offset} segment {segment} position {position}\n");
    }
    FORMAT.encode(&lines)
}

/// Reads the text of the file at `path`.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Checkpoint> {
    let lines = FORMAT.decode(path, bytes)?;
    let mut checkpoint = Checkpoint::default();
    for line in lines.lines() {
        decode_line(&mut checkpoint, line)
            .ok_or_else(|| corrupt(path, 0, "it has a line that this version does not know"))?;
    }
    Ok(checkpoint)
}

fn decode_line(checkpoint: &mut Checkpoint, line: &str) -> Option<()> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["boot", boot] if !boot.contains(char::is_whitespace) => checkpoint.boot = Some(boot.to_owned()),
        ["partition", id, "end", end_offset, "segment", segment, "position", position] => {
            let id = u64::from_str_radix(id, 16).ok()?;
            let synced = SyncedTo {
                end_offset: end_offset.parse().ok().filter(|end_offset| *end_offset <= MAX_OFFSET)?,
                segment: segment.parse().ok()?,
                position: position.parse().ok()?,
            };
            checkpoint.synced.insert(id, synced);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn checkpoint() -> Checkpoint {
        let synced = SyncedTo { end_offset: 1_200, segment: 900, position: 8_256 };
        let other = SyncedTo { end_offset: 0, segment: 0, position: 64 };
        Checkpoint { boot: Some("a-b".to_owned()), synced: [(7, synced), (u64::MAX, other)].into() }
    }

    #[test]
    fn it_comes_back_and_every_flipped_bit_and_every_prefix_is_noticed() {
        let bytes = encode(&checkpoint()).into_bytes();
        assert_eq!(decode(Path::new("checkpoint"), &bytes).expect("valid"), checkpoint());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = decode(Path::new("checkpoint"), &flipped);
            assert!(matches!(found, Err(Error::Corrupt { .. })), "bit {bit}: {found:?}");
        }
        for end in 0..bytes.len() {
            assert!(decode(Path::new("checkpoint"), &bytes[..end]).is_err(), "prefix of {end}");
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let error = decode(Path::new("checkpoint"), b"ottla checkpoint 2\nanything\n").expect_err("unknown");
        assert!(matches!(error, Error::UnsupportedFormat { found: 2, supported: 1, .. }));
    }

    #[test]
    fn the_example_of_the_format_page_is_read() {
        let page = include_str!("../../docs/format.md");
        let (_, example) = page.split_once("```text\nottla checkpoint").expect("it begins so");
        let (example, _) = example.split_once("```").expect("it ends");
        let example = format!("ottla checkpoint{example}");
        let found = decode(Path::new("checkpoint"), example.as_bytes()).expect("it is one");
        assert_eq!(encode(&found), example);
    }
}
