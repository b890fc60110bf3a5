//! What random cases meet too seldom, made on purpose.

use std::path::Path;
use std::time::Duration;

use ottla::storage::{OpenMode, Storage};
use ottla::{Broker, Raw, TopicConfig};

use super::found::DIR;
use crate::sim::chance::Chance;
use crate::sim::disk::SimDisk;

/// Has everything survive a power loss.
struct KeepAll;

impl Chance for KeepAll {
    fn below(&mut self, _end: u64) -> u64 {
        1
    }
}

fn open(disk: &SimDisk) -> Broker {
    let broker = Broker::builder().storage(disk.clone()).data_dir(DIR);
    broker.sync_interval(Duration::from_secs(3_600)).open().expect("it opens")
}

fn send(broker: &Broker, value: &[u8]) {
    broker.producer::<Raw, Raw>("t").expect("it is there").send(b"k", value).expect("no fault");
}

fn end_offset(broker: &Broker) -> u64 {
    broker.describe_topic("t").expect("it is there").partitions[0].end_offset
}

/// The file of a segment that was begun and taken back may come back in front of records that were written since.
#[test]
fn a_segment_without_a_header_that_comes_back_leaves_a_log_that_goes_on() {
    let disk = SimDisk::default();
    let broker = open(&disk);
    broker.create_topic("t", TopicConfig::new().segment_bytes(4096)).expect("it is new");
    (0..6).for_each(|number| send(&broker, &[number; 200]));
    let stub = Path::new(DIR).join("t-0/00000000000000000004.log");
    disk.open(&stub, OpenMode::CreateOrEmpty).expect("no fault");
    let disk = disk.after_kill().after_power_loss(&mut KeepAll);
    let broker = open(&disk);
    let [torn] = &broker.recovery_report().torn_tails[..] else { panic!("{:?}", broker.recovery_report()) };
    assert_eq!((torn.end_offset, end_offset(&broker), torn.set_aside.len()), (4, 4, 1));
    assert!(disk.is_synced(stub.parent().expect("it has one")), "it can come back once more");
    send(&broker, b"short");
    let broker = open(&disk.after_kill());
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(end_offset(&broker), 5);
}
