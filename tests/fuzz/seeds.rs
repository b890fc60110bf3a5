//! Writes the corpus: small inputs for every target, out of what a broker writes, and out of what has been
//! wrong once. Files of other names are left alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ottla::storage::MemoryStorage;
use ottla::{Broker, ManualClock, Timestamp, TopicConfig};
use ottla_fuzz::disk::{DIR, Image, image_of};
use ottla_fuzz::format::{self, Frame, SEGMENT_HEADER_BYTES};
use ottla_fuzz::recipe::step;

fn main() {
    let image = image_of(&written_by_a_broker());
    let segments = |partition: &str| -> Vec<Vec<u8>> {
        let dir = Path::new(DIR).join(partition);
        let files = image.iter().filter(|(path, _)| path.parent() == Some(&dir));
        files.map(|(_, bytes)| bytes.clone()).collect()
    };
    let [first, second] = &segments("orders-0")[..] else { panic!("the broker writes two segments") };
    write_frames(&first[SEGMENT_HEADER_BYTES..]);
    for (name, segment) in [("first", first), ("second", second)] {
        write("segment_header", name, &[&[1], &segment[..SEGMENT_HEADER_BYTES]].concat());
    }
    let names = "\x0200000000000000001200.log\n+0000000000000001200.log\n99999999999999999999.log";
    write("segment_header", "names", names.as_bytes());
    for target in ["catalog", "checkpoint"] {
        write(target, "written", format!("\x01{}", text_of(&image, target)).as_bytes());
        write(target, "as-it-is", format!("\0{}", text_of(&image, target)).as_bytes());
        write(target, "later-version", format!("\x01ottla {target} 2\n").as_bytes());
    }
    let adding = "\x01ottla catalog 1\ntopic t 000000000000000a deleting\n  adding 0 000000000000000b\n";
    write("catalog", "adding", adding.as_bytes());
    write_commits(&segments("__consumer_offsets-0")[0][SEGMENT_HEADER_BYTES..]);
    for (name, seed) in logs(first, second) {
        for (policy, how) in [("strict", 0), ("truncate", 1), ("skip", 2)] {
            write("directory", &format!("{name}-{policy}"), &[&[how], &seed[..]].concat());
        }
        write("verify", name, &[&[0], &seed[..]].concat());
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir).expect("a directory that can be made");
    fs::write(dir.join(name), bytes).expect("a file that can be written");
}

/// Everything that a broker writes: batches, headers, nulls, marks, a second segment, commits, settings.
fn written_by_a_broker() -> MemoryStorage {
    let storage = MemoryStorage::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_600_000_000_000)));
    let open = || Broker::builder().data_dir(DIR).storage(storage.clone()).clock(Arc::clone(&clock)).open();
    let broker = open().expect("a new directory");
    broker.create_topic("orders", TopicConfig::new().segment_bytes(4096)).expect("a new name");
    broker.create_topic("two", TopicConfig::new().partitions(2)).expect("a new name");
    let producer = broker.producer::<String, String>("orders").expect("it is there");
    producer.send("alice", "hi").expect("it is sent");
    producer
        .record("with headers")
        .key("bob")
        .header("trace", "42")
        .null_header("voucher")
        .send()
        .expect("it is sent");
    producer.tombstone("alice").send().expect("it is sent");
    producer.send_batch([("a", "1"), ("b", "2"), ("c", "3")]).expect("it is sent");
    producer.flush().expect("it is synced");
    producer.send("behind a mark", "").expect("it is sent");
    let consumer = broker.consumer::<String, String>().topic("orders").group("ledger");
    let mut consumer = consumer.build().expect("it is there");
    let records = consumer.poll(std::time::Duration::ZERO).expect("records");
    consumer.commit(&records).expect("it is committed");
    consumer.commit_with_metadata(&records, "by hand").expect("it is committed");
    drop((records, consumer));
    for _ in 0..5 {
        producer.send("", &"large".repeat(150)).expect("it is sent");
    }
    producer.send("", "first of its segment").expect("it is sent");
    broker.delete_records("two", 1, 0).expect("nothing is deleted");
    drop(producer);
    broker.close().expect("it closes");
    storage
}

/// Each frame of different shape by itself, and all small ones together; the target makes the CRCs right.
fn write_frames(mut bytes: &[u8]) {
    let mut all = vec![1];
    let mut number = 0;
    while let Some((frame, length)) = Frame::decode(bytes) {
        let mut frame_bytes = bytes[..length].to_vec();
        frame_bytes[..4].fill(0);
        if length < 200 {
            write("frame", &format!("frame-{number}"), &[&[1], &frame_bytes[..]].concat());
            all.extend(frame_bytes);
        }
        if !frame.headers.is_empty() {
            let headers = format::encode_headers(&frame.headers);
            write("headers", "written", &[&[frame.headers.len() as u8], &headers[..]].concat());
        }
        number += 1;
        bytes = &bytes[length..];
    }
    write("frame", "all", &all);
    write(
        "frame",
        "made",
        &[2, 8, 100, 3, 4, 2, 5, b't', b'r', b'a', b'c', b'e', 2, b'4', b'2', 0, 63, 1, 4, 1],
    );
    write("headers", "none", &[0]);
}

/// The text of a file with ids that are always the same; the target makes the CRC right.
fn text_of(image: &Image, name: &str) -> String {
    let bytes = &image[&Path::new(DIR).join(name)];
    let text = String::from_utf8(bytes.clone()).expect("text");
    let is_id = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut ids = 0;
    let mut word = |word: &str| {
        let (word, end) = word.split_at(word.trim_end().len());
        if !is_id(word) {
            return format!("{word}{end}");
        }
        ids += 1;
        format!("{ids:016x}{end}")
    };
    let lines: String = text.split_inclusive([' ', '\n']).map(&mut word).collect();
    lines.split_once("crc32 ").expect("it has one").0.to_owned()
}

fn write_commits(mut bytes: &[u8]) {
    let mut number = 0;
    while let Some((frame, length)) = Frame::decode(bytes) {
        if let (Some(mut key), Some(value)) = (frame.key, frame.value) {
            key[1..9].fill(7);
            let seed = [&[0, key.len() as u8], &key[..], &value[..]].concat();
            write("commits", &format!("commit-{number}"), &seed);
            number += 1;
        }
        bytes = &bytes[length..];
    }
    write("commits", "emptied", &[0, 2, 2, b'g', 0, 0, 0, 0, 0, 0, 0, 7]);
    write("commits", "not-empty-any-more", &[2, 2, 2, b'g']);
    write("commits", "removal", &[2, 14, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, b'g']);
}

// ---- logs ----

/// What surrounds the partition: nothing is deleted, no checkpoint.
const ALONE: [u8; 1] = [0];
/// A checkpoint of this boot, which says nothing of the partition.
const SAME_BOOT: [u8; 1] = [1 << 4];
/// A checkpoint of this boot, by which all records below 5 had been synced.
const SYNCED_TO_5: [u8; 4] = [(1 << 4) | (3 << 2), 5, 0, 64];

/// A step with its variant and what it takes.
fn take(step: u8, variant: u8, more: &[u8]) -> Vec<u8> {
    [&[step | (variant << 4)], more].concat()
}

/// A record of so many bytes that is no batch with the next one.
fn record(len: u8) -> Vec<u8> {
    take(step::SMALL, len & !1, &[])
}

/// The beginnings of these files, as they are, with CRCs that the target makes right.
fn frames(segment: &[u8], most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = &segment[SEGMENT_HEADER_BYTES..];
    while let Some((_, length)) = Frame::decode(rest)
        && bytes.len() + length < most
    {
        bytes.extend(&[[0; 4].as_slice(), &rest[4..length]].concat());
        rest = &rest[length..];
    }
    take(step::FRAMES, 0, &[&(bytes.len() as u16).to_le_bytes()[..], &bytes].concat())
}

fn logs(first: &[u8], second: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let segment = || take(step::SEGMENT, 0, &[0, 0]);
    let mark = || take(step::MARK, 0, &[0]);
    let flip = |back: u8| take(step::FLIP, 0, &[back, 0, 1]);
    let log = |parts: &[&[u8]]| parts.concat();
    vec![
        ("written", log(&[&ALONE, &frames(first, 700)])),
        ("written-second", log(&[&SAME_BOOT, &take(step::SEGMENT, 0, &[12, 0]), &frames(second, 300)])),
        ("two-segments", log(&[&ALONE, &record(4), &record(6), &segment(), &mark(), &record(8)])),
        ("torn", log(&[&SAME_BOOT, &record(4), &record(6), &take(step::CUT, 0, &[3])])),
        ("torn-batch", log(&[&ALONE, &record(4), &take(step::SMALL, 5, &[]), &take(step::SMALL, 5, &[])])),
        ("stub", log(&[&ALONE, &record(4), &take(step::SEGMENT, 1, &[0, 0]), &take(step::ZEROS, 0, &[30])])),
        ("damaged", log(&[&SAME_BOOT, &record(4), &record(6), &flip(10), &record(8)])),
        ("damaged-before-a-mark", log(&[&ALONE, &record(4), &record(6), &flip(10), &mark(), &record(8)])),
        ("deleted", log(&[&[1, 2], &record(4), &record(6), &segment(), &record(8)])),
        ("missing-end", log(&[&SYNCED_TO_5, &record(4), &record(6)])),
        (
            "beyond-its-end",
            log(&[&ALONE, &record(4), &record(4), &take(step::SEGMENT, 0, &[255, 255]), &record(8)]),
        ),
        // Once wrong:
        ("missing-between", log(&[&SAME_BOOT, &record(4), &take(step::SKIP, 0, &[9]), &record(6), &mark()])),
        (
            "another-offset",
            log(&[
                &SAME_BOOT,
                &take(step::SMALL, 5, &[]),
                &take(step::SMALL, 5, &[]),
                &take(step::FIELD, 1, &[0]),
            ]),
        ),
        ("mark-leads", log(&[&ALONE, &record(4), &record(6), &flip(10), &segment(), &mark(), &record(8)])),
        ("end-below-start", log(&[&[1, 96]])),
        ("no-segment", log(&[&SYNCED_TO_5, &take(step::RENAME, 5, &[])])),
        ("far-away", log(&[&ALONE, &take(step::SEGMENT, 0, &[0xe0, 0]), &record(4)])),
        (
            "stub-behind-marks",
            log(&[&ALONE, &record(4), &mark(), &mark(), &mark(), &take(step::SEGMENT, 1, &[0, 0])]),
        ),
    ]
}
