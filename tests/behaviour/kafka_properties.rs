//! Kafka's property names: each is translated, accepted or refused by name, and none is ignored.

use std::time::Duration;

use ottla::{Broker, Compaction, Durability, Error, Retention, TopicConfig};

const NEVER: &str = "9223372036854775807";

fn of(name: &str, value: &str) -> ottla::Result<TopicConfig> {
    TopicConfig::from_kafka_properties([(name, value)])
}

/// The reason why a property is refused.
fn refusal(name: &str, value: &str) -> String {
    let refused = of(name, value).map(|config| format!("{config:?}"));
    let shown = refused.as_ref().expect_err(name).to_string();
    assert!(shown.contains(&format!("{name:?} = {value:?}")), "{shown}");
    match refused {
        Err(Error::InvalidProperty { name: found, value: given, reason }) => {
            assert_eq!((found.as_str(), given.as_str()), (name, value));
            reason
        }
        other => panic!("{name} = {value} led to {other:?}"),
    }
}

#[test]
fn what_kafka_says_is_translated() {
    let new = TopicConfig::new;
    for (name, value, expected) in [
        ("num.partitions", "12", new().partitions(12)),
        ("segment.bytes", "1048576", new().segment_bytes(1 << 20)),
        ("max.message.bytes", "5000", new().max_batch_bytes(5_000).max_record_bytes(5_000)),
        ("max.message.bytes", "536870912", new().max_batch_bytes(512 << 20).max_record_bytes(256 << 20)),
        ("flush.messages", "1", new().durability(Durability::PowerLoss)),
        ("flush.ms", "1000", new().sync_interval(Duration::from_secs(1))),
        (" flush.ms ", " 7 ", new().sync_interval(Duration::from_millis(7))),
        ("retention.ms", "604800000", new().retention(Retention::days(7))),
        ("retention.ms", "-1", new().retention(Retention::forever())),
        ("retention.bytes", "-1", new().retention(Retention::forever())),
        ("segment.ms", "3600000", new().segment_age(Duration::from_secs(3_600))),
        ("cleanup.policy", "delete", new().compaction(None)),
        ("cleanup.policy", "", new().compaction(None).retention(Retention::forever())),
        ("cleanup.policy", "compact", new().compaction(Compaction::by_key()).retention(Retention::forever())),
        ("cleanup.policy", "compact,delete", new().compaction(Compaction::by_key())),
        ("cleanup.policy", "delete, compact", new().compaction(Compaction::by_key())),
    ] {
        assert_eq!(of(name, value).expect(name), expected, "{name}");
    }
}

#[test]
fn retention_bytes_are_for_each_partition_whatever_the_order() {
    let properties = [("retention.bytes", "1000"), ("num.partitions", "6"), ("retention.ms", "5000")];
    let named = Retention::forever().max_bytes(6_000).max_age(Duration::from_secs(5));
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let config = TopicConfig::from_kafka_properties(order.map(|at| properties[at])).expect("valid");
        let broker = Broker::in_memory();
        broker.create_topic("t", config.clone()).expect("in range");
        broker.open_topic("t", config).expect("it agrees with itself");
        broker.open_topic("t", TopicConfig::new().partitions(6).retention(named.clone())).expect("the same");
    }
}

#[test]
fn how_to_compact_is_translated_where_it_counts_and_else_refused() {
    let how = [
        ("min.compaction.lag.ms", "1000"),
        ("max.compaction.lag.ms", "60000"),
        ("min.cleanable.dirty.ratio", "0.25"),
        ("delete.retention.ms", "7000"),
    ];
    let compaction = Compaction::by_key().min_lag(Duration::from_secs(1)).max_lag(Duration::from_secs(60));
    let compaction = compaction.min_dirty_percent(25).delete_retention(Duration::from_secs(7));
    let properties = how.into_iter().chain([("cleanup.policy", "compact,delete")]);
    let config = TopicConfig::from_kafka_properties(properties).expect("valid");
    assert_eq!(config, TopicConfig::new().compaction(compaction));
    for (name, value) in how {
        assert!(refusal(name, value).contains("compact"));
    }
    let kept = TopicConfig::from_kafka_properties([("cleanup.policy", "compact"), ("retention.ms", "5000")]);
    assert!(kept.expect_err("it would not count").to_string().contains("delete"));
    let kept = TopicConfig::from_kafka_properties([("retention.ms", "-1"), ("cleanup.policy", "compact")]);
    kept.expect("it is so anyway");
    assert!(refusal("min.cleanable.dirty.ratio", "0.333").contains("percent"));
    assert!(refusal("cleanup.policy", "squash").contains("compact"));
}

#[test]
fn what_is_so_anyway_is_accepted_and_other_values_are_refused_with_the_reason() {
    for (name, value, other, reason) in [
        ("segment.jitter.ms", "0", "1", "jitter"),
        ("index.interval.bytes", "4096", "100", "memory"),
        ("file.delete.delay.ms", "0", "60000", "at once"),
        ("preallocate", "false", "true", "grow"),
        ("compression.type", "producer", "zstd", "compression"),
        ("compression.type", "uncompressed", "gzip", "compression"),
        ("message.timestamp.type", "CreateTime", "LogAppendTime", "timestamp"),
        ("message.timestamp.before.max.ms", NEVER, "5", "clock"),
        ("message.timestamp.after.max.ms", NEVER, "3600000", "clock"),
        ("min.insync.replicas", "1", "2", "one copy"),
        ("remote.storage.enable", "false", "true", "remote"),
        ("flush.messages", NEVER, "10000", "flush.ms"),
        ("flush.ms", NEVER, "0", "1 to 3600000"),
    ] {
        assert_eq!(of(name, value).expect(name), TopicConfig::new(), "{name}");
        let found = refusal(name, other);
        assert!(found.contains(reason), "{name}: {found}");
    }
}

#[test]
fn what_has_no_meaning_here_is_refused_by_name() {
    for name in [
        "segment.index.bytes",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.zstd.level",
        "unclean.leader.election.enable",
        "leader.replication.throttled.replicas",
        "follower.replication.throttled.replicas",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "local.retention.ms",
        "local.retention.bytes",
        "message.format.version",
        "message.timestamp.difference.max.ms",
        "message.downconversion.enable",
    ] {
        for value in ["0", "1", "true", "-1", ""] {
            let reason = refusal(name, value);
            assert!(!reason.contains("no property of this name"), "{name}: {reason}");
        }
    }
}

#[test]
fn a_name_that_is_misspelt_is_refused_and_the_right_one_is_named() {
    for (name, meant) in [
        ("retention_ms", "retention.ms"),
        ("segment.byte", "segment.bytes"),
        ("max.mesage.bytes", "max.message.bytes"),
        ("Cleanup.policy", "cleanup.policy"),
    ] {
        let reason = refusal(name, "-1");
        assert!(reason.contains(&format!("did you mean {meant}?")), "{name}: {reason}");
    }
    for name in ["", "x", "bootstrap.servers", "memory_limit"] {
        let reason = refusal(name, "1");
        assert!(!reason.contains("did you mean"), "{name}: {reason}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    for (name, range) in [
        ("num.partitions", "1 to 10000"),
        ("segment.bytes", "4096 to 1073741824"),
        ("max.message.bytes", "1024 to 536870912"),
        ("flush.ms", "1 to 3600000"),
    ] {
        for value in ["0", "-1", "", "many", "1.5", "99999999999999999999999"] {
            let reason = refusal(name, value);
            assert!(reason.contains(range), "{name}: {reason}");
        }
    }
}

#[test]
fn a_whole_topic_comes_over_and_the_last_of_two_counts() {
    let properties = vec![
        ("num.partitions".to_owned(), "3".to_owned()),
        ("retention.ms".to_owned(), "-1".to_owned()),
        ("max.message.bytes".to_owned(), "4096".to_owned()),
        ("num.partitions".to_owned(), "5".to_owned()),
    ];
    let config = TopicConfig::from_kafka_properties(properties).expect("all can be had");
    let back = [("flush.messages", "1"), ("flush.ms", "9"), ("flush.messages", NEVER), ("flush.ms", NEVER)];
    assert_eq!(TopicConfig::from_kafka_properties(back).expect("all can be had"), TopicConfig::new());
    let broker = Broker::in_memory();
    broker.create_topic("t", config).expect("a free name");
    let found = broker.describe_topic("t").expect("it exists");
    assert_eq!((found.partitions.len(), found.max_batch_bytes, found.max_record_bytes), (5, 4_096, 4_096));
    let refused = TopicConfig::from_kafka_properties([("num.partitions", "3"), ("segment.bytes", "7")]);
    assert!(matches!(refused, Err(Error::InvalidProperty { name, .. }) if name == "segment.bytes"));
}
