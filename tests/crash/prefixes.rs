//! A segment of which only the first bytes reached the disk, for every number of bytes. If nothing says that
//! there was more, what was whole is served, the rest is cut off and reported, and the log goes on. If it is
//! known that there was more, records are missing: the partition is fenced.

use std::path::PathBuf;

use crate::image::Image;
use crate::judgement::Verdict;
use crate::support::{Files, SEGMENT_HEADER_BYTES, check_all, in_other_boot, without_checkpoint};

/// How the files came to be as they are.
type Found = fn(&Files) -> Files;
const FOUND: [(&str, Found); 3] = [
    ("the process was killed", |files| files.clone()),
    ("the power was lost", in_other_boot),
    ("nobody knows", without_checkpoint),
];

/// The ends of all batches in a segment, and of its header.
fn clean_ends(image: &Image, segment: &PathBuf) -> Vec<usize> {
    let batch_ends = (0..image.frames.len()).filter(|&number| {
        image.frames[number].file == *segment
            && image.frames.get(number + 1).is_none_or(|next| next.batch == number + 1)
    });
    batch_ends.map(|number| image.frames[number].bytes.end).chain([SEGMENT_HEADER_BYTES]).collect()
}

/// Judges every prefix of the last segment; `without_header` says what one that does not even hold the header
/// must come to if nothing of the segment is known to be synced.
fn judge_all_prefixes(killed: &Image, closed: &Image, without_header: Verdict) {
    let segment = killed.segments().pop().expect("there are segments");
    let len = killed.files[&segment].len();
    let clean = clean_ends(killed, &segment);
    let mut count = 0;
    for (name, found) in FOUND {
        // The first one for every prefix, the others for some.
        let step = if count == 0 { 1 } else { 7 };
        let ends = (0..=len).filter(|end| end % step == 0 || clean.contains(end));
        let cases = ends.map(|end| (format!("{end} of {len} bytes, {name}"), end));
        count += check_all(cases, |&end| {
            let expected = match end {
                _ if end < SEGMENT_HEADER_BYTES => without_header,
                _ if clean.contains(&end) => Verdict::Served,
                _ => Verdict::Torn,
            };
            killed.judge_as(&found(&killed.with(&segment, |bytes| bytes.truncate(end))), expected)
        });
    }
    assert!(count > 1_300, "only {count} prefixes");
    let cases = (0..=len).step_by(3).map(|end| (format!("{end} of {len} bytes, it was closed"), end));
    check_all(cases, |&end| {
        let lost = first_cut_frame(closed, &segment, end);
        let expected = if end == len { Verdict::Served } else { Verdict::Fenced(lost, None) };
        let cut = closed.with(&segment, |bytes| bytes.truncate(end));
        closed.judge_as(&if end % 2 == 0 { cut } else { in_other_boot(&cut) }, expected)
    });
}

/// The first record that is not there whole: of a batch that was synced, the others are served.
fn first_cut_frame(image: &Image, segment: &PathBuf, end: usize) -> u64 {
    let is_cut =
        |number: &usize| image.frames[*number].file == *segment && image.frames[*number].bytes.end > end;
    (0..image.frames.len()).find(is_cut).unwrap_or(image.frames.len()) as u64
}

#[test]
fn every_prefix_of_the_only_segment_serves_what_is_whole() {
    let batches: Vec<&[usize]> =
        vec![&[8], &[20], &[9], &[30], &[16], &[8, 40, 12, 25, 8], &[11], &[64], &[8], &[8, 8], &[33], &[8]];
    let (killed, closed) = (Image::killed(&batches), Image::of(&batches));
    assert_eq!(killed.segments().len(), 1, "all records fit into one segment");
    // The first segment was synced before the topic was there: it cannot have lost its header in a crash.
    judge_all_prefixes(&killed, &closed, Verdict::Fenced(0, None));
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
    let (killed, closed) = (Image::killed(&batches), Image::of(&batches));
    assert_eq!(killed.segments().len(), 2, "the records take two segments");
    judge_all_prefixes(&killed, &closed, Verdict::Torn);
}

/// The sync mark says so, in any boot, and without a checkpoint.
#[test]
fn a_prefix_that_lacks_something_synced_is_damaged_if_the_mark_behind_it_is_left() {
    let batches: Vec<&[usize]> = vec![&[8], &[20], &[9], &[30, 8], &[16], &[8], &[11]];
    let image = Image::killed_after_flush(&batches, 4);
    let [segment] = &image.segments()[..] else { panic!("all records fit into one segment") };
    let holes = (0..image.frames.len()).flat_map(|number| {
        FOUND.map(|(name, found)| (format!("record {number} is zeros, {name}"), (number, found)))
    });
    check_all(holes, |&(number, found)| {
        let range = image.frames[number].bytes.clone();
        let damaged = found(&image.with(segment, |bytes| bytes[range].fill(0)));
        let is_last = number + 1 == image.frames.len();
        let is_killed = std::ptr::fn_addr_eq(found, FOUND[0].1);
        let expected = match number as u64 {
            // Behind the mark, and with something behind it, as no killed process leaves it.
            number if number >= image.synced && (is_last || !is_killed) => Verdict::Torn,
            number => Verdict::Fenced(number, (!is_last).then_some(number + 1)),
        };
        image.judge_as(&damaged, expected)
    });
}

/// Recovery reads a file in pieces, of which neither need hold a whole frame.
#[test]
fn prefixes_of_records_and_batches_larger_than_any_read_serve_what_is_whole() {
    let large = (1 << 20) + 200_000;
    for batches in [&[&[9][..], &[large], &[12]][..], &[&[10], &[400_000, 700_000, 30], &[500_000]]] {
        let image = Image::killed(batches);
        let segment = image.segments().pop().expect("there are segments");
        let clean = clean_ends(&image, &segment);
        let frames = image.frames.iter().filter(|frame| frame.file == segment);
        let cuts = frames.flat_map(|frame| {
            let middle = frame.bytes.start + frame.bytes.len() / 2;
            [frame.bytes.start, frame.bytes.start + 39, middle, frame.bytes.end - 1, frame.bytes.end]
        });
        check_all(cuts.map(|end| (format!("{end} bytes of {}", segment.display()), end)), |&end| {
            let expected = if clean.contains(&end) { Verdict::Served } else { Verdict::Torn };
            image.judge_as(&image.with(&segment, |bytes| bytes.truncate(end)), expected)
        });
    }
}
