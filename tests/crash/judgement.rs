//! The judgement of a damaged copy of an [`Image`]: it is verified and opened in all ways, and all of them must
//! agree with each other and with what is known of the image. Nothing wrong is ever served, nothing good is
//! left out, nothing is changed that must not be, and the log goes on where it may.

use ottla::storage::MemoryStorage;
use ottla::{Broker, Damage, DamageAction, Error, PartitionVerdict, TopicPartition, TornTail};

use crate::image::Image;
use crate::support::{
    Checked, DIR, Files, Finding, Reading, SEGMENT_HEADER_BYTES, TOPIC, Way, check_partition_unchanged,
    check_unchanged, checkpoint_path, contents, ensure, open, read_file, read_through, send, storage_with,
    value,
};

/// What is made of partition 0 of a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well: every record is served.
    Served,
    /// A torn tail is cut off; every record before it is served.
    Torn,
    /// It is damaged: this is the first offset that is lost, and the next one that is not.
    Fenced(u64, Option<u64>),
    /// The whole directory is refused, with a typed error, and nothing is changed.
    Refused,
}

impl Verdict {
    pub(crate) fn is_fenced(self) -> bool {
        matches!(self, Self::Fenced(..))
    }
}

/// What [`Broker::verify`] says of partition 0, and what is so.
struct Judged<'a> {
    image: &'a Image,
    damaged: &'a Files,
    found: PartitionVerdict,
}

impl Image {
    /// What is to be made of `damaged`, if verifying it and opening it in all ways agree.
    pub(crate) fn judge(&self, damaged: &Files) -> Checked<Verdict> {
        let storage = storage_with(damaged);
        let verified = Broker::verify_in(storage.clone(), DIR);
        check_unchanged(&storage, damaged)?;
        let report = match verified {
            Ok(report) => report,
            Err(error) => {
                check_refusal(&error)?;
                for way in Way::ALL {
                    check_refused(damaged, way, &error)
                        .map_err(|finding| Finding(format!("{way:?}: {finding}")))?;
                }
                return Ok(Verdict::Refused);
            }
        };
        let is_ours = |each: &PartitionVerdict| each.partition == TopicPartition::new(TOPIC, 0);
        let (ours, others): (Vec<_>, Vec<_>) = report.partitions.into_iter().partition(is_ours);
        let all_well = others.iter().all(|each| each.torn_tail.is_none() && each.damage.is_empty());
        ensure(all_well, || format!("other partitions suffered: {others:?}"))?;
        let found = ours.into_iter().next().ok_or_else(|| Finding("it is not verified".to_owned()))?;
        let judged = Judged { image: self, damaged, found };
        judged.check_verified().map_err(|finding| Finding(format!("verified: {finding}")))?;
        for way in Way::ALL {
            judged.check_opened(way).map_err(|finding| Finding(format!("{way:?}: {finding}")))?;
        }
        Ok(judged.verdict())
    }

    /// The same, of several copies that must come to the same.
    pub(crate) fn judge_as(&self, damaged: &Files, expected: Verdict) -> Checked {
        let verdict = self.judge(damaged)?;
        ensure(verdict == expected, || format!("{verdict:?}, not {expected:?}"))
    }
}

impl Judged<'_> {
    fn verdict(&self) -> Verdict {
        match (&self.found.torn_tail, &self.found.damage[..]) {
            (Some(_), _) => Verdict::Torn,
            (None, []) => Verdict::Served,
            (None, [first, ..]) => Verdict::Fenced(first.first_offset, first.next_offset),
        }
    }

    /// Where the log ends: every record before that is good, or said to be lost.
    fn end(&self) -> u64 {
        self.found.end_offset
    }

    /// What is said is possible, by what is known of the image.
    fn check_verified(&self) -> Checked {
        let Self { image, damaged, found } = self;
        let (end, synced) = (found.end_offset, image.synced);
        ensure(end >= synced, || format!("it ends with {end}, though {synced} are synced"))?;
        let left = (end as usize..image.frames.len()).find(|&number| image.is_whole(damaged, number));
        let is_well = found.torn_tail.is_none() && found.damage.is_empty();
        ensure(!is_well || left.is_none(), || format!("all is well, and {left:?} is left out"))?;
        if let Some(tail) = &found.torn_tail {
            ensure(found.damage.is_empty(), || format!("torn, and {:?}", found.damage))?;
            ensure(tail.end_offset == end, || format!("it ends with {end}: {tail:?}"))?;
            let end = end as usize;
            let is_batch = image.frames.get(end).is_none_or(|frame| frame.batch == end);
            ensure(is_batch, || format!("it ends within a batch: {tail:?}"))?;
            // A killed process leaves nothing whole behind what is not.
            let whole = (end..image.frames.len()).find(|&number| image.is_whole(damaged, number));
            let is_known = is_same_boot(damaged) && whole.is_some();
            let batch = whole.map(|whole| image.frames[whole].batch == end);
            ensure(!is_known || batch == Some(true), || format!("{whole:?} is whole, {tail:?}"))?;
        }
        if let Some(first) = found.damage.first() {
            let is_first_header = first.position == 0 || !damaged.contains_key(&first.path);
            let is_proved = is_same_boot(damaged) || image.synced > first.first_offset || is_first_header;
            ensure(is_proved, || format!("nothing says that it was synced: {first:?}"))?;
        }
        found.damage.iter().try_for_each(|damage| check_damage(damage, DamageAction::Found))
    }

    fn check_opened(&self, way: Way) -> Checked {
        let storage = storage_with(self.damaged);
        let broker = way.open(&storage).map_err(|error| Finding(format!("it does not open: {error:?}")))?;
        let report = broker.recovery_report().clone();
        self.check_report(way, &report.damaged, &report.torn_tails)?;
        let reading = read_through(&broker, TOPIC, 0)?;
        self.check_reading(&reading)?;
        if way == Way::Verifying {
            self.check_told(&reading)?;
        }
        let is_fenced = !report.damaged.is_empty();
        let faults = broker.health().partitions;
        let is_ill = faults.iter().any(|fault| fault.partition == TopicPartition::new(TOPIC, 0));
        ensure(is_ill == (is_fenced || way == Way::ReadOnly), || format!("{faults:?}"))?;
        ensure(contents(&broker, TOPIC, 1)? == self.image.neighbour, || "the neighbour suffered".to_owned())?;
        self.check_sends(way, &broker, is_fenced)?;
        drop(broker);
        if way == Way::ReadOnly {
            return check_unchanged(&storage, self.damaged);
        }
        if is_fenced {
            return check_partition_unchanged(&storage, self.damaged, TOPIC, 0);
        }
        report.torn_tails.iter().try_for_each(|tail| check_kept_bytes(&storage, self.damaged, tail))?;
        self.check_goes_on(&storage)
    }

    fn check_report(&self, way: Way, damaged: &[Damage], torn: &[TornTail]) -> Checked {
        let action = if way == Way::ReadOnly { DamageAction::Found } else { DamageAction::Fenced };
        damaged.iter().try_for_each(|damage| check_damage(damage, action))?;
        let place = |tail: &TornTail| (tail.path.clone(), tail.position, tail.bytes, tail.end_offset);
        let expected: Vec<_> = self.found.torn_tail.iter().map(place).collect();
        ensure(torn.iter().map(place).eq(expected.iter().cloned()), || {
            format!("{torn:?}, not {expected:?}")
        })?;
        let kept = torn.iter().any(|tail| tail.kept_in.is_some() || !tail.set_aside.is_empty());
        ensure(way != Way::ReadOnly || !kept, || format!("read-only, and {torn:?}"))?;
        // What is known to have been synced is read at once only if that is asked for.
        let known =
            |damage: &Damage| (damage.path.clone(), damage.position, damage.first_offset, damage.next_offset);
        let same = damaged.iter().map(known).eq(self.found.damage.iter().map(known));
        let none = damaged.is_empty() && way != Way::Verifying;
        let some = way != Way::Verifying && !self.found.damage.is_empty();
        ensure(same || none || some, || format!("{damaged:?}, not {:?}", self.found.damage))
    }

    /// Nothing wrong is served, nothing good is left out, and what is not served is said to be lost.
    fn check_reading(&self, reading: &Reading) -> Checked {
        let Self { image, damaged, .. } = self;
        let Reading { records, lost } = reading;
        let in_order = records.is_sorted_by(|before, after| before.0 < after.0);
        ensure(in_order, || "records are served in disorder".to_owned())?;
        let wrong = records.iter().find(|(offset, seen)| image.values.get(*offset as usize) != Some(seen));
        ensure(wrong.is_none(), || format!("a wrong record is served for {:?}", wrong.map(|(at, _)| at)))?;
        let whole = (0..self.end()).filter(|&offset| image.is_whole(damaged, offset as usize)).count();
        // Of records that have changed places, not all can be served in their order.
        let are_enough = || records.len() >= whole && self.holds_misplaced();
        for offset in 0..image.values.len() as u64 {
            let is_served = records.binary_search_by_key(&offset, |record| record.0).is_ok();
            let is_lost = |(first, next): &(u64, Option<u64>)| {
                *first <= offset && next.is_none_or(|next| offset < next)
            };
            let must = offset < self.end() && image.is_whole(damaged, offset as usize);
            ensure(is_served || !must || are_enough(), || {
                format!("{offset} is whole, and not served; {lost:?}")
            })?;
            let is_told = offset >= self.end() || lost.iter().any(is_lost);
            ensure(is_served != is_told, || {
                format!("{offset}: served is {is_served}, told is {is_told}, {lost:?}")
            })?;
        }
        Ok(())
    }

    /// Whether a record is whole somewhere else than in its place.
    fn holds_misplaced(&self) -> bool {
        let Self { image, damaged, .. } = self;
        let is_elsewhere = |number: usize| {
            let place = &image.frames[number];
            let frame = &image.files[&place.file][place.bytes.clone()];
            damaged.iter().any(|(path, bytes)| {
                let is_here = |at: usize| *path == place.file && at == place.bytes.start;
                let mut places = (0..bytes.len().saturating_sub(frame.len() - 1)).step_by(8);
                places.any(|at| !is_here(at) && bytes[at..].starts_with(frame))
            })
        };
        (0..image.frames.len()).any(is_elsewhere)
    }

    /// Readers hear of the same damage as those who open.
    fn check_told(&self, reading: &Reading) -> Checked {
        let is_loss = |damage: &&Damage| {
            damage.next_offset != Some(damage.first_offset) && damage.first_offset < self.end()
        };
        let losing = self.found.damage.iter().filter(is_loss);
        let mut told: Vec<_> = losing.map(|damage| (damage.first_offset, damage.next_offset)).collect();
        // A header, and what is behind it.
        told.dedup();
        // Readers are led to the end of the log, if it is known.
        let next = |next: Option<u64>| next.filter(|&next| next < self.end());
        let heard: Vec<_> = reading.lost.iter().map(|(first, behind)| (*first, next(*behind))).collect();
        ensure(heard == told, || format!("readers hear of {:?}, not {told:?}", reading.lost))?;
        for damage in &self.found.damage {
            let next = damage.next_offset.unwrap_or(u64::MAX);
            let behind = reading.records.iter().filter(|(offset, _)| *offset >= next).count() as u64;
            ensure(behind == damage.records_behind, || format!("{behind} are behind {damage:?}"))?;
        }
        let records = reading.records.len() as u64;
        ensure(records == self.found.records, || format!("{records} of {} are served", self.found.records))
    }

    fn check_sends(&self, way: Way, broker: &Broker, is_fenced: bool) -> Checked {
        let sent = send(broker, TOPIC, 0, &value(999_999, 50));
        let others = send(broker, TOPIC, 1, &value(999_998, 50));
        if way == Way::ReadOnly {
            let refused = [&sent, &others].iter().all(|sent| matches!(sent, Err(Error::ReadOnly { .. })));
            return ensure(refused, || format!("read-only, and {sent:?}, {others:?}"));
        }
        let next = self.image.neighbour.len() as u64;
        ensure(matches!(others, Ok(offset) if offset == next), || format!("the neighbour: {others:?}"))?;
        if !is_fenced {
            let end = self.end();
            return ensure(matches!(sent, Ok(offset) if offset == end), || format!("not {end}: {sent:?}"));
        }
        let first = &broker.recovery_report().damaged[0];
        let is_right = match &sent {
            Err(Error::PartitionFenced { partition, path, position, first_offset, detail }) => {
                let said = (partition, path, *position, *first_offset, detail);
                said == (&first.partition, &first.path, first.position, first.first_offset, &first.detail)
            }
            _ => false,
        };
        ensure(is_right, || format!("{sent:?} for {first:?}"))
    }

    /// The log takes records, and the next opening finds nothing new.
    fn check_goes_on(&self, storage: &MemoryStorage) -> Checked {
        let broker = open(storage)?;
        let report = broker.recovery_report();
        ensure(report.is_clean(), || format!("the second opening mended something: {report:?}"))?;
        let Reading { records, lost } = read_through(&broker, TOPIC, 0)?;
        let is_last = records.last() == Some(&(self.end(), value(999_999, 50)));
        ensure(is_last, || format!("the new record is not served; {lost:?}"))?;
        let before = Reading { records: records[..records.len() - 1].to_vec(), lost };
        self.check_reading(&before).map_err(|finding| Finding(format!("then: {finding}")))
    }
}

fn is_same_boot(files: &Files) -> bool {
    let checkpoint = files.get(&checkpoint_path()).map(|bytes| String::from_utf8_lossy(bytes));
    checkpoint.is_some_and(|text| text.contains("\nboot memory\n"))
}

fn check_refused(damaged: &Files, way: Way, expected: &Error) -> Checked {
    let storage = storage_with(damaged);
    let error = way.open(&storage).map(drop).err();
    let same = error.as_ref().is_some_and(|error| error.to_string() == expected.to_string());
    ensure(same, || format!("{error:?}, not {expected:?}"))?;
    check_unchanged(&storage, damaged)
}

/// An error that says which file is damaged and where.
fn check_refusal(error: &Error) -> Checked {
    let named = match error {
        Error::Corrupt { path, detail, .. } => path.starts_with(DIR) && !detail.is_empty(),
        Error::UnsupportedFormat { path, found, supported } => path.starts_with(DIR) && found != supported,
        _ => false,
    };
    ensure(named, || format!("the error does not say what is damaged: {error:?}"))
}

fn check_damage(damage: &Damage, action: DamageAction) -> Checked {
    let is_ours = damage.partition == TopicPartition::new(TOPIC, 0) && damage.path.starts_with(DIR);
    let is_forward = damage.next_offset.is_none_or(|next| next >= damage.first_offset);
    let is_whole = is_ours && is_forward && !damage.detail.is_empty() && damage.action == action;
    ensure(is_whole, || format!("not {action:?} as it is said: {damage:?}"))
}

/// What was cut off lies in the file that the report names; where it names none, it was all zero, or the
/// beginning of a segment header.
fn check_kept_bytes(storage: &MemoryStorage, damaged: &Files, tail: &TornTail) -> Checked {
    let cut = &damaged[&tail.path][tail.position as usize..];
    let is_kept = match &tail.kept_in {
        Some(path) => read_file(storage, path) == cut,
        None => cut.iter().all(|&byte| byte == 0) || cut.len() < SEGMENT_HEADER_BYTES,
    };
    ensure(is_kept, || format!("what was cut off is not kept: {tail:?}"))?;
    let later = damaged.range(tail.path.clone()..).skip(1);
    let later = later.filter(|(path, _)| path.parent() == tail.path.parent());
    let bytes = cut.len() + later.clone().map(|(_, bytes)| bytes.len()).sum::<usize>();
    ensure(tail.bytes == bytes as u64, || format!("{bytes} bytes were cut: {tail:?}"))?;
    let aside: Vec<Vec<u8>> = tail.set_aside.iter().map(|path| read_file(storage, path)).collect();
    let is_aside = later.map(|(_, bytes)| bytes.clone()).all(|bytes| {
        bytes.len() < SEGMENT_HEADER_BYTES || bytes.iter().all(|&b| b == 0) || aside.contains(&bytes)
    });
    ensure(is_aside, || format!("not all of the later segments are kept: {tail:?}"))
}
