//! Kafka's property names for producers and consumers: each is translated, accepted or refused by name.

use ottla::{Broker, Consumer, Error, Result};

use crate::support::*;

/// Names that are about a network, or about what nobody is shown, whatever the client.
const MEANINGLESS: [&str; 25] = [
    "bootstrap.servers",
    "client.dns.lookup",
    "connections.max.idle.ms",
    "metadata.max.age.ms",
    "metadata.max.idle.ms",
    "metadata.recovery.strategy",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "auto.include.jmx.reporter",
    "receive.buffer.bytes",
    "send.buffer.bytes",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
    "request.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "security.protocol",
    "security.providers",
    "ssl.truststore.location",
    "sasl.mechanism",
    "sasl.jaas.config",
];

/// The outcome is the refusal of this property, with a reason.
fn assert_refused<T>(outcome: Result<T>, name: &str, value: &str) -> String {
    match outcome {
        Err(Error::InvalidProperty { name: found, value: given, reason }) => {
            assert_eq!((found.as_str(), given.as_str()), (name, value));
            assert!(reason.len() > 10, "{name}: {reason}");
            reason
        }
        Err(other) => panic!("{name} = {value} led to {other}"),
        Ok(_) => panic!("{name} = {value} was accepted"),
    }
}

fn producer(name: &str, value: &str) -> Result<()> {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(3))?;
    broker.producer_from_kafka_properties::<String, String>("t", [(name, value)])?.build().map(drop)
}

/// The partitions that records with one key, or without, go to.
fn chosen(properties: &[(&str, &str)], key: Option<&str>, count: usize) -> Vec<u32> {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(3)).expect("a free name");
    let builder = broker.producer_from_kafka_properties::<Option<String>, String>("t", properties.to_vec());
    let producer = builder.expect("translated").build().expect("it exists");
    let send = |_| producer.send(key, "v").expect("in memory").partition;
    (0..count).map(send).collect()
}

#[test]
fn a_producers_partitioner_is_translated() {
    let round_robin = [("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner")];
    assert_eq!(chosen(&round_robin, Some("alice"), 6), [0, 1, 2, 0, 1, 2]);
    let by_key = chosen(&[("acks", "all")], Some("alice"), 6);
    assert!(by_key.iter().all(|partition| *partition == by_key[0]));
    let ignored = [("partitioner.ignore.keys", "true"), ("batch.size", "0")];
    let visited = chosen(&ignored, Some("alice"), 6);
    assert!((0..3).all(|partition| visited.contains(&partition)), "{visited:?}");
    let large = chosen(&[("batch.size", "1000000")], None, 600);
    assert!(large.iter().all(|partition| *partition == large[0]));
    let small = chosen(&[("batch.size", "100")], None, 600);
    assert!((0..3).all(|partition| small.contains(&partition)));
}

#[test]
fn what_a_producer_does_anyway_is_accepted_and_other_values_are_refused() {
    for (name, values, other) in [
        ("acks", &["all", "-1", "1"][..], "0"),
        ("enable.idempotence", &["true", "false"], "perhaps"),
        ("retries", &["0"], "2147483647"),
        ("linger.ms", &["0"], "5"),
        ("compression.type", &["none"], "zstd"),
        ("partitioner.class", &[""], "com.example.Mine"),
        ("partitioner.ignore.keys", &["false"], "no"),
        ("partitioner.adaptive.partitioning.enable", &["false"], "true"),
        ("partitioner.availability.timeout.ms", &["0"], "10"),
        ("interceptor.classes", &[""], "com.example.Mine"),
        ("client.id", &[""], "me"),
        ("enable.metrics.push", &["false"], "true"),
        ("batch.size", &["16384"], "-1"),
    ] {
        for value in values {
            producer(name, value).expect(name);
        }
        assert_refused(producer(name, other), name, other);
    }
}

#[test]
fn what_has_no_meaning_for_a_producer_is_refused_by_name() {
    let own = [
        "buffer.memory",
        "max.block.ms",
        "delivery.timeout.ms",
        "max.request.size",
        "max.in.flight.requests.per.connection",
        "transactional.id",
        "transaction.timeout.ms",
        "compression.zstd.level",
        "key.serializer",
        "value.serializer",
    ];
    for name in own.into_iter().chain(MEANINGLESS) {
        assert_refused(producer(name, "1"), name, "1");
    }
    let reason = assert_refused(producer("ackss", "all"), "ackss", "all");
    assert!(reason.contains("acks"), "{reason}");
}

fn consumer(name: &str, value: &str) -> Result<()> {
    consumer_with(&[(name, value)]).map(drop)
}

fn consumer_with(properties: &[(&str, &str)]) -> Result<(Broker, Consumer<(), String>)> {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(1))?;
    send_numbered(&broker, "t", 10);
    let builder = broker.consumer_from_kafka_properties::<(), String>(properties.to_vec())?;
    let consumer = builder.topic("t").build()?;
    Ok((broker, consumer))
}

#[test]
fn a_consumers_settings_are_translated() {
    let polled = |properties: &[(&str, &str)]| {
        let (_broker, mut consumer) = consumer_with(properties).expect("translated");
        consumer.poll(NOW).expect("readable").len()
    };
    assert_eq!(polled(&[("max.poll.records", "3")]), 3);
    assert_eq!(polled(&[("fetch.max.bytes", "1")]), 1);
    assert_eq!(polled(&[("auto.offset.reset", "latest")]), 0);
    assert_eq!(polled(&[("auto.offset.reset", "latest"), ("auto.offset.reset", "earliest")]), 10);
    assert_eq!(polled(&[("fetch.min.bytes", "100000")]), 10, "poll(0) takes what there is");
    let (_broker, mut gone) = consumer_with(&[("auto.offset.reset", "earliest")]).expect("translated");
    gone.seek("t", 0, 100).expect("assigned");
    assert_eq!(gone.poll(NOW).expect("it is reset").len(), 10);
    let none = [("auto.offset.reset", "none"), ("group.id", "g")];
    assert_fails!(consumer_with(&none).map(drop), Error::NoCommittedOffset { .. });
    assert_fails!(consumer_with(&[("enable.auto.commit", "true")]).map(drop), Error::NoGroup);

    let by_itself = [("enable.auto.commit", "true"), ("group.id", "g")];
    let (broker, mut consumer) = consumer_with(&by_itself).expect("translated");
    drop(consumer.poll(NOW).expect("readable"));
    consumer.close().expect("commits");
    assert_eq!(broker.committed_offsets("g").len(), 1);
}

#[test]
fn a_members_settings_are_translated() {
    let class = "org.apache.kafka.clients.consumer.";
    for (name, value, assignor) in [
        ("partition.assignment.strategy", "RoundRobinAssignor", "roundrobin"),
        ("partition.assignment.strategy", &format!("{class}CooperativeStickyAssignor"), "sticky"),
        ("partition.assignment.strategy", &format!("{class}RangeAssignor, {class}StickyAssignor"), "range"),
        ("group.remote.assignor", "uniform", "sticky"),
        ("group.remote.assignor", "range", "range"),
    ] {
        let (broker, _member) = consumer_with(&[("group.id", "g"), (name, value)]).expect("translated");
        assert_eq!(broker.describe_group("g").expect("a member").assignor, assignor);
        assert_refused(consumer(name, "com.example.Mine"), name, "com.example.Mine");
    }
    let properties = [("group.id", "g"), ("group.instance.id", "i"), ("session.timeout.ms", "3600000")];
    let (broker, member) = consumer_with(&properties).expect("translated");
    drop(member);
    let group = broker.describe_group("g").expect("it is waited for");
    assert_eq!(group.members[0].instance_id.as_deref(), Some("i"));
    let properties = [("group.id", "g"), ("max.poll.interval.ms", "1")];
    let (broker, mut member) = consumer_with(&properties).expect("translated");
    while broker.describe_group("g").is_ok() {
        std::thread::yield_now();
    }
    assert_fails!(member.poll(NOW), Error::MemberEvicted { .. });
}

#[test]
fn what_a_consumer_does_anyway_is_accepted_and_other_values_are_refused() {
    for (name, values, other) in [
        ("check.crcs", &["true"][..], "false"),
        ("isolation.level", &["read_uncommitted"], "read_committed"),
        ("allow.auto.create.topics", &["false"], "true"),
        ("exclude.internal.topics", &["true"], "false"),
        ("auto.commit.interval.ms", &["0"], "5000"),
        ("enable.auto.commit", &["false"], "sometimes"),
        ("auto.offset.reset", &["earliest", "latest"], "by_duration:PT1H"),
        ("group.id", &["", "g"], ""),
        ("group.instance.id", &[""], ""),
        ("session.timeout.ms", &["45000"], "0"),
        ("group.protocol", &["classic", "consumer"], "eager"),
        ("fetch.min.bytes", &["0", "1", "2"], "many"),
        ("max.poll.records", &["500"], "0"),
        ("fetch.max.bytes", &["52428800"], "0"),
        ("client.id", &[""], "me"),
        ("client.rack", &[""], "here"),
        ("interceptor.classes", &[""], "com.example.Mine"),
    ] {
        for value in values {
            consumer(name, value).expect(name);
        }
        if !values.contains(&other) {
            assert_refused(consumer(name, other), name, other);
        }
    }
}

#[test]
fn what_has_no_meaning_for_a_consumer_is_refused_by_name() {
    let own = [
        "heartbeat.interval.ms",
        "fetch.max.wait.ms",
        "max.partition.fetch.bytes",
        "default.api.timeout.ms",
        "share.acknowledgement.mode",
        "share.acquire.mode",
        "key.deserializer",
        "value.deserializer",
    ];
    for name in own.into_iter().chain(MEANINGLESS) {
        assert_refused(consumer(name, "1"), name, "1");
    }
    let reason = assert_refused(consumer("max.pol.records", "1"), "max.pol.records", "1");
    assert!(reason.contains("max.poll.records"), "{reason}");
}
