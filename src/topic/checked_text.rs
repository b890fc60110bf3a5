//! Text files that are replaced as a whole: a title with a version, lines, and a checksum.

use std::path::Path;

use crate::error::{Error, Result};

const CHECKSUM: &str = "crc32 ";

/// What a file is called in its first line, and the version of it that this crate writes and reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) title: &'static str,
    pub(super) version: u16,
}

impl Format {
    /// The text of a file with these lines.
    pub(super) fn encode(self, lines: &str) -> String {
        let text = format!("ottla {} {}\n{lines}", self.title, self.version);
        let crc = crc32fast::hash(text.as_bytes());
        format!("{text}{CHECKSUM}{crc:08x}\n")
    }

    /// The lines of the file at `path`.
    pub(super) fn decode(self, path: &Path, bytes: &[u8]) -> Result<String> {
        let Self { title, version } = self;
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| corrupt(path, error.valid_up_to(), "it is not text"))?;
        let (first, lines) = text.split_once('\n').unwrap_or((text, ""));
        let found = first.strip_prefix("ottla ").and_then(|rest| rest.strip_prefix(title));
        let found: u16 = found
            .and_then(|version| version.strip_prefix(' ')?.parse().ok())
            .ok_or_else(|| corrupt(path, 0, &format!("it is no {title}")))?;
        let end = text.rfind(CHECKSUM);
        let is_whole = |text: &str, end: usize| {
            let crc = crc32fast::hash(&text.as_bytes()[..end]);
            text[end..] == format!("{CHECKSUM}{crc:08x}\n")
        };
        if found != version {
            // One of ours whose version was damaged is whole otherwise.
            let ours = format!("ottla {title} {version}\n{lines}");
            if ours.rfind(CHECKSUM).is_some_and(|end| is_whole(&ours, end)) {
                return Err(corrupt(path, 0, "its version is damaged"));
            }
            return Err(Error::UnsupportedFormat { path: path.to_path_buf(), found, supported: version });
        }
        let end = end.ok_or_else(|| corrupt(path, bytes.len(), "its checksum is missing"))?;
        if !is_whole(text, end) {
            return Err(corrupt(path, end, "its checksum does not match"));
        }
        Ok(text[first.len() + 1..end].to_owned())
    }
}

pub(super) fn corrupt(path: &Path, position: usize, detail: &str) -> Error {
    Error::Corrupt { path: path.to_path_buf(), position: position as u64, detail: detail.to_owned() }
}
