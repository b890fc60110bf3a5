//! Prints what an input of the targets `directory` and `verify` describes: every file, frame by frame.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use ottla_fuzz::disk::{self, PARTITION_IDS};
use ottla_fuzz::format::{Frame, SEGMENT_HEADER_BYTES, SegmentHeader};
use ottla_fuzz::input::Input;
use ottla_fuzz::{directory, verify};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, path] = &arguments[..] else { panic!("usage: show directory|verify FILE") };
    let bytes = std::fs::read(path).expect("a readable file");
    let mut input = Input::new(&bytes);
    let image = if target == "verify" { verify::image(&mut input) } else { directory::image(&mut input) };
    for (path, bytes) in &image {
        println!("{}: {} bytes", path.display(), bytes.len());
        if path.extension().is_none() {
            println!("{}", String::from_utf8_lossy(bytes));
        }
    }
    for (name, bytes) in &disk::partition(&image) {
        println!("\n{name}: {:?}", SegmentHeader::decode(bytes));
        let first = SegmentHeader::decode(bytes).map(|header| header.first_position as usize);
        let (mut at, mut bad) = (first.unwrap_or(SEGMENT_HEADER_BYTES), 0);
        while at < bytes.len() {
            let good = Frame::good(&bytes[at..], PARTITION_IDS[0]);
            if bad > 0 && good.is_some() {
                println!("  {bad} bytes");
                bad = 0;
            }
            match good {
                Some((frame, length)) => {
                    println!("  {at}: {frame:?}");
                    at += length;
                }
                None => (at, bad) = (at + 8, bad + 8),
            }
        }
        if bad > 0 {
            println!("  {bad} bytes");
        }
    }
}
