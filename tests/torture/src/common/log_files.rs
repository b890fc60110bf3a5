//! The logs of a directory, read from its files as `docs/format.md` says it, and with nothing of the library:
//! segments of both versions, gaps and horizons. The directory is one that was opened: nothing of it is torn.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ottla::storage::{OpenMode, Storage};

use super::format::{HEADER_BYTES, crc32, frame, u32_at, u64_at};
use super::sent::Sent;

/// How far a gap goes at most.
const MAX_GAP: u64 = 1 << 30;
const COMPACTED_HEADER_BYTES: usize = 80;

/// One log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogFiles {
    /// From here on nothing was compacted: the base offset of the last segment, or the end of one that was.
    pub(crate) head: u64,
    /// From which offset on the catalog says that it is kept.
    pub(crate) start: u64,
    /// The offset of the next record.
    pub(crate) end: u64,
    /// What its segments take, without their headers.
    pub(crate) bytes: u64,
    /// By their offsets.
    pub(crate) records: BTreeMap<u64, Sent>,
    /// How many segments a compaction has written, and how many gaps and horizons are in them.
    pub(crate) compacted: u64,
    pub(crate) gaps: u64,
    pub(crate) horizons: u64,
}

/// The logs of a topic, by partition; none if the catalog does not list it.
pub(crate) fn read_topic(storage: &dyn Storage, dir: &Path, topic: &str) -> Result<Vec<LogFiles>, String> {
    let catalog = read(storage, &dir.join("catalog")).map_err(|error| format!("the catalog: {error}"))?;
    let catalog = String::from_utf8(catalog).map_err(|error| format!("the catalog: {error}"))?;
    let mut logs = Vec::new();
    for (number, (id, from)) in partitions(&catalog, topic)?.into_iter().enumerate() {
        let dir = dir.join(format!("{topic}-{number}"));
        let log = segments(storage, &dir).and_then(|files| read_log(&files, id, from));
        logs.push(log.map_err(|what| format!("{}: {what}", dir.display()))?);
    }
    Ok(logs)
}

fn read(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenMode::ReadOnly)?;
    let mut bytes = vec![0; file.len()? as usize];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// From which offset on nothing of a log in use was compacted, as its files say by now.
pub(crate) fn head(storage: &dyn Storage, dir: &Path) -> io::Result<u64> {
    let names = storage.list(dir)?;
    let last = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse::<u64>().ok()).max();
    let Some(base) = last else { return Ok(0) };
    let header = read(storage, &dir.join(format!("{base:020}.log")))?;
    let is_compacted = header.len() >= COMPACTED_HEADER_BYTES && u32_at(&header, 8) == 2;
    Ok(if is_compacted { u64_at(&header, 64) } else { base })
}

/// The ids of a topic's partitions, and the offsets from which they are kept.
fn partitions(catalog: &str, topic: &str) -> Result<Vec<(u64, u64)>, String> {
    let mut partitions = Vec::new();
    let mut is_in = false;
    for line in catalog.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["topic", name, _, state] => is_in = name == topic && state == "live",
            ["partition", _, id, ref rest @ ..] if is_in => {
                let id = u64::from_str_radix(id, 16).map_err(|error| format!("{line}: {error}"))?;
                let from = rest.get(1).map_or(Ok(0), |from| from.parse());
                partitions.push((id, from.map_err(|error| format!("{line}: {error}"))?));
            }
            _ => {}
        }
    }
    Ok(partitions)
}

/// The files of a log's segments, by their base offsets.
fn segments(storage: &dyn Storage, dir: &Path) -> Result<BTreeMap<u64, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    for name in storage.list(dir).map_err(|error| error.to_string())? {
        if let Some(base) = name.strip_suffix(".log").and_then(|base| base.parse().ok()) {
            let path: PathBuf = dir.join(&name);
            files.insert(base, read(storage, &path).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    Ok(files)
}

/// A log of segments of which the first begins at or below `from`.
fn read_log(files: &BTreeMap<u64, Vec<u8>>, id: u64, from: u64) -> Result<LogFiles, String> {
    let has_header = |bytes: &Vec<u8>| bytes.len() >= HEADER_BYTES && bytes.iter().any(|byte| *byte != 0);
    let first = files.range(..=from).rev().find(|(_, bytes)| has_header(bytes));
    let Some((&first, _)) = first else { return Err(format!("no segment begins at or below {from}")) };
    let mut log = LogFiles { head: first, start: from, end: first, ..LogFiles::default() };
    let bases: Vec<u64> = files.range(first..).map(|(base, _)| *base).collect();
    for (number, base) in bases.iter().enumerate() {
        let bytes = &files[base];
        let limit = bases.get(number + 1).copied();
        if limit.is_none() && !has_header(bytes) {
            break;
        }
        if log.end != *base {
            return Err(format!("segment {base} follows on offset {}", log.end));
        }
        read_segment(&mut log, bytes, id, *base, limit).map_err(|what| format!("segment {base}: {what}"))?;
    }
    log.records = log.records.split_off(&from);
    Ok(log)
}

/// Where the frames of a segment begin, and whether it is of version 2.
fn check_header(bytes: &[u8], id: u64, base: u64) -> Result<(usize, bool), String> {
    let version = u32_at(bytes, 8);
    let least = if version == 2 { COMPACTED_HEADER_BYTES } else { HEADER_BYTES };
    let Some(header) = bytes.get(..least) else { return Err("it has no header".to_owned()) };
    let first = u32_at(header, 12) as usize;
    let crc_of = |range: std::ops::Range<usize>| crc32(header[range].iter().copied());
    let is_right = header.starts_with(b"OTTLALOG")
        && matches!(version, 1 | 2)
        && crc_of(0..60) == u32_at(header, 60)
        && (version == 1 || crc_of(64..76) == u32_at(header, 76))
        && first >= least
        && first.is_multiple_of(8)
        && u32_at(header, 56) == 0;
    if !is_right || u64_at(header, 16) != id || u64_at(header, 24) != base {
        return Err(format!("its header is not as the format says: {header:02x?}"));
    }
    if version == 2 && u64_at(header, 64) <= base {
        return Err("it ends before it begins".to_owned());
    }
    Ok((first, version == 2))
}

fn read_segment(
    log: &mut LogFiles,
    bytes: &[u8],
    id: u64,
    base: u64,
    limit: Option<u64>,
) -> Result<(), String> {
    let (mut at, is_compacted) = check_header(bytes, id, base)?;
    log.compacted += u64::from(is_compacted);
    log.bytes += (bytes.len() - at) as u64;
    let mut batch: Vec<(u64, Sent)> = Vec::new();
    let mut next = base;
    while at < bytes.len() && Some(next) != limit {
        let frame = match frame(&bytes[at..], id) {
            Ok(frame) => frame,
            // A sync mark may be torn that was behind all records.
            Err(_) if is_compacted && next == u64_at(bytes, 64) && batch.is_empty() => break,
            Err(what) => {
                let place = format!("at byte {at} of {}, where {next} belongs", bytes.len());
                return Err(format!("{place}, compacted: {is_compacted}, up to {limit:?}: {what}"));
            }
        };
        let (offset, kind) = (u64_at(frame, 8), frame[38]);
        if offset != next {
            return Err(format!("at byte {at}: offset {offset}, not {next}"));
        }
        if kind != 0 && !batch.is_empty() {
            return Err(format!("at byte {at}: a control frame within a batch"));
        }
        match kind {
            0 => {
                batch.push((offset, record(frame)?));
                next += 1;
                if frame[39] & 1 == 0 {
                    log.records.extend(batch.drain(..));
                }
            }
            2 => {
                let end = u64_at(frame, 40);
                if !is_compacted || u32_at(frame, 24) != 8 || end <= next || end > next + MAX_GAP {
                    return Err(format!("at byte {at}: a gap from {next} to {end}"));
                }
                (next, log.gaps) = (end, log.gaps + 1);
            }
            3 => log.horizons += 1,
            _ => {}
        }
        at += frame.len();
    }
    if !batch.is_empty() || limit.is_some_and(|limit| limit != next) {
        return Err(format!("it ends with offset {next}, and the next one begins with {limit:?}"));
    }
    // Nothing was cut off a segment of version 2, and nothing came behind it.
    if is_compacted && (limit.is_none() && u64_at(bytes, 64) > next || next > u64_at(bytes, 64)) {
        return Err(format!("it ends with offset {next}, and says {}", u64_at(bytes, 64)));
    }
    log.end = next;
    log.head = if is_compacted { next } else { base };
    Ok(())
}

/// What a frame holds, of which the lengths agree.
fn record(frame: &[u8]) -> Result<Sent, String> {
    let length = |at: usize| Some(u32_at(frame, at)).filter(|length| *length != u32::MAX);
    let mut at = 40;
    let mut take = |length: Option<u32>| {
        let part = length.map(|length| frame[at..at + length as usize].to_vec());
        at += length.unwrap_or(0) as usize;
        part
    };
    let (value, key) = (take(length(24)), take(length(28)));
    let bytes = take(Some(u32_at(frame, 32))).unwrap_or_default();
    let count = u16::from_le_bytes([frame[36], frame[37]]);
    let headers = headers(&bytes, count).ok_or("headers that do not fill their bytes")?;
    Ok(Sent { key, value, headers, timestamp: u64_at(frame, 16).cast_signed() })
}

fn headers(mut bytes: &[u8], count: u16) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let mut headers = Vec::new();
    for _ in 0..count {
        let (lengths, rest) = bytes.split_first_chunk::<6>()?;
        let name = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let value = u32_at(lengths, 2);
        let (name, rest) = rest.split_at_checked(name)?;
        let length = if value == u32::MAX { 0 } else { value as usize };
        let (text, rest) = rest.split_at_checked(length)?;
        let value = (value != u32::MAX).then(|| text.to_vec());
        headers.push((String::from_utf8(name.to_vec()).ok()?, value));
        bytes = rest;
    }
    bytes.is_empty().then_some(headers)
}
