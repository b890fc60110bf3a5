//! A whole directory, one partition of which is the fuzzer's: a broker is opened on it, everything is read,
//! something is sent, and it is opened again.

use std::ops::Range;

use ottla::storage::MemoryStorage;
use ottla::{Broker, DamageAction, Error, RecoveryPolicy};

use crate::broker::{Seen, builder, read_all, send};
use crate::disk::{self, GROUP, Image, PARTITION_IDS, Surroundings, TOPIC};
use crate::format::Frame;
use crate::input::Input;
use crate::model::{self, Beginning};
use crate::recipe::{self, Files};

/// The target: how to open it, then what surrounds partition 0, then its recipe.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let case = Case::take(&mut input);
    let storage = disk::storage_with(&case.image);
    let open = || builder(&storage).recovery_policy(case.policy).verify_on_open(case.verify).open();
    match open() {
        Ok(broker) => {
            let first = case.check_opened(&broker, &storage);
            broker.close().expect("nothing fails");
            let again = open().expect("it opened before");
            if let Some(first) = first {
                case.check_again(&again, &first);
            }
        }
        Err(error) => {
            let is_later = matches!(error, Error::UnsupportedFormat { .. });
            assert!(is_later && model::is_of_later_version(&case.files), "{error:?}");
            disk::check_unchanged(&storage, &case.image, "a refusal");
        }
    }
}

/// All files of an input.
#[must_use]
pub fn image(input: &mut Input<'_>) -> Image {
    Case::take(input).image
}

struct Case {
    policy: RecoveryPolicy,
    verify: bool,
    start_offset: u64,
    /// Of partition 0.
    files: Files,
    image: Image,
}

/// What the first opening came to.
struct Outcome {
    seen: Seen,
    sent: Option<Frame>,
}

impl Case {
    fn take(input: &mut Input<'_>) -> Self {
        let how = input.byte();
        let policies = [RecoveryPolicy::Strict, RecoveryPolicy::Truncate, RecoveryPolicy::Skip];
        let policy = policies[usize::from(how) % policies.len()];
        let verify = how & 128 != 0;
        let surroundings = Surroundings::take(input);
        let files = recipe::files(input, PARTITION_IDS[0]);
        let image = disk::image(&files, &surroundings);
        Self { policy, verify, start_offset: surroundings.start_offset, files, image }
    }

    /// `None`: the log can be no better than it is.
    fn check_opened(&self, broker: &Broker, storage: &MemoryStorage) -> Option<Outcome> {
        let seen = read_all(broker, 0);
        let beginning = model::beginning(&self.files, PARTITION_IDS[0], self.start_offset);
        check_seen(&seen, &self.files, &beginning, self.start_offset);
        if beginning.is_unclear {
            drop(send(broker));
            return None;
        }
        assert_eq!(read_all(broker, 1).records, disk::neighbours());
        let report = broker.recovery_report();
        assert_eq!(report.partitions, 3);
        let actions: Vec<DamageAction> = report.damaged.iter().map(|damage| damage.action).collect();
        let end_offset = broker.describe_topic(TOPIC).expect("it is there").partitions[0].end_offset;
        if self.verify || self.policy != RecoveryPolicy::Strict {
            let is_cut = !report.torn_tails.is_empty() || actions.contains(&DamageAction::Truncated);
            assert!(!is_cut || seen.records == beginning.records, "{report:?} {seen:?}");
            if is_cut || report.damaged.is_empty() {
                let has_gaps = model::has_gaps(&self.files, PARTITION_IDS[0]);
                check_sound(&seen, self.start_offset..end_offset, has_gaps);
            }
        }
        self.check_kept(storage);
        for committed in broker.committed_offsets(GROUP).values() {
            assert!(committed.offset <= end_offset);
        }
        let sent = match send(broker) {
            Ok(sent) => {
                assert_eq!(sent.offset, end_offset);
                Some(sent)
            }
            Err(Error::PartitionFenced { .. }) => {
                assert!(actions.contains(&DamageAction::Fenced) && self.policy != RecoveryPolicy::Skip);
                let after = disk::partition(&disk::image_of(storage));
                let is_changed = |(name, bytes): &(&String, &Vec<u8>)| after.get(*name) != Some(*bytes);
                let changed: Vec<&String> =
                    self.files.iter().filter(is_changed).map(|(name, _)| name).collect();
                assert!(changed.iter().all(|name| self.is_nothing(name)), "a fence changed {changed:?}");
                assert!(after.keys().all(|name| self.files.contains_key(name)), "a fence left {after:?}");
                None
            }
            Err(error) => panic!("{error:?}"),
        };
        Some(Outcome { seen, sent })
    }

    /// Everything that is not in its place any more is kept in another one.
    fn check_kept(&self, storage: &MemoryStorage) {
        let after = disk::partition(&disk::image_of(storage));
        let set_aside: Vec<&Vec<u8>> = after
            .iter()
            .filter(|(name, _)| !self.files.contains_key(*name))
            .map(|(_, bytes)| bytes)
            .collect();
        for (name, bytes) in &self.files {
            let left = after.get(name).map_or(&[][..], |left| left);
            // What was less than a header may be gone.
            let same = left.iter().zip(bytes).take_while(|(left, right)| left == right).count();
            let missing = &bytes[same..];
            let is_kept = missing.iter().all(|&byte| byte == 0)
                || set_aside.iter().any(|kept| *kept == missing || *kept == bytes)
                || bytes.len() < 64;
            assert!(is_kept || self.is_nothing(name), "of {name}, {} bytes are lost", missing.len());
        }
    }

    /// Whether a file is no part of the log: not finished, or of deleted records only.
    fn is_nothing(&self, name: &str) -> bool {
        let Some(base_offset) = model::base_offset_of(name) else { return name.ends_with(".log.new") };
        let mut bases = self.files.keys().filter_map(|name| model::base_offset_of(name));
        bases.any(|next| next > base_offset && next <= self.start_offset)
    }

    fn check_again(&self, broker: &Broker, first: &Outcome) {
        let report = broker.recovery_report();
        assert!(report.torn_tails.is_empty(), "{report:?}");
        assert_eq!(report.damaged_checkpoint, None);
        assert!(report.lowered_commits.is_empty(), "{report:?}");
        let is_mended = first.sent.is_some() && self.policy != RecoveryPolicy::Skip;
        assert!(report.damaged.is_empty() || !is_mended, "{report:?}");
        let seen = read_all(broker, 0);
        let expected: Vec<Frame> = first.seen.records.iter().chain(&first.sent).cloned().collect();
        assert_eq!(seen.records, expected);
        assert_eq!(read_all(broker, 1).records, disk::neighbours());
    }
}

/// Nothing is missing, but what a gap says to be removed.
pub fn check_sound(seen: &Seen, kept: Range<u64>, has_gaps: bool) {
    let mut offsets = seen.records.iter().map(|record| record.offset);
    let are_there =
        if has_gaps { offsets.all(|offset| kept.contains(&offset)) } else { offsets.eq(kept.clone()) };
    assert!(are_there && seen.damaged.is_empty(), "{seen:?} in {kept:?}");
}

/// Nothing but what was there, in order, and everything up to the first damage.
pub fn check_seen(seen: &Seen, files: &Files, beginning: &Beginning, start_offset: u64) {
    let Seen { records, damaged } = seen;
    let all = model::all_records(files, PARTITION_IDS[0]);
    for record in records {
        assert!(all.contains(record), "what is served was never there: {record:?}");
        assert!(record.offset >= start_offset);
    }
    assert!(records.is_sorted_by(|one, next| one.offset < next.offset), "{seen:?}");
    assert!(damaged.is_sorted_by(|one, next| one.0 < next.0), "{seen:?}");
    let good = &beginning.records;
    assert!(records.starts_with(good), "{} good records, and it served {seen:?}", good.len());
}
