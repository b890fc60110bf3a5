//! What every public type promises beside its methods: whether it can be sent to and shared between threads,
//! and that its `Debug` shows nothing of what is in the records.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::rc::Rc;

use ottla::storage::{self, MemoryStorage};
use ottla::*;

use crate::support::*;

// ---- Send, Sync, Unpin, 'static ----

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}
fn is_unpin<T: Unpin>() {}
fn is_clone<T: Clone>() {}
fn is_copy<T: Copy>() {}
fn is_error<T: StdError + Send + Sync + 'static>() {}

/// Can go anywhere, and be used by several threads at once.
fn is_shared<T: Send + Sync + Unpin>() {}

/// A codec of which values could not be sent; there are none.
struct Local(#[expect(dead_code, reason = "only its type counts")] *const u8);

impl Codec for Local {
    type Input<'a> = Rc<str>;
    type View<'a> = Rc<str>;

    fn encode<'s, 'i: 's>(input: Rc<str>, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        scratch.extend_from_slice(input.as_bytes());
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<Rc<str>, CodecError> {
        String::decode(bytes).map(Into::into)
    }
}

/// It is the compiler that tests this.
#[test]
fn handles_and_records_go_where_they_are_documented_to_go_whatever_their_codecs() {
    fn is_static<T: 'static>() {}
    is_shared::<Broker>();
    is_clone::<Broker>();
    is_shared::<Producer<Local, Local>>();
    is_clone::<Producer<Local, Local>>();
    is_static::<Producer<Local, Local>>();
    is_shared::<Consumer<Local, Local>>();
    is_static::<Consumer<Local, Local>>();
    is_shared::<Records<Local, Local>>();
    is_static::<Records<Local, Local>>();
    is_shared::<RecordsIter<'_, Local, Local>>();
    is_shared::<Record<'_, Local, Local>>();
    is_copy::<Record<'_, Local, Local>>();
    is_shared::<OwnedRecord>();
    is_clone::<OwnedRecord>();
    is_shared::<Delivery>();
    is_static::<Delivery>();
    is_shared::<CommitFuture>();
    is_static::<CommitFuture>();
    is_shared::<SendFuture>();
    is_static::<SendFuture>();
    is_shared::<Headers<'_>>();
    is_shared::<Header<'_>>();
    is_copy::<Header<'_>>();
    is_static::<OwnedRecord>();
    is_shared::<Table<Local, Local>>();
    is_clone::<Table<Local, Local>>();
    is_static::<Table<Local, Local>>();
    is_shared::<TableRow<Local, Local>>();
    is_clone::<TableRow<Local, Local>>();
    is_static::<TableRow<Local, Local>>();
    is_shared::<TableIter<Local, Local>>();
    is_shared::<Changes<Local, Local>>();
    is_static::<Changes<Local, Local>>();
    is_shared::<Change<Local, Local>>();
    is_clone::<Change<Local, Local>>();
}

#[test]
fn builders_can_be_sent() {
    is_send::<BrokerBuilder>();
    is_send::<ProducerBuilder<Local, Local>>();
    is_send::<ConsumerBuilder<Local, Local>>();
    // What is in it decides.
    is_send::<RecordBuilder<'_, String, u64>>();
    is_unpin::<RecordBuilder<'_, String, u64>>();
}

#[test]
fn errors_fit_into_any_error_type() {
    is_error::<Error>();
    is_error::<DecodeError>();
    is_error::<CodecError>();
    is_unpin::<Error>();
    fn into_any() -> Result<(), Box<dyn StdError + Send + Sync>> {
        Err(Error::Closed)?
    }
    assert!(into_any().is_err());
}

#[test]
fn settings_and_descriptions_can_be_shared() {
    is_shared::<TopicConfig>();
    is_shared::<Durability>();
    is_shared::<Start>();
    is_shared::<OutOfRange>();
    is_shared::<TopicDescription>();
    is_shared::<PartitionDescription>();
    is_shared::<RecoveryReport>();
    is_shared::<TornTail>();
    is_shared::<LoweredCommit>();
    is_shared::<RecordMetadata>();
    is_shared::<TopicPartition>();
    is_shared::<Timestamp>();
    is_shared::<RecordPart>();
    is_shared::<Scratch>();
    is_shared::<PartitionerInput<'_>>();
    is_shared::<KeyHash>();
    is_shared::<Sticky>();
    is_shared::<RoundRobin>();
    is_shared::<ManualClock>();
    is_shared::<MemoryStorage>();
    is_shared::<storage::Disk>();
    is_send::<Box<dyn Partitioner>>();
    is_sync::<Box<dyn Partitioner>>();
    is_send::<Box<dyn Clock>>();
    is_sync::<Box<dyn Clock>>();
    is_send::<Box<dyn storage::Storage>>();
    is_sync::<Box<dyn storage::Storage>>();
}

// ---- Debug ----

const SECRET: &str = "swordfish";

/// `shown` has the secret neither as text nor as a list of bytes.
fn check_shown(what: &str, shown: &str) {
    let decimal = format!("{:?}", &SECRET.as_bytes()[..3]);
    let lower_hex = format!("{:x?}", &SECRET.as_bytes()[..3]);
    for secret in [&SECRET[..3], decimal.trim_matches(['[', ']']), lower_hex.trim_matches(['[', ']'])] {
        assert!(!shown.contains(secret), "{what} shows a payload ({secret}): {shown}");
    }
}

fn check_debug(value: &impl Debug) {
    let name = std::any::type_name_of_val(value);
    check_shown(name, &format!("{value:?}"));
    check_shown(name, &format!("{value:#?}").split_whitespace().collect::<Vec<_>>().join(" "));
    check_shown(name, &format!("{value:x?}"));
}

fn check_consumer(broker: &Broker) {
    let builder = broker.consumer::<String, String>().topic("t").group("g");
    check_debug(&builder);
    let mut consumer = builder.build().expect("it exists");
    let records = consumer.poll(NOW).expect("records");
    consumer.commit(&records).expect("commits");
    check_debug(&consumer);
    check_debug(&records);
    check_debug(&records.into_iter());
    let mut found = 0;
    let mut iter = records.iter();
    while let Some(record) = iter.next() {
        found += 1;
        check_debug(&iter);
        check_debug(&record);
        check_debug(&record.headers());
        record.headers().for_each(|header| check_debug(&header));
        check_debug(&record.to_owned());
        check_debug(&record.share());
    }
    assert_eq!(found, 2, "there was something to show");
    let mut numbers = broker.consumer::<u64, u64>().topic("t").build().expect("it exists");
    let records = numbers.poll(NOW).expect("records");
    for record in &records {
        check_debug(&record.value().expect_err("no number"));
        check_debug(&Error::from(record.key().expect_err("no number")));
    }
}

fn check_table(broker: &Broker) {
    let table = broker.table::<String, String>("t").expect("readable");
    let mut changes = table.changes().expect("open");
    check_debug(&changes.next_async());
    check_debug(&changes.stream());
    broker.producer::<String, String>("t").expect("it exists").send(SECRET, SECRET).expect("sends");
    check_debug(&changes.next(NOW).expect("readable").expect("one was sent"));
    check_debug(&table.get(SECRET).expect("readable").expect("it was sent"));
    check_debug(&table.iter().expect("readable"));
    check_debug(&table);
    check_debug(&changes);
}

fn check_producer(broker: &Broker) {
    let builder = broker.producer_builder::<String, String>("t").partitioner(Looks);
    check_debug(&builder);
    let producer = builder.build().expect("it exists");
    let record = producer.record(SECRET).key(SECRET).header("name", SECRET);
    check_debug(&record);
    check_debug(&record.send().expect("sends"));
    check_debug(&producer.send_batch([(SECRET, SECRET)]).expect("sends"));
    check_debug(&producer.send(SECRET, &SECRET.repeat(1_000)).expect_err("too large"));
    check_debug(&producer);
}

/// Shows what it is shown.
#[derive(Debug)]
struct Looks;

impl Partitioner for Looks {
    fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
        check_debug(record);
        0
    }
}

#[test]
fn debug_shows_no_payload() {
    let storage = MemoryStorage::default();
    let broker = Broker::builder().data_dir("/data").storage(storage.clone()).open().expect("a fresh one");
    for broker in [broker, Broker::in_memory()] {
        broker.create_topic("t", TopicConfig::new().max_record_bytes(1_000)).expect("a free name");
        check_producer(&broker);
        check_consumer(&broker);
        check_table(&broker);
        check_debug(&broker);
        check_debug(&broker.describe_topic("t").expect("it exists"));
        check_debug(&broker.committed_offsets("g"));
        check_debug(broker.recovery_report());
    }
    check_debug(&storage);
    check_debug(&Broker::builder().storage(storage.clone()));
    let mut scratch = Scratch::new();
    for _ in 0..4 {
        scratch.extend_from_slice(SECRET.as_bytes());
        check_debug(&scratch);
    }
}
