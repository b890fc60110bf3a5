//! The text of a checkpoint.

use ottla::fuzzing;

use crate::format::with_crc_line;
use crate::input::Input;

/// The target. The first byte says whether the CRC is made right.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let rest = input.rest();
    if mode % 2 == 0 {
        check_text(rest);
    } else if let Ok(text) = str::from_utf8(rest) {
        let text = text.rfind("crc32 ").map_or(text, |end| &text[..end]);
        check_text(with_crc_line(text).as_bytes());
    }
}

fn check_text(bytes: &[u8]) {
    if let Ok(again) = fuzzing::recode_checkpoint(bytes) {
        let twice = fuzzing::recode_checkpoint(again.as_bytes());
        assert_eq!(twice.ok().as_ref(), Some(&again), "what is written is read, and written so again");
    }
}
