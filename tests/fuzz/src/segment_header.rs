//! The header of a segment and the name of its file.

use ottla::fuzzing;

use crate::format::{self, SegmentHeader};
use crate::input::Input;

/// The target. The first byte says what becomes of the others.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte() % 3;
    let rest = input.rest();
    if mode == 2 {
        return String::from_utf8_lossy(rest).lines().for_each(check_name);
    }
    let len = rest.len().clamp(format::SEGMENT_HEADER_BYTES, format::COMPACTED_HEADER_BYTES);
    let mut header = rest.to_vec();
    header.resize(len, 0);
    if mode == 1 {
        format::repair_header_crc(&mut header);
    }
    let found = fuzzing::recode_segment_header(&header);
    assert_eq!(found.is_some(), SegmentHeader::decode(&header).is_some());
    if let Some(again) = found {
        assert_eq!(SegmentHeader::decode(&again), SegmentHeader::decode(&header));
        assert_eq!(SegmentHeader::decode(&again).map(|header| header.encode()).as_ref(), Some(&again));
        assert_eq!(fuzzing::recode_segment_header(&again).as_ref(), Some(&again));
    }
}

fn check_name(name: &str) {
    if let Some((base_offset, again)) = fuzzing::recode_segment_name(name) {
        assert_eq!(again, name, "a name that is read is the one that is written");
        assert_eq!(name, format!("{base_offset:020}.log"));
    }
}
