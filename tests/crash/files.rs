//! Files that are missing, of a later version, or not ours: without a catalog, or with one of a later version,
//! the directory is refused and nothing is changed; without a segment, its partition is fenced; of what is not
//! ours no notice is taken.

use std::path::{Path, PathBuf};

use ottla::{Damage, DamageAction, Error};

use crate::image::Image;
use crate::judgement::Verdict;
use crate::support::{
    DIR, Files, TOPIC, Way, check_all, check_logs_unchanged, check_partition_unchanged, check_unchanged,
    checkpoint_path, contents, ensure, files_below, open, partition_dir, read_through, segment, send,
    small_segments, storage_with, value, write_file,
};

fn catalog() -> PathBuf {
    Path::new(DIR).join("catalog")
}

/// Three segments or more.
fn image() -> Image {
    let image = Image::of(&[&[1_500][..]; 9]);
    assert!(image.segments().len() >= 3, "there are several segments");
    image
}

/// Opens a broker on `files` in all ways, which must be refused; any error will do that names what is wrong.
fn refusal(files: &Files) -> Error {
    let mut errors = Way::ALL.map(|way| {
        let storage = storage_with(files);
        let error = way.open(&storage).expect_err("it is refused");
        assert_eq!(check_unchanged(&storage, files), Ok(()));
        error
    });
    std::mem::replace(&mut errors[0], Error::Closed)
}

/// What the segment that follows says of the one before it is noticed without reading either.
#[test]
fn any_missing_segment_before_the_last_is_damage() {
    let image = image();
    let segments = image.segments();
    let base = |number: usize| image.frames.iter().position(|frame| frame.file == segments[number]);
    let cases = (0..segments.len() - 1).map(|number| {
        let mut files = image.files.clone();
        files.remove(&segments[number]);
        (format!("without {}", segments[number].display()), (number, files))
    });
    check_all(cases, |(number, files)| {
        let lost = base(*number).expect("it has records") as u64;
        let next = base(number + 1).map(|offset| offset as u64);
        image.judge_as(files, Verdict::Fenced(lost, next))?;
        let broker = open(&storage_with(files))?;
        let [damage] = &broker.recovery_report().damaged[..] else {
            return ensure(false, || format!("{:?}", broker.recovery_report()));
        };
        let said = (&damage.path, damage.first_offset, damage.next_offset);
        ensure(said == (&segments[*number], lost, next), || format!("{damage:?}"))
    });
}

/// The checkpoint says that its records were there.
#[test]
fn a_missing_last_segment_is_damage_if_its_records_were_synced() {
    let image = image();
    let last = image.segments().pop().expect("there are segments");
    let lost = image.frames.iter().position(|frame| frame.file == last).expect("it has records");
    let mut files = image.files.clone();
    files.remove(&last);
    assert_eq!(image.judge(&files), Ok(Verdict::Fenced(lost as u64, None)));
    let killed = Image::killed(&[&[1_500][..]; 9]);
    let mut files = killed.files.clone();
    files.remove(&last);
    // Nothing says that it was ever there.
    let storage = storage_with(&files);
    let broker = Way::Verifying.open(&storage).expect("it opens");
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), killed.values[..lost]);
}

#[test]
fn a_missing_or_empty_partition_directory_is_damage() {
    let mut files = image().files;
    let dir = partition_dir(TOPIC, 0);
    files.retain(|path, _| path.parent() != Some(&dir));
    for extra in [None, Some(dir.join("notes.txt"))] {
        files.extend(extra.map(|path| (path, b"no segment".to_vec())));
        for way in Way::ALL {
            let storage = storage_with(&files);
            let broker = way.open(&storage).expect("the others are well");
            let damaged = &broker.recovery_report().damaged;
            assert!(
                matches!(&damaged[..], [damage] if damage.path == dir && damage.first_offset == 0),
                "{damaged:?}"
            );
            assert_eq!(contents(&broker, TOPIC, 1).expect("it can be read").len(), 9);
            let refused = send(&broker, TOPIC, 0, b"more");
            let fenced = matches!(refused, Err(Error::PartitionFenced { .. }));
            let read_only = matches!(refused, Err(Error::ReadOnly { .. }));
            assert!(if way == Way::ReadOnly { read_only } else { fenced }, "{refused:?}");
            assert_eq!(read_through(&broker, TOPIC, 0).expect("it is told").records, []);
            drop(broker);
            assert_eq!(check_logs_unchanged(&storage, &files), Ok(()));
        }
    }
}

#[test]
fn a_missing_catalog_is_refused_while_there_are_partitions() {
    let mut files = image().files;
    files.remove(&catalog());
    let error = refusal(&files);
    assert!(matches!(&error, Error::Corrupt { path, .. } if path == &catalog()), "{error:?}");
}

#[test]
fn every_prefix_of_the_catalog_is_refused() {
    let image = image();
    let cases = (0..image.files[&catalog()].len()).map(|end| (format!("{end} bytes"), end));
    check_all(cases, |&end| {
        image.judge_as(&image.with(&catalog(), |bytes| bytes.truncate(end)), Verdict::Refused)
    });
}

#[test]
fn a_catalog_of_a_later_version_is_refused() {
    let image = image();
    let later = b"ottla catalog 2\nwhatever the future holds\n";
    let error = refusal(&image.with(&catalog(), |bytes| *bytes = later.to_vec()));
    let named = matches!(
        &error,
        Error::UnsupportedFormat { path, found: 2, supported: 1 } if path == &catalog()
    );
    assert!(named, "{error:?}");
}

#[test]
fn a_checkpoint_of_a_later_version_is_refused() {
    let later = b"ottla checkpoint 2\nwhatever the future holds\n";
    let error = refusal(&image().with(&checkpoint_path(), |bytes| *bytes = later.to_vec()));
    let named = matches!(
        &error,
        Error::UnsupportedFormat { path, found: 2, supported: 1 } if path == &checkpoint_path()
    );
    assert!(named, "{error:?}");
}

/// The header of a later version, which is not laid out like ours. (Otherwise its version is what is damaged.)
#[expect(clippy::ptr_arg, reason = "an image is changed by such functions")]
fn later_version(segment: &mut Vec<u8>) {
    segment[8] = 3;
    segment[60] ^= 1;
}

#[test]
fn a_segment_of_a_later_version_is_refused() {
    let image = image();
    let cases = image.segments().into_iter().map(|path| (path.display().to_string(), path));
    check_all(cases, |segment| {
        let error = refusal(&image.with(segment, later_version));
        let named = matches!(
            &error,
            Error::UnsupportedFormat { path, found: 3, supported: 2 } if path == segment
        );
        ensure(named, || format!("{error:?}"))
    });
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let image = image();
    let dir = partition_dir(TOPIC, 0);
    let mut files = image.files.clone();
    for path in [
        Path::new(DIR).join("notes.txt"),
        Path::new(DIR).join("catalog.new"),
        Path::new(DIR).join("backup").join("catalog"),
        Path::new(DIR).join("orders-7").join("00000000000000000000.log"),
        dir.join("00000000000000000000.log.bak"),
        dir.join("00000000000000000000.log.64.torn"),
        dir.join("0.log"),
        dir.join("00000000000000000000.index"),
        dir.join("notes"),
    ] {
        files.insert(path, b"not a file of the log".to_vec());
    }
    let storage = storage_with(&files);
    let broker = Way::Verifying.open(&storage).expect("the strange files do not matter");
    assert!(broker.recovery_report().is_clean());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), image.values);
    broker.close().expect("it closes");
    assert_eq!(check_logs_unchanged(&storage, &files), Ok(()));
}

/// Such as one that an older catalog, put back from a backup, does not know.
#[test]
fn records_of_a_partition_that_no_topic_owns_are_not_overwritten() {
    let mut files = image().files;
    let strays = files_below(&storage_with(&files), &partition_dir(TOPIC, 0));
    let stray_dir = partition_dir("stray", 0);
    for (path, bytes) in &strays {
        files.insert(stray_dir.join(path.file_name().expect("it has a name")), bytes.clone());
    }
    let storage = storage_with(&files);
    let broker = open(&storage).expect("a stray directory does not matter");
    let created = broker.create_topic("stray", small_segments(1));
    assert!(created.is_err(), "its directory holds records already");
    drop(broker);
    assert_eq!(check_logs_unchanged(&storage, &files), Ok(()));
}

/// What is torn in one partition is mended although another one is damaged, which is not touched.
#[test]
fn a_damaged_partition_keeps_no_other_one_from_being_mended() {
    let image = Image::killed(&[&[1_500][..]; 9]);
    let last = image.segments().pop().expect("there are segments");
    let torn = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 5);
    let neighbour = segment(TOPIC, 1, 0);
    let mut with_stub = image.files.clone();
    with_stub.insert(segment(TOPIC, 0, image.values.len()), vec![0; 10]);
    type Change = fn(&mut Vec<u8>);
    let damages: [(&str, Change); 2] = [
        ("its neighbour is damaged", |bytes| bytes[200] ^= 1),
        ("its neighbour lost its header", |bytes| bytes.truncate(20)),
    ];
    let cases = damages.into_iter().flat_map(|(name, damage)| {
        [("torn", image.with(&last, torn), 8), ("with a stub", with_stub.clone(), 9)].map(
            |(kind, mut files, kept)| {
                damage(files.get_mut(&neighbour).expect("it is there"));
                (format!("a partition {kind}, and {name}"), (files, kept))
            },
        )
    });
    check_all(cases, |(files, kept)| {
        let storage = storage_with(files);
        let broker = open(&storage)?;
        let report = broker.recovery_report();
        let is_fenced = |damage: &Damage| damage.path == neighbour && damage.action == DamageAction::Fenced;
        let is_damaged = !report.damaged.is_empty() && report.damaged.iter().all(is_fenced);
        let is_right = report.torn_tails.len() == 1 && is_damaged;
        ensure(is_right, || format!("{report:?}"))?;
        ensure(contents(&broker, TOPIC, 0)? == image.values[..*kept], || "not what is whole".to_owned())?;
        let at = send(&broker, TOPIC, 0, b"more")?;
        ensure(at == *kept as u64, || format!("it goes on with {at}"))?;
        drop(broker);
        check_partition_unchanged(&storage, files, TOPIC, 1)
    });
}

/// A later version may keep its records in any way: nothing at all is changed.
#[test]
fn a_directory_with_a_partition_of_a_later_version_is_left_as_it_is_in_all_its_partitions() {
    let image = Image::killed(&[&[1_500][..]; 9]);
    let last = image.segments().pop().expect("there are segments");
    let mut torn = image.with(&last, |bytes| bytes.truncate(bytes.len() - 5));
    let mut with_stub = image.files.clone();
    with_stub.insert(segment(TOPIC, 0, image.values.len()), vec![0; 10]);
    for files in [&mut torn, &mut with_stub] {
        later_version(files.get_mut(&segment(TOPIC, 1, 0)).expect("it is there"));
        let error = refusal(files);
        assert!(matches!(error, Error::UnsupportedFormat { .. }), "{error:?}");
    }
}

#[test]
fn a_stub_of_a_fenced_partition_is_still_there() {
    let image = Image::killed(&[&[1_500][..]; 9]);
    let mut files = image.with(&image.segments()[0], |bytes| bytes[100] ^= 1);
    files.insert(segment(TOPIC, 0, image.values.len()), vec![0; 10]);
    assert_eq!(image.judge(&files).map(Verdict::is_fenced), Ok(true));
}

/// What a process was writing to take the place of a segment may be the only copy that is good.
#[test]
fn what_was_being_written_again_is_kept_with_what_is_damaged_and_cleared_away_otherwise() {
    let image = image();
    let first = &image.segments()[0];
    let unfinished = first.with_extension("log.new");
    for is_damaged in [true, false] {
        let mut files =
            if is_damaged { image.with(first, |bytes| bytes[100] ^= 1) } else { image.files.clone() };
        files.insert(unfinished.clone(), image.files[first].clone());
        let storage = storage_with(&files);
        let broker = Way::Verifying.open(&storage).expect("it opens");
        assert_eq!(broker.recovery_report().damaged.len(), usize::from(is_damaged));
        let is_there = files_below(&storage, Path::new(DIR)).contains_key(&unfinished);
        assert_eq!(is_there, is_damaged);
    }
}

#[test]
fn a_partition_that_was_fenced_takes_records_once_it_is_put_right() {
    let image = image();
    let damaged = image.with(&image.segments()[0], |bytes| bytes[100] ^= 1);
    let storage = storage_with(&damaged);
    let broker = Way::Verifying.open(&storage).expect("the others are well");
    assert!(matches!(send(&broker, TOPIC, 0, b"more"), Err(Error::PartitionFenced { .. })));
    broker.close().expect("it closes");
    let path = &image.segments()[0];
    write_file(&storage, path, &image.files[path]);
    let broker = Way::Verifying.open(&storage).expect("it opens");
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), image.values);
    assert_eq!(send(&broker, TOPIC, 0, &value(1, 20)).expect("it takes records"), image.values.len() as u64);
}

/// A mark that was written when the last record had been synced may be torn, and then the next segment began.
#[test]
fn what_lies_behind_a_segment_goes_with_the_one_that_followed_it() {
    let image = Image::killed(&[&[1_500][..]; 5]);
    let last = image.segments().pop().expect("there are segments");
    let mut files = image.with(&last, |bytes| bytes.extend([1; 30]));
    files.insert(segment(TOPIC, 0, image.values.len()), vec![0; 64]);
    let storage = storage_with(&files);
    let broker = open(&storage).expect("it opens");
    let torn = &broker.recovery_report().torn_tails[0];
    assert_eq!((torn.bytes, torn.set_aside.len()), (94, 1), "{torn:?}");
    drop(broker);
    let broker = open(&storage).expect("it opens");
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), image.values);
    assert_eq!(send(&broker, TOPIC, 0, &value(1, 20)).expect("it takes records"), image.values.len() as u64);
}
