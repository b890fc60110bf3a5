//! With the feature `tracing`, a subscriber is told of what happens now and then, and of no record.

use std::fmt::{Debug, Write};
use std::io;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use ottla::storage::{OpenMode, Storage};
use ottla::{Broker, Durability, Raw, TopicConfig, TopicPartition};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::faulty::{Faulty, Operation};
use crate::statistics::in_need_of_upkeep;
use crate::support::*;

/// Nothing is synced by the flusher: what it does is told on its thread, to nobody.
const NEVER: Duration = Duration::from_secs(3_600);

/// Keeps what it is told, a line each: level, message and fields of an event, the name of a span.
#[derive(Clone, Default)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Keeps nothing.
    is_deaf: bool,
}

impl Lines {
    fn add(&self, line: String) {
        if !self.is_deaf {
            self.lines.lock().expect("no panic").push(line);
        }
    }

    /// What was told since the last call, by what `told` does on this thread.
    fn of<T>(&self, told: impl FnOnce() -> T) -> (T, Vec<String>) {
        // `tracing` remembers what nobody listens to. Somebody has to listen on all threads: one of another
        // test may come to an event first, and at the moment at which this one begins to listen.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE.call_once(|| {
            let deaf = Self { is_deaf: true, ..Self::default() };
            tracing::subscriber::set_global_default(deaf).expect("nobody else is there");
        });
        tracing::callsite::rebuild_interest_cache();
        let outcome = tracing::subscriber::with_default(self.clone(), told);
        (outcome, std::mem::take(&mut *self.lines.lock().expect("no panic")))
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "ottla"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        self.add(line.0);
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.add(line.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {
        self.add("end of span".to_owned());
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("a string");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

fn assert_told(lines: &[String], parts: &[&str]) {
    let found = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "{parts:?} is not in {lines:#?}");
}

#[test]
fn opening_and_closing_are_told_with_what_was_mended() {
    let dir = temp_dir();
    let lines = Lines::default();
    let (broker, told) = lines.of(|| Broker::open(dir.path()).expect("opens"));
    assert_eq!(told.len(), 3, "{told:?}");
    assert_told(&told, &["span open", &format!("dir={}", dir.path().display())]);
    assert_told(&told, &["INFO the directory is open", "topics=0", "partitions=0"]);
    make(&broker, "t", 1);
    broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).expect("a free name");
    send_numbered(&broker, "t", 3);
    send_numbered(&broker, "m", 3);
    broker.commit_offsets("g", [(TopicPartition::new("m", 0), 3)]).expect("commits");
    let ((), told) = lines.of(|| broker.close().expect("closes"));
    assert_told(&told, &["span close"]);
    assert_told(&told, &["INFO the broker is closed"]);
    drop(broker);

    let log = dir.path().join("t-0").join("00000000000000000000.log");
    let bytes = std::fs::read(&log).expect("readable");
    std::fs::write(&log, [&bytes[..], b"torn"].concat()).expect("writable");
    let (broker, told) = lines.of(|| Broker::open(dir.path()).expect("opens"));
    assert_told(&told, &["WARN the torn end", "partition=t-0", "bytes=4", "end_offset=3"]);
    assert_told(&told, &["WARN a commit", "group=g", "partition=m-0", "committed=3", "lowered_to=0"]);
    drop(broker);
}

#[test]
fn damage_is_told() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    producer.send((), "x").expect("sends");
    broker.close().expect("closes");
    drop((broker, producer));
    let file = storage.open("/data/t-0/00000000000000000000.log".as_ref(), OpenMode::Existing);
    file.expect("it exists").write_at(&[1], 100).expect("in memory");
    let open = || Broker::builder().data_dir("/data").storage(storage.clone()).verify_on_open(true).open();
    let (broker, told) = Lines::default().of(|| open().expect("opens"));
    assert_told(&told, &["ERROR a log is damaged", "partition=t-0", "first_offset=0", "is_fenced=true"]);
    assert!(!broker.recovery_report().is_clean());
}

#[test]
fn sends_and_polls_are_not_told_but_rolls_are() {
    let dir = temp_dir();
    let on_disk = Broker::builder().data_dir(dir.path()).sync_interval(NEVER).open().expect("opens");
    for (broker, rolls) in [(&Broker::in_memory(), 0), (&on_disk, 3)] {
        broker.create_topic("t", partitions(1).segment_bytes(4 << 10)).expect("a free name");
        let producer = broker.producer::<Raw, Raw>("t").expect("it exists");
        let lines = Lines::default();
        let ((), told) = lines.of(|| {
            for _ in 0..100 {
                producer.send(b"key", &[7; 100]).expect("sends");
            }
        });
        assert_eq!(told.len(), rolls, "{told:?}");
        assert!(told.iter().all(|line| line.starts_with("DEBUG a segment was begun")), "{told:?}");
        let (all, told) = lines.of(|| all_of(broker, "t"));
        assert_eq!((all.len(), told), (100, Vec::new()));
    }
}

#[test]
fn what_upkeep_removes_is_told() {
    let dir = temp_dir();
    for builder in [Broker::builder(), Broker::builder().data_dir(dir.path())] {
        let broker = in_need_of_upkeep(builder);
        let (done, told) = Lines::default().of(|| broker.run_housekeeping().expect("no fault"));
        let (deleted, compacted) = (done.deleted_records, done.compacted_records);
        assert_told(&told, &["DEBUG retention removed", "topic=r", &format!(" records={deleted} ")]);
        assert_told(&told, &["DEBUG a log was compacted", "topic=c", &format!(" records={compacted} ")]);
        assert_eq!(told.len(), 2, "{told:?}");
    }
}

#[test]
fn members_are_told_of_with_what_came_and_went() {
    on_both(|broker| {
        make(broker, "t", 2);
        let lines = Lines::default();
        let (mut first, told) = lines.of(|| member(broker));
        assert_told(&told, &["INFO partitions came", "group=g", "partitions=t-0, t-1"]);
        let (mut second, told) = lines.of(|| member(broker));
        assert_eq!(told, Vec::<String>::new());
        let ((), told) = lines.of(|| settle(broker, &mut [&mut first, &mut second]));
        let id = first.member_id().expect("a member");
        assert_told(&told, &["INFO partitions went", &format!("member_id={id}"), "partitions=t-"]);
        assert_told(&told, &["INFO partitions came", "group=g", "partitions=t-"]);
    });
}

#[test]
fn an_evicted_member_is_told_of() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    let mut member = builder(&broker).max_poll_interval(Duration::from_millis(1)).build().expect("builds");
    until("the member is evicted", || members_of(&broker) == 0);
    let (outcome, told) = Lines::default().of(|| member.poll(NOW));
    assert_fails!(outcome, ottla::Error::MemberEvicted { .. });
    assert_told(&told, &["WARN a member has lost", "group=g", "partitions=t-0"]);
}

#[test]
fn what_the_disk_refuses_is_told_once_and_when_it_is_over() {
    let storage = Faulty::default();
    let broker = Broker::builder().data_dir("/data").storage(storage.clone()).sync_interval(NEVER).open();
    let broker = broker.expect("opens");
    make(&broker, "t", 1);
    let producer = broker.producer::<(), String>("t").expect("it exists");
    let lines = Lines::default();
    storage.refuse(Operation::Write, "/t-0/", io::ErrorKind::StorageFull);
    let (outcome, told) = lines.of(|| producer.send((), "refused"));
    outcome.expect_err("the disk is full");
    assert_eq!(told.len(), 1);
    assert_told(&told, &["ERROR records could not be written", "topic=t", "partition=0", "error="]);
    storage.allow_all();
    producer.send((), "sent").expect("sends");

    storage.refuse(Operation::Sync, "/t-0/", io::ErrorKind::Other);
    let (outcome, told) = lines.of(|| producer.flush());
    outcome.expect_err("it cannot be synced, nor written again");
    assert_told(&told, &["ERROR a log could not be synced", "topic=t", "is_written_again=false"]);
    let (_, told) = lines.of(|| producer.flush());
    assert_eq!(told, Vec::<String>::new(), "told before");
    storage.allow_all();
    let (outcome, told) = lines.of(|| producer.flush());
    outcome.expect("it is written again");
    assert_told(&told, &["INFO a log takes records again", "topic=t", "partition=0"]);
    broker.close().expect("all is well");
}

/// What a subscriber does may be a send: no lock of a log is held while it is told.
#[test]
fn a_subscriber_may_use_the_broker() {
    struct Sends(Broker, Lines);

    impl Subscriber for Sends {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            self.1.enabled(metadata)
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            self.1.new_span(span)
        }

        fn record(&self, _span: &Id, _values: &Record<'_>) {}

        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

        fn event(&self, _event: &Event<'_>) {
            send_to(&self.0, 0, "an event");
            drop((self.0.stats(), self.0.groups()));
        }

        fn enter(&self, _span: &Id) {}

        fn exit(&self, _span: &Id) {}
    }

    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("opens");
    broker.create_topic("t", partitions(1).segment_bytes(4 << 10)).expect("a free name");
    let sends = Sends(broker.clone(), Lines::default());
    let told = watched("telling", move || {
        tracing::subscriber::with_default(sends, || {
            send_numbered(&broker, "t", 200);
            drop((member(&broker), member(&broker)));
            all_of(&broker, "t").len()
        })
    });
    assert!(told.wait() > 200);
}
