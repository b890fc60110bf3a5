//! An opening that mends a torn tail with later segments behind it, and is ended by a kill or a power loss at any
//! of its calls on the storage, again and again: in the end the same records are there, and what was cut off
//! is kept.

use std::path::Path;

use ottla::storage::{OpenMode, Storage};

use crate::image::Image;
use crate::lossy::Lossy;
use crate::support::{
    Checked, DIR, Files, Finding, Random, SEGMENT_HEADER_BYTES, TOPIC, check_all, contents, ensure,
    files_below, files_in, open, partition_dir, send, storage_with, value, write_file,
};

/// A torn log, how many of its records are whole in order, and what is cut off of each file.
struct Torn {
    files: Files,
    kept: Vec<Vec<u8>>,
    cut: Vec<Vec<u8>>,
}

/// After a power loss: of the first of three segments, some bytes are missing.
fn torn() -> Torn {
    let image = Image::killed(&[&[1_000][..]; 9]);
    let [first, second, third] = &image.segments()[..] else { panic!("three segments") };
    let place = &image.frames[1].bytes;
    // Something is left of it, and something whole behind it.
    let files = image.with(first, |bytes| bytes[place.start + 512..place.end].fill(0));
    let cut = vec![files[first][place.start..].to_vec(), files[second].clone(), files[third].clone()];
    let mut files = files;
    files.insert(partition_dir(TOPIC, 0).join("00000000000000000009.log"), vec![0; 20]);
    Torn { files, kept: image.values[..1].to_vec(), cut }
}

/// A disk on which these files are safe. The machine was started again since they were written.
fn disk_with(files: &Files) -> Lossy {
    let disk = Lossy::default();
    for (path, bytes) in files {
        write_file(&disk, path, bytes);
        disk.open(path, OpenMode::Existing).and_then(|file| file.sync_data()).expect("there is power");
        for dir in path.ancestors().skip(1) {
            disk.sync_dir(dir).expect("there is power");
        }
    }
    disk
}

/// How many calls the opening makes.
fn calls(files: &Files) -> u64 {
    let ends_early = |calls: &u64| {
        let disk = disk_with(files);
        disk.cut_power_after(*calls);
        drop(open(&disk));
        disk.is_off()
    };
    (0..500).take_while(ends_early).count() as u64
}

/// The records are there, what was cut off is kept, and the log goes on.
fn check_mended(disk: &Lossy, torn: &Torn) -> Checked {
    let broker = open(disk).map_err(|error| Finding(format!("it does not open: {error}")))?;
    let report = broker.recovery_report();
    ensure(report.damaged.is_empty(), || format!("{report:?}"))?;
    let found = contents(&broker, TOPIC, 0)?;
    ensure(found == torn.kept, || format!("{} records, not {}", found.len(), torn.kept.len()))?;
    let files = files_in(&files_below(disk, Path::new(DIR)), &partition_dir(TOPIC, 0));
    let asides: Vec<&Vec<u8>> =
        files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(".torn")).map(|(_, b)| b).collect();
    let lost = torn.cut.iter().position(|cut| !asides.contains(&cut));
    ensure(lost.is_none(), || format!("what was cut off is not kept: {lost:?} of {:?}", files.keys()))?;
    let at = send(&broker, TOPIC, 0, &value(77, 3_500))?;
    ensure(at == torn.kept.len() as u64, || format!("it goes on with {at}"))?;
    drop(broker);
    let broker = open(disk)?;
    ensure(broker.recovery_report().is_clean(), || format!("then: {:?}", broker.recovery_report()))?;
    let found = contents(&broker, TOPIC, 0)?;
    ensure(found[..found.len() - 1] == torn.kept, || "then other records are there".to_owned())
}

/// Ends the opening of `disk` at a call; what is found then.
fn broken_off(disk: &Lossy, call: u64, random: &mut Random) -> Lossy {
    disk.cut_power_after(call);
    drop(open(disk));
    if random.below(2) == 0 { disk.after_kill() } else { disk.after_power_loss(random) }
}

#[test]
fn mending_that_is_broken_off_at_any_call_is_made_up_for_by_the_next_opening() {
    let torn = torn();
    let calls = calls(&torn.files);
    assert!(calls > 10, "mending makes only {calls} calls");
    let cases =
        (0..=calls).flat_map(|call| (0..24).map(move |seed| (format!("call {call}, {seed}"), (call, seed))));
    check_all(cases, |&(call, seed)| {
        let disk = disk_with(&torn.files);
        let found = broken_off(&disk, call, &mut Random(seed));
        check_mended(&found, &torn)
    });
}

#[test]
fn mending_may_be_broken_off_again_and_again() {
    let torn = torn();
    let calls = calls(&torn.files);
    check_all((0..600).map(|seed| (format!("{seed}"), seed)), |&seed| {
        let mut random = Random(seed);
        let mut disk = disk_with(&torn.files);
        for _ in 0..1 + random.below(4) {
            let call = random.below(calls);
            disk = broken_off(&disk, call, &mut random);
        }
        check_mended(&disk, &torn)
    });
}

/// The same bytes, but the machine was not started again: no killed process leaves them. Nothing is mended.
#[test]
fn the_same_is_damage_if_the_power_was_not_lost() {
    let torn = torn();
    let storage = storage_with(&torn.files);
    let broker = open(&storage).expect("the others are well");
    let damaged = &broker.recovery_report().damaged;
    assert_eq!(damaged.first().map(|damage| damage.first_offset), Some(1), "{damaged:?}");
    drop(broker);
    let partition = |files: &Files| files_in(files, &partition_dir(TOPIC, 0));
    assert_eq!(partition(&files_below(&storage, Path::new(DIR))), partition(&torn.files));
    assert!(torn.cut.iter().all(|cut| cut.len() >= SEGMENT_HEADER_BYTES));
}
