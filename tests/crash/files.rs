//! Files that are missing, of a later version, or not ours: a typed error and nothing changed, or no notice
//! taken.

use std::path::{Path, PathBuf};

use ottla::Error;

use crate::image::{Image, Verdict};
use crate::support::{
    DIR, Files, TOPIC, check_all, check_unchanged, contents, ensure, files_below, open, partition_dir,
    segment, send, small_segments, storage_with, value,
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

/// Opens a broker on `files`, which must be refused; any error will do that names what is wrong.
fn refusal(files: &Files) -> Error {
    let storage = storage_with(files);
    let error = open(&storage).and_then(|broker| contents(&broker, TOPIC, 0)).expect_err("it is refused");
    assert_eq!(check_unchanged(&storage, files), Ok(()));
    error
}

#[test]
fn any_missing_segment_before_the_last_is_refused() {
    let image = image();
    let segments = image.segments();
    let cases = segments[..segments.len() - 1].iter().map(|path| {
        let mut files = image.files.clone();
        files.remove(path);
        (format!("without {}", path.display()), files)
    });
    check_all(cases, |files| image.judge_refusal(files));
}

#[test]
fn a_missing_or_empty_partition_directory_is_refused() {
    let mut files = image().files;
    let dir = partition_dir(TOPIC, 0);
    files.retain(|path, _| path.parent() != Some(&dir));
    let error = refusal(&files);
    let named = match &error {
        Error::Corrupt { path, .. } | Error::Io { path, .. } => path == &dir,
        _ => false,
    };
    assert!(named, "{error:?}");

    files.insert(dir.join("notes.txt"), b"no segment".to_vec());
    let error = refusal(&files);
    assert!(matches!(&error, Error::Corrupt { path, .. } if path == &dir), "{error:?}");
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
        let verdict = image.judge(&image.with(&catalog(), |bytes| bytes.truncate(end)))?;
        ensure(verdict == Verdict::Refused, || format!("{verdict:?}"))
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
fn a_segment_of_a_later_version_is_refused() {
    let image = image();
    let cases = image.segments().into_iter().map(|path| (path.display().to_string(), path));
    check_all(cases, |segment| {
        let error = refusal(&image.with(segment, |bytes| bytes[8] = 2));
        let named = matches!(
            &error,
            Error::UnsupportedFormat { path, found: 2, supported: 1 } if path == segment
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
    let broker = open(&storage).expect("the strange files do not matter");
    assert!(broker.recovery_report().is_clean());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), image.values);
    broker.close().expect("it closes");
    assert_eq!(check_unchanged(&storage, &files), Ok(()));
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
    assert_eq!(check_unchanged(&storage, &files), Ok(()));
}

/// What is torn in one partition is mended only when nothing is damaged elsewhere.
#[test]
fn a_refused_directory_is_left_as_it_is_in_all_its_partitions() {
    let image = image();
    let last = image.segments().pop().expect("there are segments");
    let torn = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 5);
    let stub = segment(TOPIC, 0, image.values.len());
    let neighbour = segment(TOPIC, 1, 0);
    let mut with_stub = image.files.clone();
    with_stub.insert(stub, vec![0; 10]);
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("its neighbour is damaged", |bytes| bytes[200] ^= 1),
        ("its neighbour is of a later version", |bytes| bytes[8] = 2),
        ("its neighbour lost its header", |bytes| bytes.truncate(20)),
    ];
    let cases = damages.into_iter().flat_map(|(name, damage)| {
        [("torn", image.with(&last, torn)), ("with a stub", with_stub.clone())].map(|(kind, mut files)| {
            damage(files.get_mut(&neighbour).expect("it is there"));
            (format!("a partition {kind}, and {name}"), files)
        })
    });
    check_all(cases, |files| image.judge_refusal(files));
}

#[test]
fn a_refused_stub_is_still_there() {
    let image = image();
    let mut files = image.with(&image.segments()[0], |bytes| bytes[100] ^= 1);
    files.insert(segment(TOPIC, 0, image.values.len()), vec![0; 10]);
    assert_eq!(image.judge_refusal(&files), Ok(()));
}

#[test]
fn a_directory_that_was_refused_opens_once_it_is_put_right() {
    let image = image();
    let damaged = image.with(&image.segments()[0], |bytes| bytes[100] ^= 1);
    let storage = storage_with(&damaged);
    assert!(open(&storage).is_err(), "it is damaged");
    let path = &image.segments()[0];
    crate::support::write_file(&storage, path, &image.files[path]);
    let broker = open(&storage).expect("the refusal left no lock behind");
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), image.values);
    assert_eq!(send(&broker, TOPIC, 0, &value(1, 20)).expect("it takes records"), image.values.len() as u64);
}
