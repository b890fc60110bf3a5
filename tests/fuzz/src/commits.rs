//! Records of committed offsets, and of groups that have no members.

use ottla::fuzzing;

use crate::format::{self, Frame};
use crate::input::Input;

/// The target: a key and a value, and whether they are null.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let nulls = input.byte();
    let len = usize::from(input.byte());
    let key = (nulls & 1 == 0).then(|| input.bytes(len).to_vec());
    let value = (nulls & 2 == 0).then(|| input.rest().to_vec());
    let record = Frame { key: key.clone(), value: value.clone(), ..Frame::default() };
    let found = fuzzing::recode_commit(&record.encode(0));
    let (is_commit, is_emptied) = (is_commit(key.as_deref(), value.as_deref()), is_emptied(&key, &value));
    assert_eq!(found.is_some(), is_commit || is_emptied);
    if let Some((key_again, value_again)) = found {
        assert_eq!((Some(key_again), value_again), (key, value), "what was read is written as it was");
    }
    // Frames that are none.
    assert!(format::frame_length(bytes).is_some() || fuzzing::recode_commit(bytes).is_none());
}

/// By `docs/format.md`.
fn is_commit(key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
    let is_key = key.is_some_and(|key| key.len() >= 13 && key[0] == 1 && str::from_utf8(&key[13..]).is_ok());
    let is_value = value.is_none_or(|value| value.len() >= 8 && str::from_utf8(&value[8..]).is_ok());
    is_key && is_value
}

fn is_emptied(key: &Option<Vec<u8>>, value: &Option<Vec<u8>>) -> bool {
    let is_key = |key: &Vec<u8>| key.first() == Some(&2) && str::from_utf8(&key[1..]).is_ok();
    key.as_ref().is_some_and(is_key) && value.as_ref().is_none_or(|value| value.len() == 8)
}
