//! A segment of which only the first bytes reached the disk, for every number of bytes: what was whole is
//! served, the rest is cut off and reported, and the log goes on.

use std::path::PathBuf;

use crate::image::{Image, Verdict};
use crate::support::{SEGMENT_HEADER_BYTES, check_all, ensure};

/// Judges every prefix of `segment`; `expected` says what a prefix that does not even hold the header must
/// come to.
fn judge_all_prefixes(image: &Image, segment: &PathBuf, without_header: Verdict) {
    let len = image.files[segment].len();
    let ends: Vec<usize> = image.frames.iter().map(|frame| frame.bytes.end).collect();
    let batch_ends = (0..image.frames.len()).filter(|&number| {
        image.frames[number].file == *segment
            && image.frames.get(number + 1).is_none_or(|next| next.batch == number + 1)
    });
    let clean: Vec<usize> = batch_ends.map(|number| ends[number]).chain([SEGMENT_HEADER_BYTES]).collect();
    let cases = (0..=len).map(|end| (format!("{end} of {len} bytes"), end));
    let count = check_all(cases, |&end| {
        let verdict = image.judge(&image.with(segment, |bytes| bytes.truncate(end)))?;
        let expected = match end {
            _ if end < SEGMENT_HEADER_BYTES => without_header,
            _ if clean.contains(&end) => Verdict::Served,
            _ => Verdict::Torn,
        };
        ensure(verdict == expected, || format!("{verdict:?}, not {expected:?}"))
    });
    assert!(count > 1_000, "only {count} prefixes");
}

#[test]
fn every_prefix_of_the_only_segment_serves_what_is_whole() {
    let batches: Vec<&[usize]> =
        vec![&[8], &[20], &[9], &[30], &[16], &[8, 40, 12, 25, 8], &[11], &[64], &[8], &[8, 8], &[33], &[8]];
    let image = Image::of(&batches);
    let [segment] = &image.segments()[..] else { panic!("all records fit into one segment") };
    // The first segment was synced before the topic was there: it cannot have lost its header in a crash.
    judge_all_prefixes(&image, segment, Verdict::Refused);
}

#[test]
fn every_prefix_of_a_later_segment_serves_what_is_whole() {
    let batches: Vec<&[usize]> = vec![
        &[2_000],
        &[1_900],
        &[200],
        &[16],
        &[40, 12, 25],
        &[11],
        &[64],
        &[8, 8],
        &[300],
        &[33, 50],
        &[8],
    ];
    let image = Image::of(&batches);
    let [_, segment] = &image.segments()[..] else { panic!("the records take two segments") };
    judge_all_prefixes(&image, segment, Verdict::Torn);
}

/// Recovery reads a file in pieces, of which neither need hold a whole frame.
#[test]
fn prefixes_of_records_and_batches_larger_than_any_read_serve_what_is_whole() {
    let large = (1 << 20) + 200_000;
    for batches in [&[&[9][..], &[large], &[12]][..], &[&[10], &[400_000, 700_000, 30], &[500_000]]] {
        let image = Image::of(batches);
        let segment = image.segments().pop().expect("there are segments");
        let frames = image.frames.iter().filter(|frame| frame.file == segment);
        let cuts = frames.flat_map(|frame| {
            let middle = frame.bytes.start + frame.bytes.len() / 2;
            [frame.bytes.start, frame.bytes.start + 39, middle, frame.bytes.end - 1, frame.bytes.end]
        });
        check_all(cuts.map(|end| (format!("{end} bytes of {}", segment.display()), end)), |&end| {
            image.judge(&image.with(&segment, |bytes| bytes.truncate(end))).map(drop)
        });
    }
}
