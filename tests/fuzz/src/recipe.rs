//! A partition's files, made from a fuzzer's bytes: a list of steps that append good frames, frames whose
//! fields lie under a good CRC, and bytes that are no frame, and then change what is there. So most inputs
//! are nearly a log, and a small change of the input is a small change of the log.

use std::collections::BTreeMap;

use crate::format::{self, CONTINUES, Frame, OFFSETS_END, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::input::Input;

/// What all files of a partition may take together.
const MOST_BYTES: usize = 64 << 10;

/// How many steps there may be.
const MOST_STEPS: usize = 300;

/// The files of a partition, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The steps; a byte chooses one by its lower half, and its upper half says how.
pub mod step {
    /// A segment. Bit 4: without a header; bit 5: its frames do not begin behind the header; bit 6: it names
    /// another one as the one before it.
    pub const SEGMENT: u8 = 0;
    /// A record of a few bytes; bit 4: its batch goes on.
    pub const SMALL: u8 = 1;
    /// Any record.
    pub const RECORD: u8 = 2;
    /// A control frame of kind 1, whose value is a number near the next offset.
    pub const MARK: u8 = 3;
    /// Any control frame.
    pub const CONTROL: u8 = 4;
    /// Bytes, as they are.
    pub const BYTES: u8 = 5;
    /// The bytes of frames, whose CRCs are made right.
    pub const FRAMES: u8 = 6;
    /// Zeros.
    pub const ZEROS: u8 = 7;
    /// Changes a field of the last frame, whose CRC is made right.
    pub const FIELD: u8 = 8;
    /// Changes a byte.
    pub const FLIP: u8 = 9;
    /// Cuts bytes off the end.
    pub const CUT: u8 = 10;
    /// Leaves offsets out.
    pub const SKIP: u8 = 11;
    /// Bytes that were there already.
    pub const REPEAT: u8 = 12;
    /// A record of another partition.
    pub const FOREIGN: u8 = 13;
    /// Another name for the segment's file.
    pub const RENAME: u8 = 14;
    /// Changes a field of the segment's header, whose CRC is made right.
    pub const HEADER: u8 = 15;
}

/// The fields of a frame: where they are, and their bytes.
const FIELDS: [(usize, usize); 8] = [(4, 4), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 2), (38, 2)];

/// What may stand where the number of a segment's file is expected.
const OTHER_NAMES: [&str; 6] = [
    "00000000000000000000.log.0.torn",
    "00000000000000000000.log.new",
    "00000000000000000001.LOG",
    "0.log",
    "99999999999999999999.log",
    "notes",
];

/// The files that `input` describes, to its end.
#[must_use]
pub fn files(input: &mut Input<'_>, partition_id: u64) -> Files {
    let mut kitchen = Kitchen::new(partition_id);
    for _ in 0..MOST_STEPS {
        if input.is_empty() || kitchen.bytes_done + kitchen.bytes.len() > MOST_BYTES {
            break;
        }
        kitchen.take(input);
    }
    kitchen.finish_segment();
    kitchen.files
}

/// Files in the making.
struct Kitchen {
    partition_id: u64,
    files: Files,
    bytes_done: usize,
    /// The segment under way: its name, its bytes.
    name: String,
    bytes: Vec<u8>,
    base_offset: u64,
    next_offset: u64,
    /// Where the last frame begins.
    last_frame: usize,
}

impl Kitchen {
    /// With the first segment begun.
    fn new(partition_id: u64) -> Self {
        let mut kitchen = Self {
            partition_id,
            files: Files::new(),
            bytes_done: 0,
            name: String::new(),
            bytes: Vec::new(),
            base_offset: 0,
            next_offset: 0,
            last_frame: 0,
        };
        kitchen.begin_segment(&first_header(partition_id), true);
        kitchen
    }

    fn take(&mut self, input: &mut Input<'_>) {
        let byte = input.byte();
        let (step, variant) = (byte & 15, byte >> 4);
        match step {
            step::SEGMENT => self.next_segment(input, variant),
            step::SMALL => self.put_record(&small_record(self.next_offset, variant)),
            step::RECORD => {
                let record = record(input, self.next_offset);
                self.put_record(&record);
            }
            step::MARK => {
                let value = usual(self.next_offset.wrapping_sub(input.number()));
                self.put_control(1, value.to_le_bytes().to_vec());
            }
            step::CONTROL => {
                let kind = input.byte().max(1);
                let len = usize::from(input.byte());
                self.put_control(kind, input.bytes(len).to_vec());
            }
            step::BYTES | step::FRAMES => self.put_bytes(input, step),
            step::ZEROS => {
                let len = (input.number() as usize).min(8 << 10);
                self.bytes.resize(self.bytes.len() + len, 0);
            }
            step::FIELD => self.change_field(input, variant),
            step::FLIP => self.flip(input),
            step::CUT => {
                let len = self.bytes.len().saturating_sub(input.number() as usize);
                self.bytes.truncate(len);
            }
            step::SKIP => self.next_offset = usual(self.next_offset.wrapping_add(input.number())),
            step::REPEAT => self.repeat(input),
            step::FOREIGN => {
                let frame = small_record(self.next_offset, variant).encode(self.partition_id ^ 1);
                self.bytes.extend(frame);
            }
            step::RENAME => self.rename(input, variant),
            _ => self.change_header(input),
        }
    }

    fn next_segment(&mut self, input: &mut Input<'_>, variant: u8) {
        let base_offset = usual(self.next_offset.wrapping_add(input.number()));
        let mut header = SegmentHeader {
            partition_id: self.partition_id,
            base_offset,
            first_position: SEGMENT_HEADER_BYTES as u32,
            recovery_point: usual(base_offset.wrapping_sub(input.number())),
            created: 1_000,
            previous: self.base_offset,
            compacted: None,
        };
        if variant & 2 != 0 {
            header.first_position += 8 * u32::from(input.byte());
        }
        if variant & 4 != 0 {
            header.previous = base_offset.wrapping_sub(input.number());
        }
        self.finish_segment();
        self.begin_segment(&header, variant & 1 == 0);
    }

    fn begin_segment(&mut self, header: &SegmentHeader, is_written: bool) {
        self.name = segment_name(header.base_offset);
        if is_written {
            self.bytes.extend(header.encode());
            self.bytes.resize(header.first_position as usize, 0);
        }
        (self.base_offset, self.next_offset) = (header.base_offset, header.base_offset);
        self.last_frame = self.bytes.len();
    }

    fn finish_segment(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes_done += bytes.len();
        self.files.insert(std::mem::take(&mut self.name), bytes);
    }

    fn put(&mut self, frame: &Frame) {
        self.last_frame = self.bytes.len();
        self.bytes.extend(frame.encode(self.partition_id));
    }

    fn put_record(&mut self, record: &Frame) {
        self.put(record);
        self.next_offset = self.next_offset.wrapping_add(1);
    }

    fn put_control(&mut self, kind: u8, value: Vec<u8>) {
        self.put(&Frame { offset: self.next_offset, value: Some(value), kind, ..Frame::default() });
    }

    fn put_bytes(&mut self, input: &mut Input<'_>, step: u8) {
        let len = usize::from(input.short());
        let mut bytes = input.bytes(len).to_vec();
        if step == step::FRAMES {
            format::repair_crcs(&mut bytes, self.partition_id);
        }
        let mut rest = &bytes[..];
        while let Some((frame, length)) = Frame::decode(rest) {
            if frame.is_record() {
                self.next_offset = frame.offset.wrapping_add(1);
            }
            rest = &rest[length..];
        }
        self.last_frame = self.bytes.len();
        self.bytes.extend(bytes);
    }

    fn change_field(&mut self, input: &mut Input<'_>, variant: u8) {
        let (at, len) = FIELDS[usize::from(variant) % FIELDS.len()];
        let number = input.number();
        let end = self.bytes.len();
        let Some(frame) = self.bytes.get_mut(self.last_frame..end) else { return };
        if frame.len() >= format::FRAME_HEADER_BYTES {
            format::put(frame, at, &number.to_le_bytes()[..len]);
            let length = format::frame_length(frame).unwrap_or(frame.len());
            format::repair_crc(&mut frame[..length], self.partition_id);
        }
    }

    fn flip(&mut self, input: &mut Input<'_>) {
        let back = usize::from(input.short());
        let mask = input.byte();
        if let Some(at) = self.bytes.len().checked_sub(1 + back) {
            self.bytes[at] ^= mask;
        }
    }

    fn repeat(&mut self, input: &mut Input<'_>) {
        let start = self.bytes.len().saturating_sub(8 * usize::from(input.short()));
        let end = start.saturating_add(8 * usize::from(input.byte())).min(self.bytes.len());
        self.bytes.extend_from_within(start..end);
    }

    fn rename(&mut self, input: &mut Input<'_>, variant: u8) {
        self.name = match OTHER_NAMES.get(usize::from(variant)) {
            Some(name) => (*name).to_owned(),
            None => segment_name(usual(input.number())),
        };
    }

    fn change_header(&mut self, input: &mut Input<'_>) {
        let at = 4 * usize::from(input.byte() % 15);
        let number = input.number();
        if self.bytes.len() >= SEGMENT_HEADER_BYTES {
            let len = if at + 8 <= SEGMENT_HEADER_BYTES - 4 { 8 } else { 4 };
            format::put(&mut self.bytes, at, &number.to_le_bytes()[..len]);
            format::repair_header_crc(&mut self.bytes);
        }
    }
}

/// The header of the first segment of a partition.
#[must_use]
pub fn first_header(partition_id: u64) -> SegmentHeader {
    SegmentHeader {
        partition_id,
        base_offset: 0,
        first_position: SEGMENT_HEADER_BYTES as u32,
        recovery_point: 0,
        created: 1_000,
        previous: u64::MAX,
        compacted: None,
    }
}

/// Any number, but not one just below the end of all offsets: a log that is there cannot go on, and none gets
/// there.
#[must_use]
pub fn usual(offset: u64) -> u64 {
    if (1 << 62..OFFSETS_END).contains(&offset) { offset - (1 << 62) } else { offset }
}

/// The name of the file of a segment.
#[must_use]
pub fn segment_name(base_offset: u64) -> String {
    format!("{base_offset:020}.log")
}

/// A record that costs no input; bit 0: its batch goes on.
fn small_record(offset: u64, variant: u8) -> Frame {
    Frame {
        offset,
        timestamp: 1_000,
        value: Some(vec![b'a' + variant; usize::from(variant)]),
        flags: variant & CONTINUES,
        ..Frame::default()
    }
}

/// Any record.
pub fn record(input: &mut Input<'_>, offset: u64) -> Frame {
    let how = input.byte();
    let timestamp = input.number().cast_signed();
    let mut part = |present: bool| {
        present.then(|| {
            let len = usize::from(input.byte());
            let factor = if how & 16 == 0 { 1 } else { 40 };
            vec![b'a' + len as u8 % 26; len * factor]
        })
    };
    let (key, value) = (part(how & 2 == 0), part(how & 4 == 0));
    let headers = if how & 8 == 0 { Vec::new() } else { headers(input) };
    Frame { offset, timestamp, value, key, headers, flags: how & CONTINUES, ..Frame::default() }
}

fn headers(input: &mut Input<'_>) -> Vec<format::Header> {
    let count = input.byte() % 8;
    let header = |_| {
        let len = usize::from(input.byte() % 32);
        let name = String::from_utf8_lossy(input.bytes(len)).into_owned();
        let len = usize::from(input.byte() % 64);
        (name, (len < 60).then(|| input.bytes(len).to_vec()))
    };
    (0..count).map(header).collect()
}
