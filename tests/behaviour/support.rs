//! Helpers of all areas: brokers in memory and on disk, reading everything there is, threads that must
//! not hang, and a small random number generator whose seed is printed when a test fails.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{
    Broker, BrokerBuilder, Codec, Consumer, ConsumerBuilder, GroupState, ManualClock, OwnedRecord, Raw,
    Record, Records, Result, Timestamp, TopicConfig, TopicPartition,
};
use tempfile::TempDir;

/// For a poll that only a wake-up can end.
pub(crate) const FOREVER: Duration = Duration::MAX;
/// For a poll that takes what is there.
pub(crate) const NOW: Duration = Duration::ZERO;
/// A time limit that is soon over.
pub(crate) const SOON: Duration = Duration::from_millis(1);
/// How long [`Watched::wait`] gives a call that should return at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// The outcome is this error.
macro_rules! assert_fails {
    ($outcome:expr, $pattern:pat $(if $guard:expr)?) => {
        match $outcome {
            Err($pattern) $(if $guard)? => {}
            other => panic!("expected {}, found {other:?}", stringify!($pattern)),
        }
    };
}

/// Says on which of several passes a test failed.
pub(crate) struct Pass<T: std::fmt::Display>(pub(crate) T);

impl<T: std::fmt::Display> Drop for Pass<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was {}", self.0);
        }
    }
}

/// Runs a test with a broker in memory, then with one in a directory.
pub(crate) fn on_both(test: impl Fn(&Broker)) {
    {
        let _pass = Pass("in memory");
        test(&Broker::in_memory());
    }
    let dir = temp_dir();
    let _pass = Pass("on disk");
    test(&Broker::open(dir.path()).expect("a fresh directory"));
}

/// Runs a test with a directory on disk, then with one in [`MemoryStorage`].
pub(crate) fn on_kept(test: impl Fn(&Kept)) {
    {
        let _pass = Pass("on disk");
        test(&Kept::Disk(temp_dir()));
    }
    let _pass = Pass("in memory storage");
    test(&Kept::Files(MemoryStorage::default()));
}

/// A place in which one broker after another can be opened.
pub(crate) enum Kept {
    Disk(TempDir),
    Files(MemoryStorage),
}

impl Kept {
    pub(crate) fn builder(&self) -> BrokerBuilder {
        match self {
            Self::Disk(dir) => Broker::builder().data_dir(dir.path()),
            Self::Files(storage) => Broker::builder().data_dir("/data").storage(storage.clone()),
        }
    }

    pub(crate) fn open(&self) -> Broker {
        self.builder().open().expect("no other owner, and nothing damaged")
    }

    /// Closes the broker and opens another.
    pub(crate) fn open_after(&self, broker: &Broker) -> Broker {
        broker.close().expect("all is well");
        self.open()
    }
}

pub(crate) fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The names of the files in a directory, sorted.
pub(crate) fn files_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a readable directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

pub(crate) fn partitions(count: u32) -> TopicConfig {
    TopicConfig::new().partitions(count)
}

/// A broker's topic with some records, sent to partition 0 as `value-0`, `value-1`, ...
pub(crate) fn send_numbered(broker: &Broker, topic: &str, count: usize) {
    let producer = broker.producer::<(), String>(topic).expect("the topic exists");
    for number in 0..count {
        producer.record(&format!("value-{number}")).partition(0).send().expect("a valid record");
    }
}

/// Sends a value to a partition of topic `t`.
pub(crate) fn send_to(broker: &Broker, partition: u32, value: &str) {
    let producer = broker.producer::<(), String>("t").expect("it exists");
    producer.record(value).partition(partition).send().expect("sends");
}

/// One record in each partition of topic `t`, named after it.
pub(crate) fn send_to_each(broker: &Broker) {
    let count = broker.describe_topic("t").expect("it exists").partitions.len() as u32;
    (0..count).for_each(|partition| send_to(broker, partition, &format!("p{partition}")));
}

/// Polls and commits until there is nothing more.
pub(crate) fn work_off(consumer: &mut Consumer<(), String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(NOW).expect("readable");
        if records.is_empty() {
            return all;
        }
        all.extend(polled(&records).into_iter().map(str::to_owned));
        consumer.commit(&records).expect("commits");
    }
}

/// The values that [`send_numbered`] sends.
pub(crate) fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("value-{number}")).collect()
}

/// A consumer of bytes, of all partitions of one topic, without a group.
pub(crate) fn reader(broker: &Broker, topic: &str) -> Consumer<Raw, Raw> {
    broker.consumer().topic(topic).build().expect("the topic exists")
}

/// Polls until there is nothing more, as copies.
pub(crate) fn drain<K: Codec, V: Codec>(consumer: &mut Consumer<K, V>) -> Vec<OwnedRecord> {
    try_drain(consumer).expect("a readable log")
}

/// Polls until there is nothing more, or an error.
pub(crate) fn try_drain<K: Codec, V: Codec>(consumer: &mut Consumer<K, V>) -> Result<Vec<OwnedRecord>> {
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(NOW)?;
        if records.is_empty() {
            return Ok(all);
        }
        all.extend(records.iter().map(Record::to_owned_record));
    }
}

/// Everything that a topic holds.
pub(crate) fn all_of(broker: &Broker, topic: &str) -> Vec<OwnedRecord> {
    drain(&mut reader(broker, topic))
}

/// The value of a record as text.
pub(crate) fn text(record: &OwnedRecord) -> String {
    String::from_utf8(record.value.as_deref().expect("not null").to_vec()).expect("text")
}

pub(crate) fn texts(records: &[OwnedRecord]) -> Vec<String> {
    records.iter().map(text).collect()
}

pub(crate) fn offsets(records: &[OwnedRecord]) -> Vec<u64> {
    records.iter().map(|record| record.offset).collect()
}

/// Offsets and values, by partition.
pub(crate) fn by_partition(records: &[OwnedRecord]) -> BTreeMap<u32, Vec<(u64, String)>> {
    let mut partitions: BTreeMap<u32, Vec<(u64, String)>> = BTreeMap::new();
    for record in records {
        partitions.entry(record.partition.partition).or_default().push((record.offset, text(record)));
    }
    partitions
}

/// The texts of a poll of strings.
pub(crate) fn polled<K: Codec>(records: &Records<K, String>) -> Vec<&str> {
    records.iter().map(|record| record.value().expect("text")).collect()
}

/// The offsets that a group has committed.
pub(crate) fn committed(broker: &Broker, group: &str) -> BTreeMap<TopicPartition, u64> {
    let all = broker.committed_offsets(group).into_iter();
    all.map(|(partition, committed)| (partition, committed.offset)).collect()
}

/// The offset that a consumer's group has committed for one partition.
pub(crate) fn committed_at<K: Codec, V: Codec>(
    consumer: &Consumer<K, V>,
    topic: &str,
    partition: u32,
) -> Option<u64> {
    consumer.committed(topic, partition).expect("assigned").map(|committed| committed.offset)
}

/// Makes a topic.
pub(crate) fn make(broker: &Broker, topic: &str, count: u32) {
    broker.create_topic(topic, partitions(count)).expect("a free name");
}

/// A consumer of topic `t` in group `g`, to be built.
pub(crate) fn builder(broker: &Broker) -> ConsumerBuilder<(), String> {
    broker.consumer().topic("t").group("g")
}

/// A member of group `g` that reads topic `t`.
pub(crate) fn member(broker: &Broker) -> Consumer<(), String> {
    builder(broker).build().expect("builds")
}

/// The partitions that a consumer has, sorted.
pub(crate) fn assigned(consumer: &Consumer<(), String>) -> Vec<String> {
    let mut all: Vec<String> = consumer.assignment().iter().map(ToString::to_string).collect();
    all.sort();
    all
}

/// Lets members of the group `g` poll until each has what is meant for it.
pub(crate) fn settle(broker: &Broker, members: &mut [&mut Consumer<(), String>]) {
    for _ in 0..10 {
        for member in &mut *members {
            drop(member.poll(NOW).expect("polls"));
        }
        if broker.describe_group("g").expect("it has members").state == GroupState::Stable {
            return;
        }
    }
    panic!("not settled: {:?}", broker.describe_group("g"));
}

/// How many members the group `g` has.
pub(crate) fn members_of(broker: &Broker) -> usize {
    broker.describe_group("g").map_or(0, |group| group.members.len())
}

/// Waits for something that others do.
pub(crate) fn until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if reached() {
            return;
        }
        thread::sleep(SOON);
    }
    panic!("{what} was never so");
}

/// How many records the topic holds, over all partitions.
pub(crate) fn held(broker: &Broker, topic: &str) -> u64 {
    let description = broker.describe_topic(topic).expect("the topic exists");
    description.partitions.iter().map(|partition| partition.end_offset - partition.start_offset).sum()
}

/// A call on another thread. If it never returns, the test fails rather than hangs.
pub(crate) struct Watched<T> {
    what: &'static str,
    outcome: mpsc::Receiver<T>,
}

/// Starts a call on another thread.
pub(crate) fn watched<T: Send + 'static>(
    what: &'static str,
    call: impl FnOnce() -> T + Send + 'static,
) -> Watched<T> {
    let (sender, outcome) = mpsc::channel();
    thread::spawn(move || sender.send(call()));
    Watched { what, outcome }
}

impl<T> Watched<T> {
    /// What the call returned.
    pub(crate) fn wait(self) -> T {
        let outcome = self.outcome.recv_timeout(PATIENCE);
        outcome.unwrap_or_else(|error| panic!("{} did not return: {error}", self.what))
    }
}

/// Gives a thread that was just started the time to fall asleep. No outcome depends on it, only whether the
/// sleep is tested too.
pub(crate) fn let_it_sleep() {
    thread::sleep(Duration::from_millis(20));
}

/// Runs a randomised test with some fixed seeds and a new one.
pub(crate) fn with_seeds(test: impl Fn(&mut Rng)) {
    let fresh = RandomState::new().build_hasher().finish();
    for seed in [1, 2, fresh] {
        let _pass = Pass(format!("with seed {seed:#x}"));
        test(&mut Rng(seed));
    }
}

/// `SplitMix64`.
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unparker(thread::Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future or a stream once, with a waker that does nothing.
pub(crate) fn once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

/// A time of the test's own.
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)))
}

/// A broker that does nothing in the background.
pub(crate) fn by_hand(builder: BrokerBuilder, clock: &Arc<ManualClock>) -> Broker {
    let builder = builder.clock(Arc::clone(clock)).housekeeping_interval(Duration::MAX);
    builder.open().expect("no other owner, and nothing damaged")
}

/// As [`on_both`], with a clock, and nothing done in the background.
pub(crate) fn on_each(test: impl Fn(&Broker, &ManualClock)) {
    {
        let (_pass, clock) = (Pass("in memory"), clock());
        test(&by_hand(Broker::builder(), &clock), &clock);
    }
    let (dir, clock) = (temp_dir(), clock());
    let _pass = Pass("on disk");
    test(&by_hand(Broker::builder().data_dir(dir.path()), &clock), &clock);
}
