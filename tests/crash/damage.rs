//! Larger damage to a log of several segments: blocks that are zeroed, doubled, swapped or of another
//! partition, garbage at the end, segments cut off. A broker that opens on it has lost nothing but a
//! reported tail.

use std::path::PathBuf;

use crate::image::{Image, Verdict};
use crate::support::{
    Checked, Files, Random, SEGMENT_HEADER_BYTES, TOPIC, check_all, contents, ensure, open, partition_dir,
    reopen, segment, sent, storage_with, value,
};

const BLOCK: usize = 512;

/// Four segments of about 4 KiB: single records and batches, none larger than two blocks.
fn large_image() -> Image {
    let mut random = Random(7);
    let sizes: Vec<Vec<usize>> = (0..36)
        .map(|number| {
            let records = if number % 5 == 4 { 4 } else { 1 };
            (0..records).map(|_| 8 + random.below(360) as usize).collect()
        })
        .collect();
    let batches: Vec<&[usize]> = sizes.iter().map(Vec::as_slice).collect();
    let image = Image::of(&batches);
    assert!(image.segments().len() >= 3, "there are several segments");
    image
}

/// Every block of every segment: a name, the file, and where the block is in it.
fn blocks(image: &Image) -> Vec<(String, PathBuf, usize, usize)> {
    let mut blocks = Vec::new();
    for path in image.segments() {
        let len = image.files[&path].len();
        for start in (0..len).step_by(BLOCK) {
            let end = len.min(start + BLOCK);
            let name = format!("bytes {start}..{end} of {}", path.display());
            blocks.push((name, path.clone(), start, end));
        }
    }
    blocks
}

fn judge(image: &Image, damaged: &Files) -> Checked {
    image.judge(damaged).map(drop)
}

#[test]
fn zeroed_blocks_are_noticed() {
    let image = large_image();
    let cases = blocks(&image).into_iter().flat_map(|(name, path, start, end)| {
        let header_only = start..SEGMENT_HEADER_BYTES.max(start);
        let ranges = [start..end, start..image.files[&path].len(), header_only];
        let named = ranges.map(|range| {
            let damaged = image.with(&path, |bytes| bytes[range.clone()].fill(0));
            (format!("zeros at {range:?} for {name}"), damaged)
        });
        named.to_vec()
    });
    check_all(cases, |damaged| judge(&image, damaged));
}

#[test]
fn a_block_in_place_of_another_is_noticed() {
    let image = large_image();
    let blocks = blocks(&image);
    let mut cases = Vec::new();
    for (from_name, from, from_start, from_end) in &blocks {
        for (to_name, to, to_start, to_end) in &blocks {
            let len = (from_end - from_start).min(to_end - to_start);
            let copy = image.files[from][*from_start..from_start + len].to_vec();
            let damaged = image.with(to, |bytes| bytes[*to_start..to_start + len].copy_from_slice(&copy));
            if damaged != image.files {
                cases.push((format!("{from_name} in place of {to_name}"), damaged));
            }
        }
    }
    check_all(cases, |damaged| judge(&image, damaged));
}

#[test]
fn swapped_blocks_and_swapped_records_are_noticed() {
    let image = large_image();
    let blocks = blocks(&image);
    let mut cases = Vec::new();
    for (number, (name, path, start, end)) in blocks.iter().enumerate() {
        for (other_name, other, other_start, other_end) in &blocks[number + 1..] {
            if path == other && end - start == other_end - other_start {
                let swap = |bytes: &mut Vec<u8>| {
                    let (front, back) = bytes.split_at_mut(*other_start);
                    front[*start..*end].swap_with_slice(&mut back[..end - start]);
                };
                cases.push((format!("{name} and {other_name}"), image.with(path, swap)));
            }
        }
    }
    for (number, pair) in image.frames.windows(2).enumerate() {
        if pair[0].file == pair[1].file {
            let swap = |bytes: &mut Vec<u8>| {
                bytes[pair[0].bytes.start..pair[1].bytes.end].rotate_left(pair[0].bytes.len());
            };
            cases.push((format!("record {number} and the next"), image.with(&pair[0].file, swap)));
        }
    }
    check_all(cases, |damaged| judge(&image, damaged));
}

#[test]
fn a_block_or_a_whole_segment_of_another_partition_is_noticed() {
    let image = large_image();
    let foreign: Vec<u8> = image.files[&segment(TOPIC, 1, 0)].clone();
    let cases = blocks(&image).into_iter().map(|(name, path, start, end)| {
        let damaged = image.with(&path, |bytes| {
            let end = end.min(foreign.len());
            bytes[start..end].copy_from_slice(&foreign[start..end]);
        });
        (name, damaged)
    });
    check_all(cases, |damaged| judge(&image, damaged));
    let whole = image.with(&segment(TOPIC, 0, 0), |bytes| bytes.clone_from(&foreign));
    assert_eq!(image.judge(&whole), Ok(Verdict::Refused));
}

/// Both partitions hold records of the same sizes, so that these have the same offsets and positions.
#[test]
fn a_record_of_another_partition_in_the_very_same_place_is_noticed() {
    let image = Image::of(&[&[300][..]; 24]);
    let cases = image.frames.iter().enumerate().map(|(number, frame)| {
        let name = frame.file.file_name().expect("it has a name");
        let foreign = &image.files[&partition_dir(TOPIC, 1).join(name)][frame.bytes.clone()];
        let offset = u64::from_le_bytes(foreign[8..16].try_into().expect("eight bytes"));
        assert_eq!(offset, number as u64, "the frames of both partitions lie alike");
        let damaged = image.with(&frame.file, |bytes| bytes[frame.bytes.clone()].copy_from_slice(foreign));
        (format!("record {number}"), (number, damaged))
    });
    check_all(cases, |(number, damaged)| {
        let verdict = image.judge(damaged)?;
        let is_last = number + 1 == image.frames.len();
        let expected = if is_last { Verdict::Torn } else { Verdict::Refused };
        ensure(verdict == expected, || format!("{verdict:?}"))
    });
}

#[test]
fn garbage_at_the_end_is_cut_off_and_reported() {
    let image = large_image();
    let last = image.segments().pop().expect("there are segments");
    let repeated = image.files[&last][image.frames.last().expect("records").bytes.clone()].to_vec();
    let appendices = [
        ("one zero", vec![0]),
        ("zeros", vec![0; 4096]),
        ("one byte", vec![1]),
        ("garbage", value(1, 777)),
        ("garbage and zeros", [value(2, 60), vec![0; 2000]].concat()),
        ("the last record once more", repeated),
        ("a header", image.files[&last][..SEGMENT_HEADER_BYTES].to_vec()),
    ];
    let cases = appendices.into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
    check_all(cases, |appendix| {
        let verdict = image.judge(&image.with(&last, |bytes| bytes.extend(appendix)))?;
        ensure(verdict == Verdict::Torn, || format!("{verdict:?}"))
    });
}

#[test]
fn garbage_at_the_end_of_an_earlier_segment_is_refused() {
    let image = large_image();
    let first = &image.segments()[0];
    let cases = [("zeros", vec![0; 64]), ("garbage", value(1, 64))].map(|(name, b)| (name.to_owned(), b));
    check_all(cases, |appendix| {
        let verdict = image.judge(&image.with(first, |bytes| bytes.extend(appendix)))?;
        ensure(verdict == Verdict::Refused, || format!("{verdict:?}"))
    });
}

/// At every record's end and in the middle of every record.
#[test]
fn a_segment_that_was_cut_is_refused_when_another_follows() {
    let image = large_image();
    let segments = image.segments();
    let mut cuts: Vec<(PathBuf, usize)> = Vec::new();
    for frame in &image.frames {
        cuts.push((frame.file.clone(), frame.bytes.start));
        cuts.push((frame.file.clone(), frame.bytes.start + frame.bytes.len() / 2));
    }
    cuts.extend(segments.iter().flat_map(|path| [0, 10, 63].map(|end| (path.clone(), end))));
    cuts.retain(|(path, _)| Some(path) != segments.last());
    let named = |(path, end): (PathBuf, usize)| (format!("{} at {end}", path.display()), (path, end));
    check_all(cuts.into_iter().map(named), |(path, end)| {
        let verdict = image.judge(&image.with(path, |bytes| bytes.truncate(*end)))?;
        ensure(verdict == Verdict::Refused, || format!("{verdict:?}"))
    });
}

/// The stub of a segment that a killed process was about to make.
fn add_stub(image: &Image, files: &mut Files, stub: &[u8]) -> PathBuf {
    let path = segment(TOPIC, 0, image.values.len());
    files.insert(path.clone(), stub.to_vec());
    path
}

#[test]
fn the_stub_of_a_new_segment_is_cleared_away() {
    let image = large_image();
    let last = image.segments().pop().expect("there are segments");
    let header = image.files[&last][..SEGMENT_HEADER_BYTES].to_vec();
    let stubs = (0..SEGMENT_HEADER_BYTES).map(|len| header[..len].to_vec());
    let zeros = [1, 63, 64, 4096].map(|len| vec![0; len]);
    let named = stubs.chain(zeros).map(|stub| (format!("a stub of {} bytes: {stub:?}", stub.len()), stub));
    check_all(named, |stub| {
        let mut files = image.files.clone();
        let path = add_stub(&image, &mut files, stub);
        let storage = storage_with(&files);
        let broker = open(&storage)?;
        let seen = contents(&broker, TOPIC, 0)?;
        ensure(seen == image.values, || format!("{} records are served", seen.len()))?;
        let torn = &broker.recovery_report().torn_tails;
        let reported = torn.len() == 1 && torn[0].path == path && torn[0].bytes == stub.len() as u64;
        ensure(reported, || format!("reported: {torn:?}"))?;
        let at = sent(&broker, TOPIC, 0, &value(0, 3000));
        ensure(at == image.values.len() as u64, || format!("the next offset is {at}"))?;
        drop(broker);
        let broker = reopen(&storage);
        ensure(broker.recovery_report().is_clean(), || "the second opening mended something".to_owned())
    });
}

/// A stub says where the segment before it ends: what is missing there was acknowledged.
#[test]
fn a_stub_does_not_hide_that_records_before_it_are_missing() {
    let image = large_image();
    let last = image.segments().pop().expect("there are segments");
    let header = image.files[&last][..SEGMENT_HEADER_BYTES].to_vec();
    let record = &image.frames.last().expect("there are records").bytes;
    let batch = &image.frames[image.frames.len() - 4].bytes;
    let cuts = [
        ("between records", record.start),
        ("within a record", record.start + record.len() / 2),
        ("within a batch", batch.start),
    ];
    let stubs = [("an empty stub", 0), ("half a header", 32)];
    let mut cases = Vec::new();
    for (cut_name, cut) in cuts {
        for (stub_name, len) in stubs {
            let mut files = image.with(&last, |bytes| bytes.truncate(cut));
            add_stub(&image, &mut files, &header[..len]);
            cases.push((format!("{stub_name}, cut {cut_name}"), files));
        }
    }
    for number in 1..image.segments().len() {
        let mut files = image.files.clone();
        files.remove(&image.segments()[number]);
        add_stub(&image, &mut files, &[]);
        cases.push((format!("an empty stub, segment {number} missing"), files));
    }
    check_all(cases, |files| image.judge_refusal(files));
}

#[test]
fn zeros_in_place_of_a_header_do_not_make_a_stub_of_a_segment_with_records() {
    let image = large_image();
    let last = image.segments().pop().expect("there are segments");
    let damaged = image.with(&last, |bytes| bytes[..SEGMENT_HEADER_BYTES].fill(0));
    assert_eq!(image.judge(&damaged), Ok(Verdict::Refused));
}
