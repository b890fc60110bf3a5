//! Larger damage to a log of several segments: blocks that are zeroed, doubled, swapped or of another
//! partition, garbage at the end, segments cut off. Whatever is whole is served, and the rest is told.

use std::path::PathBuf;

use crate::image::Image;
use crate::judgement::Verdict;
use crate::support::{
    Checked, Files, Random, SEGMENT_HEADER_BYTES, TOPIC, check_all, contents, ensure, in_other_boot, open,
    partition_dir, reopen, segment, sent, storage_with, value, without_checkpoint,
};

const BLOCK: usize = 512;

fn large_image() -> Image {
    large_image_as(Image::of)
}

/// Four segments of about 4 KiB: single records and batches, none larger than two blocks.
fn large_image_as(image: fn(&[&[usize]]) -> Image) -> Image {
    let mut random = Random(7);
    let sizes: Vec<Vec<usize>> = (0..36)
        .map(|number| {
            let records = if number % 5 == 4 { 4 } else { 1 };
            (0..records).map(|_| 8 + random.below(360) as usize).collect()
        })
        .collect();
    let batches: Vec<&[usize]> = sizes.iter().map(Vec::as_slice).collect();
    let image = image(&batches);
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

/// Of a log that was synced: it is damage.
fn judge(image: &Image, damaged: &Files) -> Checked {
    let verdict = image.judge(damaged)?;
    ensure(verdict.is_fenced(), || format!("{verdict:?}"))
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
        let mut named = named.to_vec();
        named.retain(|(_, damaged)| *damaged != image.files);
        named
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
    let second = image.frames.iter().position(|frame| frame.file == image.segments()[1]);
    // Its header is wrong, and then all of its records.
    assert_eq!(image.judge(&whole), Ok(Verdict::Fenced(0, second.map(|offset| offset as u64))));
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
        let is_last = number + 1 == image.frames.len();
        let number = *number as u64;
        image.judge_as(damaged, Verdict::Fenced(number, (!is_last).then_some(number + 1)))
    });
}

/// What a killed process can have left is cut off in any boot, and anything if the machine was started again or
/// that is not known. Nothing of it was acknowledged: that is known only of a log that was synced whole.
#[test]
fn garbage_at_the_end_is_cut_off_if_a_crash_may_have_left_it() {
    for image in [large_image(), large_image_as(Image::killed)] {
        let last = image.segments().pop().expect("there are segments");
        let end = image.values.len() as u64;
        let repeated = image.files[&last][image.frames.last().expect("records").bytes.clone()].to_vec();
        let torn = Verdict::Torn;
        let damage = Verdict::Fenced(end, None);
        let appendices = [
            ("one zero", vec![0], torn),
            ("zeros", vec![0; 4096], torn),
            ("one byte", vec![1], torn),
            ("the front of a record", repeated[..repeated.len() - 8].to_vec(), torn),
            ("the front of a record, and zeros", [&repeated[..60], &[0; 2000]].concat(), torn),
            ("garbage", value(1, 777), damage),
            ("garbage and zeros", [value(2, 60), vec![0; 2000]].concat(), damage),
            ("the last record once more", repeated, damage),
            ("a header", image.files[&last][..SEGMENT_HEADER_BYTES].to_vec(), damage),
        ];
        let cases = appendices.into_iter().map(|(name, bytes, verdict)| (name.to_owned(), (bytes, verdict)));
        check_all(cases, |(appendix, expected)| {
            let damaged = image.with(&last, |bytes| bytes.extend(appendix));
            image.judge_as(&damaged, *expected)?;
            image.judge_as(&in_other_boot(&damaged), torn)?;
            image.judge_as(&without_checkpoint(&damaged), torn)
        });
    }
}

/// A segment ends where the next one begins: what its file holds behind that means nothing.
#[test]
fn garbage_at_the_end_of_an_earlier_segment_means_nothing() {
    let image = large_image();
    let first = &image.segments()[0];
    let cases = [("zeros", vec![0; 64]), ("garbage", value(1, 64))].map(|(name, b)| (name.to_owned(), b));
    check_all(cases, |appendix| {
        image.judge_as(&image.with(first, |bytes| bytes.extend(appendix)), Verdict::Served)
    });
}

/// At every record's end and in the middle of every record.
#[test]
fn a_segment_that_was_cut_is_damage_when_another_follows() {
    let image = large_image();
    let segments = image.segments();
    let base = |path: &PathBuf| image.frames.iter().position(|frame| frame.file == *path).expect("records");
    let next = |path: &PathBuf| {
        let number = segments.iter().position(|other| other == path).expect("it is one of them");
        segments.get(number + 1).map(|next| base(next) as u64)
    };
    let mut cuts: Vec<(PathBuf, usize, u64)> = Vec::new();
    for (number, frame) in image.frames.iter().enumerate() {
        cuts.push((frame.file.clone(), frame.bytes.start, number as u64));
        cuts.push((frame.file.clone(), frame.bytes.start + frame.bytes.len() / 2, number as u64));
    }
    cuts.extend(
        segments.iter().flat_map(|path| [0, 10, 63].map(|end| (path.clone(), end, base(path) as u64))),
    );
    cuts.retain(|(path, ..)| Some(path) != segments.last());
    let named = |(path, end, lost): (PathBuf, usize, u64)| {
        (format!("{} at {end}", path.display()), (path, end, lost))
    };
    check_all(cuts.into_iter().map(named), |(path, end, lost)| {
        let damaged = image.with(path, |bytes| bytes.truncate(*end));
        image.judge_as(&damaged, Verdict::Fenced(*lost, next(path)))
    });
}

/// Nothing of it was synced: after a power loss the log ends there, and later segments are set aside with it. A
/// killed process had written the first segment whole before it began the next.
#[test]
fn a_segment_that_was_cut_is_a_torn_tail_if_only_the_power_can_have_been_lost() {
    let image = large_image_as(Image::killed);
    let first = &image.segments()[0];
    let next = image.frames.iter().position(|frame| frame.file == image.segments()[1]).expect("records");
    let frames = image.frames.iter().take_while(|frame| frame.file == *first).enumerate();
    let cuts = frames.flat_map(|(number, frame)| {
        [frame.bytes.start, frame.bytes.start + 30].map(|end| (format!("at {end}"), (number as u64, end)))
    });
    check_all(cuts, |&(number, end)| {
        let damaged = image.with(first, |bytes| bytes.truncate(end));
        image.judge_as(&in_other_boot(&damaged), Verdict::Torn)?;
        image.judge_as(&damaged, Verdict::Fenced(number, Some(next as u64)))
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
    check_all(cases, |files| judge(&image, files));
}

#[test]
fn zeros_in_place_of_a_header_do_not_make_a_stub_of_a_segment_with_records() {
    for image in [large_image(), large_image_as(Image::killed)] {
        let last = image.segments().pop().expect("there are segments");
        let first = image.frames.iter().position(|frame| frame.file == last).expect("records") as u64;
        let damaged = image.with(&last, |bytes| bytes[..SEGMENT_HEADER_BYTES].fill(0));
        assert_eq!(image.judge(&damaged), Ok(Verdict::Fenced(first, Some(first))));
        let is_synced = image.synced > 0;
        let lost = if is_synced { Verdict::Fenced(first, Some(first)) } else { Verdict::Torn };
        assert_eq!(image.judge(&in_other_boot(&damaged)), Ok(lost));
    }
}
