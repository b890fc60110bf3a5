//! Bytes are copied once, into the log, and read where they lie: counted by the allocator, and seen by
//! their addresses.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use ottla::{Broker, Codec, CodecError, Consumer, Producer, Raw, Record, Scratch, TopicConfig};

const NOW: Duration = Duration::ZERO;

// ---- counting ----

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count of the bytes that each thread allocated and freed.
struct Counting;

fn count(counter: &'static std::thread::LocalKey<Cell<u64>>, bytes: usize) {
    // Fails only while the thread ends, when nobody asks any more.
    counter.try_with(|counter| counter.set(counter.get() + bytes as u64)).unwrap_or_default();
}

// SAFETY: every call goes to `System` as it came; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED, layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED, layout.size());
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(&FREED, layout.size());
        count(&ALLOCATED, new_size);
        // SAFETY: the caller keeps to the contract of `realloc`, which is the same.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(&FREED, layout.size());
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many bytes this thread allocates during a call, whether it frees them or not.
fn allocated<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATED.get();
    let outcome = call();
    (outcome, ALLOCATED.get() - before)
}

/// How many bytes this thread holds that it did not hold when it began to count.
fn live() -> i64 {
    ALLOCATED.get().cast_signed() - FREED.get().cast_signed()
}

#[test]
fn the_count_counts() {
    let before = live();
    let (bytes, count) = allocated(|| vec![0u8; 10_000]);
    assert_eq!(count, 10_000);
    assert_eq!(live() - before, 10_000);
    drop(bytes);
    assert_eq!(live(), before);
    let (_, count) = allocated(|| (0..10_000u64).collect::<Vec<_>>().len() + vec![1u8; 5].len());
    assert_eq!(count, 80_005);
}

// ---- helpers ----

fn broker() -> Broker {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    broker
}

fn producer(broker: &Broker) -> Producer<Raw, Raw> {
    broker.producer("t").expect("it exists")
}

fn consumer(broker: &Broker, group: &str) -> Consumer<Raw, Raw> {
    broker.consumer().topic("t").group(group).build().expect("nobody is in the group")
}

/// The address of a record's value.
fn address(record: Record<'_, Raw, Raw>) -> *const u8 {
    record.value_bytes().expect("a value").as_ptr()
}

// ---- reading ----

#[test]
fn two_consumers_see_a_record_at_the_same_address() {
    let broker = broker();
    for number in 0..1_000u32 {
        producer(&broker).send(b"key", &number.to_be_bytes()).expect("sends");
    }
    let (mut first, mut second) = (consumer(&broker, "a"), consumer(&broker, "b"));
    let mut seen = 0;
    loop {
        let pair = [first.poll(NOW).expect("records"), second.poll(NOW).expect("records")];
        assert_eq!(pair[0].len(), pair[1].len());
        if pair[0].is_empty() {
            break;
        }
        for (one, other) in pair[0].iter().zip(&pair[1]) {
            assert_eq!(one.offset(), other.offset());
            assert_eq!(address(one), address(other));
            assert_eq!(one.key_bytes().map(<[u8]>::as_ptr), other.key_bytes().map(<[u8]>::as_ptr));
            seen += 1;
        }
    }
    assert_eq!(seen, 1_000);
}

#[test]
fn a_decoded_value_is_a_slice_of_the_log() {
    let broker = broker();
    producer(&broker).send(b"key", b"value").expect("sends");
    let mut consumer = broker.consumer::<String, String>().topic("t").build().expect("it exists");
    let records = consumer.poll(NOW).expect("a record");
    let record = records.iter().next().expect("a record");
    let (text, count) = allocated(|| record.value().expect("text"));
    assert_eq!(text.as_ptr(), record.value_bytes().expect("a value").as_ptr());
    assert_eq!(count, 0);
}

#[test]
fn values_are_8_byte_aligned_whatever_is_around_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = |path: &std::path::Path| Broker::open(path).expect("opens");
    let on_disk = open(dir.path());
    on_disk.create_topic("t", TopicConfig::new().segment_bytes(4096)).expect("a free name");
    let check = |broker: &Broker| {
        let mut consumer = consumer(broker, "g");
        let mut seen = 0;
        loop {
            let records = consumer.poll(NOW).expect("records");
            assert!(records.iter().all(|record| address(record).addr().is_multiple_of(8)));
            seen += records.len();
            if records.is_empty() {
                break;
            }
        }
        assert_eq!(seen, 320);
    };
    for broker in [&broker(), &on_disk] {
        let producer = producer(broker);
        for len in 0..160 {
            let (key, header) = (vec![1; len % 7], vec![2; len % 11]);
            producer.send(&key, &vec![0; len]).expect("sends");
            producer.record(&vec![0; 160 - len]).key(&key).header("name", &header).send().expect("sends");
        }
        check(broker);
    }
    drop(on_disk);
    check(&open(dir.path()));
}

#[test]
fn polling_allocates_less_than_a_hundredth_of_what_it_returns() {
    const RECORDS: usize = 10_000;
    const BYTES: usize = 10 << 10;
    let broker = broker();
    let value = vec![7; BYTES];
    let producer = producer(&broker);
    for _ in 0..RECORDS {
        producer.send(b"key", &value).expect("sends");
    }
    let mut consumer = consumer(&broker, "g");
    let mut seen = 0;
    let ((), count) = allocated(|| {
        loop {
            let records = consumer.poll(NOW).expect("records");
            if records.is_empty() {
                break;
            }
            for record in &records {
                seen += record.value().expect("bytes").len();
            }
        }
    });
    assert_eq!(seen, RECORDS * BYTES);
    assert!(count * 100 < (RECORDS * BYTES) as u64, "{count} bytes for {seen}");
}

#[test]
fn a_poll_that_finds_nothing_and_iterating_allocate_nothing() {
    let broker = broker();
    for _ in 0..100 {
        producer(&broker).record(b"value").key(b"key").header("name", "value").send().expect("sends");
    }
    let mut consumer = consumer(&broker, "g");
    let records = consumer.poll(NOW).expect("records");
    let (bytes, count) = allocated(|| {
        let headers = records.iter().flat_map(|record| record.headers());
        headers.map(|header| header.name.len() + header.value.map_or(0, <[u8]>::len)).sum::<usize>()
    });
    assert_eq!((bytes, count), (9 * records.len(), 0));
    while !consumer.poll(NOW).expect("records").is_empty() {}
    let (found, count) = allocated(|| consumer.poll(NOW).expect("nothing").len());
    assert_eq!((found, count), (0, 0));
}

#[test]
fn a_shared_record_stays_where_it_is() {
    let broker = broker();
    let value = vec![9; 100 << 10];
    producer(&broker).record(&value).key(b"key").header("name", &value).send().expect("sends");
    let mut consumer = consumer(&broker, "g");
    let records = consumer.poll(NOW).expect("a record");
    let record = records.iter().next().expect("a record");
    let (shared, count) = allocated(|| record.share());
    assert!(count < 2_000, "{count} bytes");
    let header = record.headers().next().expect("a header").value;
    let addresses = (
        record.value_bytes().map(<[u8]>::as_ptr),
        record.key_bytes().map(<[u8]>::as_ptr),
        header.map(<[u8]>::as_ptr),
    );
    drop(records);
    drop((consumer, broker));
    let found = |bytes: Option<&[u8]>| bytes.map(<[u8]>::as_ptr);
    let shared_header = shared.headers[0].1.as_deref();
    assert_eq!(
        (found(shared.value.as_deref()), found(shared.key.as_deref()), found(shared_header)),
        addresses
    );
    assert_eq!(shared.value.as_deref(), Some(&value[..]));
}

#[test]
fn a_copy_is_somewhere_else() {
    let broker = broker();
    producer(&broker).send(b"key", b"value").expect("sends");
    let mut consumer = consumer(&broker, "g");
    let records = consumer.poll(NOW).expect("a record");
    let record = records.iter().next().expect("a record");
    let copy = record.to_owned_record();
    assert_ne!(copy.value.as_deref().map(<[u8]>::as_ptr), record.value_bytes().map(<[u8]>::as_ptr));
}

// ---- sending ----

#[test]
fn a_large_value_is_copied_once() {
    let broker = broker();
    let producer = producer(&broker);
    let value = vec![3; 512 << 10];
    producer.send(b"key", &value).expect("sends");
    type Send = fn(&Producer<Raw, Raw>, &[u8]) -> usize;
    let ways: [(&str, Send); 3] = [
        ("send", |producer, value| {
            producer.send(b"key", value).expect("sends");
            1
        }),
        ("record", |producer, value| {
            producer.record(value).key(b"key").header("name", "v").send().expect("sends");
            1
        }),
        ("send_batch", |producer, value| producer.send_batch([(&b"key"[..], value)]).expect("sends").len()),
    ];
    for (name, send) in ways {
        let (sent, count) = allocated(|| send(&producer, &value));
        assert_eq!(sent, 1);
        assert!(count < 2 * value.len() as u64, "{name}: {count} bytes for {}", value.len());
    }
}

#[test]
fn a_small_send_into_a_log_at_its_bound_allocates_next_to_nothing() {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().memory_limit(1 << 20)).expect("a free name");
    let producer = producer(&broker);
    let send = || {
        for _ in 0..50_000 {
            producer.send(b"key", &[5; 100]).expect("sends");
        }
    };
    send();
    let ((), count) = allocated(send);
    assert!(count < 500_000, "{count} bytes for 50,000 records: memory is used again");

    let numbers = broker.producer::<u64, u128>("t").expect("it exists");
    let ((), count) = allocated(|| {
        for number in 0..50_000 {
            numbers.send(number, u128::MAX).expect("sends");
        }
    });
    assert!(count < 500_000, "{count} bytes for 50,000 records: small encodings are not allocated");
}

/// Text, which the codec has to write.
struct Shown;

impl Codec for Shown {
    type Input<'a> = u64;
    type View<'a> = u64;

    fn encode<'s, 'i: 's>(input: u64, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        use std::io::Write;
        write!(scratch, "{input:060000}").map_err(CodecError::new)?;
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<u64, CodecError> {
        String::decode(bytes)?.parse().map_err(CodecError::new)
    }
}

#[test]
fn what_a_codec_needed_is_not_kept() {
    let broker = broker();
    let producer = broker.producer::<(), Shown>("t").expect("it exists");
    let before = live();
    for number in 0..10 {
        producer.send((), number).expect("sends");
    }
    let held = live() - before;
    assert!(held < 10 * 60_000 * 3 / 2, "{held} bytes are held for 10 records of 60,000");
}

// ---- holding ----

#[test]
fn a_topic_in_memory_holds_no_more_than_its_limit() {
    let broker = Broker::in_memory();
    let before = live();
    broker
        .create_topic("t", TopicConfig::new().partitions(2).memory_limit(4 << 20).max_batch_bytes(64 << 20))
        .expect("a free name");
    let producer = producer(&broker);
    for number in 0..40_000u32 {
        producer.record(&[1; 1_000]).partition(number % 2).send().expect("sends");
        let held = live() - before;
        // Beside the limit, some memory waits in each partition to be used again.
        assert!(held < 8 << 20, "{held} bytes");
    }
    let batch = vec![2; 1_000_000];
    for len in 10..20 {
        producer.send_batch(std::iter::repeat_n((&b"key"[..], &batch[..]), len)).expect("sends");
    }
    for number in 0..20_000u32 {
        producer.record(&[1; 1_000]).partition(number % 2).send().expect("sends");
    }
    let held = live() - before;
    assert!(held < (8 << 20) + batch.len() as i64, "{held} bytes, after batches larger than the limit");
    broker.delete_topic("t").expect("it exists");
    drop((producer, batch));
    let held = live() - before;
    assert!(held < 10_000, "{held} bytes are left of a deleted topic");
}

#[test]
fn a_log_on_disk_holds_its_end_only() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    let before = live();
    // What another thread frees is not counted: the syncs are left to this one.
    let config = TopicConfig::new().sync_interval(Duration::from_secs(3_600));
    broker.create_topic("t", config).expect("a free name");
    let producer = producer(&broker);
    for _ in 0..200 {
        producer.send(b"key", &[1; 100_000]).expect("sends");
    }
    // What is not synced is kept, to be written again if its sync fails.
    producer.flush().expect("syncs");
    let held = live() - before;
    assert!(held < 4 << 20, "{held} bytes for 20,000,000 on disk");
}

#[test]
fn polled_records_keep_their_own_memory_and_not_the_topic() {
    let broker = broker();
    let before = live();
    let producer = producer(&broker);
    for _ in 0..10_000 {
        producer.send(b"key", &[1; 1_000]).expect("sends");
    }
    let mut consumer = consumer(&broker, "g");
    let records = consumer.poll(NOW).expect("records");
    assert!(!records.is_empty());
    drop((consumer, producer));
    broker.delete_topic("t").expect("it exists");
    let held = live() - before;
    assert!(held < 1 << 20, "{held} bytes are held for {} records of 1,000", records.len());
    assert!(records.iter().all(|record| record.value_bytes() == Some(&[1; 1_000][..])));
}
