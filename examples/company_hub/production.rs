//! The machines' messages on their CAN bus, as `candump -L` writes them, one frame a line:
//! `(1436509052.249713) can0 181#2A366C2BBA`. Published as raw bytes (the codec `Raw`), in the layout that
//! packet captures have: identifier (32 bits, big-endian), length, three zeros, data.
//!
//! The formats: <https://github.com/linux-can/can-utils>,
//! <https://www.tcpdump.org/linktypes/LINKTYPE_CAN_SOCKETCAN.html>

use fastrand::Rng;
use jiff::Timestamp;

use crate::area::{Event, Times, lines};
use crate::generate::{self, is_one_of};

const HEADER_BYTES: usize = 8;
const MAX_DATA_BYTES: usize = 8;
/// In the identifier: it has 29 bits.
const EXTENDED: u32 = 1 << 31;
/// In the identifier: this asks for data, and has none.
const REMOTE: u32 = 1 << 30;

pub(crate) fn read(bytes: &[u8]) -> Vec<Event<Vec<u8>>> {
    let mut times = Times::default();
    let event = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let mut fields = text.split_ascii_whitespace();
        let (time, bus, frame) = (fields.next(), fields.next(), fields.next().unwrap_or_default());
        let machine = frame.split('#').next().unwrap_or_default();
        Event {
            key: format!("{}/{machine}", bus.unwrap_or_default()),
            time: times.next(time.and_then(time_of)),
            // A frame that cannot be made one goes as the line that it was: this codec takes any bytes.
            value: frame_of(frame).ok_or_else(|| line.to_vec()),
        }
    };
    lines(bytes).map(event).collect()
}

fn time_of(field: &str) -> Option<Timestamp> {
    let seconds: f64 = field.strip_prefix('(')?.strip_suffix(')')?.parse().ok()?;
    Timestamp::from_millisecond((seconds * 1_000.0) as i64).ok()
}

/// Identifier and data as text, `181#2A366C`, to bytes.
fn frame_of(text: &str) -> Option<Vec<u8>> {
    let (identifier, data) = text.split_once('#')?;
    let id = u32::from_str_radix(identifier, 16).ok()?;
    let id = if identifier.len() > 3 { id | EXTENDED } else { id };
    let (id, data) = if data.starts_with('R') { (id | REMOTE, "") } else { (id, data) };
    let data: Vec<u8> = data.as_bytes().chunks(2).map(byte_of).collect::<Option<_>>()?;
    if data.len() > MAX_DATA_BYTES {
        return None;
    }
    let mut frame = id.to_be_bytes().to_vec();
    frame.extend([data.len() as u8, 0, 0, 0]);
    frame.extend(data);
    Some(frame)
}

fn byte_of(digits: &[u8]) -> Option<u8> {
    match digits {
        [_, _] => u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok(),
        _ => None,
    }
}

/// The identifier of a frame that is whole.
pub(crate) fn identifier(frame: &[u8]) -> Result<u32, String> {
    let (header, data) = frame.split_at_checked(HEADER_BYTES).ok_or("it is too short for a CAN frame")?;
    match header {
        [a, b, c, d, length, 0, 0, 0] if usize::from(*length) == data.len() => {
            Ok(u32::from_be_bytes([*a, *b, *c, *d]) & !(EXTENDED | REMOTE))
        }
        _ => Err(format!("its {} bytes are no CAN frame", frame.len())),
    }
}

/// A day of messages of four machines, each with its count of pieces. Some lost their last digit on the way.
pub(crate) fn generate(rng: &mut Rng, count: usize) -> String {
    let mut pieces = [0_u32; 4];
    let mut log = String::new();
    for time in generate::times(rng, count) {
        let machine = rng.usize(..pieces.len());
        pieces[machine] += rng.u32(1..10);
        let (seconds, micros) = (time.as_second(), time.subsec_microsecond());
        let (id, count, state) = (0x181 + machine, pieces[machine].swap_bytes(), rng.u8(..4));
        let line = format!("({seconds}.{micros:06}) can0 {id:03X}#{count:08X}{state:02X}");
        let whole = if is_one_of(rng, 300) { line.len() - 1 } else { line.len() };
        log.extend([&line[..whole], "\n"]);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_keeps_identifier_and_data() {
        let events = read(b"(1436509052.249713) can0 044#2A366C2BBA\n(1436509053.0) can1 12345678#R\n");
        let keys: Vec<&str> = events.iter().map(|event| &*event.key).collect();
        assert_eq!(keys, ["can0/044", "can1/12345678"]);
        assert_eq!(events[0].time.as_millis(), 1_436_509_052_249);
        let frames: Vec<&[u8]> = events.iter().flat_map(|event| event.value.as_deref()).collect();
        assert_eq!(frames[0], [0, 0, 0, 0x44, 5, 0, 0, 0, 0x2a, 0x36, 0x6c, 0x2b, 0xba]);
        assert_eq!(frames[1], [0xd2, 0x34, 0x56, 0x78, 0, 0, 0, 0]);
        assert_eq!((identifier(frames[0]), identifier(frames[1])), (Ok(0x44), Ok(0x1234_5678)));
    }

    #[test]
    fn what_is_no_frame_stays_what_it_was() {
        for line in ["(1.5) can0 044#2A3", "(1.5) can0 044##1AA", "(1.5) can0 044#112233445566778899", "can0"]
        {
            let value = read(line.as_bytes()).pop().map(|event| event.value);
            assert_eq!(value, Some(Err(line.as_bytes().to_vec())));
            assert!(identifier(line.as_bytes()).is_err());
        }
    }
}
