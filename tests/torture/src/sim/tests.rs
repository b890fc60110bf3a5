//! What the simulated file system keeps, and what it may lose.

use std::collections::BTreeSet;
use std::path::Path;

use ottla::storage::{LockOutcome, OpenMode, Storage};

use super::chance::Chance;
use super::disk::{SimCall, SimDisk};
use super::file::AfterFailure;

struct Drawn(u64);

impl Chance for Drawn {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

const DIR: &str = "/data";

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

fn disk_with_dir() -> SimDisk {
    let disk = SimDisk::default();
    disk.create_dir_all(Path::new(DIR)).expect("it is new");
    disk.sync_dir(Path::new("/")).expect("no fault");
    disk
}

fn write(disk: &SimDisk, name: &str, bytes: &[u8], is_synced: bool) {
    let file = disk.open(&path(name), OpenMode::CreateOrEmpty).expect("it can be made");
    assert_eq!(file.write_at(bytes, 0).expect("no fault"), bytes.len());
    if is_synced {
        file.sync_data().expect("no fault");
    }
}

/// What is in a file, if it is there.
fn read(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(&path(name), OpenMode::ReadOnly).ok()?;
    let mut bytes = vec![0; file.len().expect("no fault") as usize];
    assert_eq!(file.read_at(&mut bytes, 0).expect("no fault"), bytes.len());
    Some(bytes)
}

/// What is in some files after each of many power losses.
fn after_losses(disk: &SimDisk, names: &[&str]) -> BTreeSet<Vec<Option<Vec<u8>>>> {
    let mut drawn = Drawn(3);
    let outcomes = (0..300).map(|_| {
        let after = disk.after_power_loss(&mut drawn);
        names.iter().map(|name| read(&after, name)).collect()
    });
    outcomes.collect()
}

fn rename(disk: &SimDisk, from: &str, to: &str) {
    disk.rename(&path(from), &path(to)).expect("it is there");
}

fn sync_names(disk: &SimDisk) {
    disk.sync_dir(Path::new(DIR)).expect("no fault");
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn a_file_with_a_synced_name_and_content_stays() {
    let disk = disk_with_dir();
    write(&disk, "a", b"kept", true);
    sync_names(&disk);
    assert!(disk.is_synced(&path("a")) && disk.is_synced(Path::new(DIR)));
    assert_eq!(after_losses(&disk, &["a"]), [vec![bytes("kept")]].into());
}

#[test]
fn a_name_that_was_not_synced_may_go_and_so_may_content() {
    let disk = disk_with_dir();
    write(&disk, "a", b"kept", true);
    assert_eq!(after_losses(&disk, &["a"]), [vec![None], vec![bytes("kept")]].into());
    let disk = disk_with_dir();
    write(&disk, "a", b"lost", false);
    sync_names(&disk);
    let seen = after_losses(&disk, &["a"]);
    assert!(
        [bytes("lost"), bytes(""), bytes("\0\0\0\0")]
            .map(|one| vec![one])
            .iter()
            .all(|one| seen.contains(one))
    );
}

#[test]
fn a_file_that_is_replaced_is_the_old_one_or_the_new_one() {
    let disk = disk_with_dir();
    write(&disk, "a", b"old", true);
    sync_names(&disk);
    write(&disk, "a.new", b"new", true);
    rename(&disk, "a.new", "a");
    let seen: BTreeSet<_> = after_losses(&disk, &["a"]);
    assert_eq!(seen, [vec![bytes("old")], vec![bytes("new")]].into());
    sync_names(&disk);
    assert_eq!(after_losses(&disk, &["a", "a.new"]), [vec![bytes("new"), None]].into());
}

#[test]
fn removed_names_may_come_back_until_the_directory_is_synced() {
    let disk = disk_with_dir();
    write(&disk, "a", b"old", true);
    sync_names(&disk);
    disk.remove_file(&path("a")).expect("it is there");
    assert_eq!(read(&disk, "a"), None);
    assert_eq!(after_losses(&disk, &["a"]), [vec![None], vec![bytes("old")]].into());
    sync_names(&disk);
    assert_eq!(after_losses(&disk, &["a"]), [vec![None]].into());
}

#[test]
fn names_survive_each_for_itself() {
    let disk = disk_with_dir();
    write(&disk, "a", b"1", true);
    write(&disk, "b", b"2", true);
    let seen = after_losses(&disk, &["a", "b"]);
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_directory_that_is_lost_takes_what_is_in_it() {
    let disk = SimDisk::default();
    disk.create_dir_all(Path::new(DIR)).expect("it is new");
    write(&disk, "a", b"1", true);
    sync_names(&disk);
    let seen = after_losses(&disk, &["a"]);
    assert_eq!(seen, [vec![None], vec![bytes("1")]].into());
}

#[test]
fn what_is_written_during_a_sync_is_not_part_of_it() {
    let disk = disk_with_dir();
    write(&disk, "a", b"1", true);
    sync_names(&disk);
    let file = disk.open(&path("a"), OpenMode::Existing).expect("it is there");
    file.write_at(b"2", 1).expect("no fault");
    disk.hold_sync(Path::new(DIR));
    std::thread::scope(|scope| {
        scope.spawn(|| disk.open(&path("a"), OpenMode::Existing).expect("it is there").sync_data());
        assert!(disk.wait_for_held_sync(|| false));
        file.write_at(b"3", 2).expect("no fault");
        disk.let_go();
    });
    let seen = after_losses(&disk, &["a"]);
    assert!(seen.contains(&vec![bytes("12")]) && seen.contains(&vec![bytes("123")]), "{seen:?}");
    assert!(seen.iter().all(|one| one[0].as_ref().is_some_and(|found| found.starts_with(b"12"))), "{seen:?}");
}

#[test]
fn with_the_power_off_nothing_works_and_a_kill_keeps_what_was_done() {
    let disk = disk_with_dir();
    disk.cut_power_within(2, 500);
    let file = disk.open(&path("a"), OpenMode::CreateOrEmpty).expect("the first call");
    file.write_at(b"12", 0).expect("the second call");
    assert!(file.write_at(b"3456", 2).is_err() && disk.is_off());
    assert!(file.len().is_err() && disk.list(Path::new(DIR)).is_err());
    let after = disk.after_kill();
    assert_eq!(read(&after, "a"), bytes("1234"), "half of the last write");
    assert_eq!(after.boot_id().expect("known"), disk.boot_id().expect("known"));
    let seen = after_losses(&after, &["a"]);
    assert!(seen.len() > 2, "a kill syncs nothing: {seen:?}");
    let later = after.after_power_loss(&mut Drawn(0));
    assert_ne!(later.boot_id().expect("known"), disk.boot_id().expect("known"));
}

#[test]
fn a_sync_that_failed_and_one_that_comes_after_are_noticed() {
    let disk = disk_with_dir();
    write(&disk, "a", b"1", true);
    sync_names(&disk);
    let mut left = 1;
    disk.fail(AfterFailure::Shown, 1, move |call, _| {
        let fails = call == SimCall::Sync && left > 0;
        left -= u32::from(fails);
        fails.then_some(5)
    });
    let file = disk.open(&path("a"), OpenMode::Existing).expect("it is there");
    file.write_at(&[b'2'; 2_000], 1).expect("no fault");
    assert_eq!(file.sync_data().expect_err("it fails").raw_os_error(), Some(5));
    assert_eq!((disk.heard().failed_syncs, disk.heard().synced_again.len()), (1, 0));
    file.sync_data().expect("it fails once");
    assert_eq!(disk.heard().synced_again, [path("a")]);
    let other = disk.after_kill();
    other.open(&path("a"), OpenMode::Existing).expect("it is there").sync_data().expect("no fault");
    assert!(other.heard().synced_again.is_empty(), "another process does not know");
    let seen = after_losses(&disk, &["a"]);
    assert_eq!(seen.len(), 1, "the second sync made nothing safe");
}

#[test]
fn a_directory_has_one_owner_or_several_readers() {
    let disk = disk_with_dir();
    let lock = |disk: &SimDisk| disk.lock(&path("LOCK"), "me").expect("no fault");
    let owner = lock(&disk);
    assert!(matches!(disk.lock_shared(&path("LOCK")), Ok(LockOutcome::HeldBy(name)) if name == "me"));
    assert!(matches!(lock(&disk.after_kill()), LockOutcome::Acquired(_)), "a kill ends it");
    drop(owner);
    let readers = [(); 2].map(|()| disk.lock_shared(&path("LOCK")).expect("no fault"));
    assert!(matches!(lock(&disk), LockOutcome::HeldBy(_)));
    drop(readers);
    assert!(matches!(lock(&disk), LockOutcome::Acquired(_)));
}
