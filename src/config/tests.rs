//! What settings take and refuse.

use super::*;

fn settings(config: &TopicConfig) -> Result<TopicSettings> {
    config.settings(&TopicDefaults::on_disk())
}

#[test]
fn every_setting_refuses_what_is_outside_its_range_and_names_it() {
    let new = TopicConfig::new;
    let current = settings(&new()).expect("the defaults are in range");
    for (setting, config) in [
        ("partitions", new().partitions(0)),
        ("partitions", new().partitions(10_001)),
        ("max_record_bytes", new().max_record_bytes(0)),
        ("max_record_bytes", new().max_record_bytes(u64::MAX)),
        ("max_batch_bytes", new().max_batch_bytes(GIB)),
        ("segment_bytes", new().segment_bytes(10)),
        ("segment_bytes", new().segment_bytes(2 * GIB)),
        ("memory_limit", new().memory_limit(0)),
        ("sync_interval", new().sync_interval(Duration::from_micros(999))),
        ("sync_interval", new().sync_interval(Duration::from_secs(3_601))),
        ("sync_interval", new().sync_interval(Duration::MAX)),
    ] {
        let error = settings(&config).expect_err(setting).to_string();
        assert!(error.contains(setting) && error.contains(" to "), "{error}");
        let error = config.altered(&current).expect_err(setting).to_string();
        assert!(error.contains(setting), "{error}");
    }
}

#[test]
fn a_memory_broker_cannot_promise_more_than_memory() {
    for level in [Durability::ProcessCrash, Durability::PowerLoss] {
        let config = TopicConfig::new().durability(level);
        assert!(config.settings(&TopicDefaults::in_memory()).is_err(), "{level:?}");
    }
}

#[test]
fn the_default_batch_always_holds_the_largest_record() {
    let found = settings(&TopicConfig::new().max_record_bytes(200 * MIB)).expect("in range");
    assert!(found.max_batch_bytes > found.max_record_bytes);
}

#[test]
fn altering_changes_what_is_named_and_leaves_the_rest() {
    let base = TopicConfig::new().partitions(3).segment_bytes(8_192).max_batch_bytes(4_096);
    let current = settings(&base).expect("in range");
    let change = TopicConfig::new().max_record_bytes(500).sync_interval(Duration::from_millis(7));
    let expected =
        TopicSettings { max_record_bytes: 500, sync_interval: Duration::from_millis(7), ..current.clone() };
    assert_eq!(change.altered(&current).expect("in range"), expected);
    assert_eq!(TopicConfig::new().altered(&current).expect("no change"), current);
    assert_eq!(TopicConfig::new().partitions(3).altered(&current).expect("no change"), current);
}

#[test]
fn a_topic_stays_in_memory_or_on_disk() {
    let on_disk = settings(&TopicConfig::new()).expect("in range");
    let in_memory = TopicConfig::new().settings(&TopicDefaults::in_memory()).expect("in range");
    let level = |level| TopicConfig::new().durability(level);
    assert!(level(Durability::Memory).altered(&on_disk).is_err());
    assert!(level(Durability::PowerLoss).altered(&on_disk).is_ok());
    assert!(level(Durability::ProcessCrash).altered(&in_memory).is_err());
    assert!(level(Durability::Memory).altered(&in_memory).is_ok());
}

#[test]
fn how_long_records_are_kept_is_checked_and_named() {
    let new = TopicConfig::new;
    for (setting, config) in [
        ("retention max_age", new().retention(Retention::forever().max_age(Duration::from_micros(999)))),
        ("retention max_age", new().retention(Retention::forever().max_age(Duration::MAX))),
        ("retention max_bytes", new().retention(Retention::forever().max_bytes(0))),
        ("retention min_age", new().retention(Retention::forever().min_age(Duration::MAX))),
        ("retention read_by", new().retention(Retention::until_read_by([""]))),
        ("compaction min_dirty_percent", new().compaction(Compaction::by_key().min_dirty_percent(101))),
        (
            "compaction delete_retention",
            new().compaction(Compaction::by_key().delete_retention(Duration::MAX)),
        ),
        ("compaction min_lag", new().compaction(Compaction::by_key().min_lag(Duration::MAX))),
        ("compaction max_lag", new().compaction(Compaction::by_key().max_lag(Duration::ZERO))),
        ("segment_age", new().segment_age(Duration::ZERO)),
        ("when_full", new().when_full(WhenFull::Block)),
        ("when_full", new().when_full(WhenFull::DropOldest).compaction(Compaction::by_key())),
    ] {
        let error = settings(&config).expect_err(setting).to_string();
        assert!(error.contains(setting), "{error}");
    }
}

#[test]
fn a_compacted_topic_refuses_at_its_bound_unless_told_otherwise() {
    let compacted = TopicConfig::new().compaction(Compaction::by_key());
    assert_eq!(settings(&compacted).expect("valid").when_full, WhenFull::Refuse);
    let blocking = compacted.when_full(WhenFull::Block).retention(Retention::until_read_by(["a"]));
    assert_eq!(settings(&blocking).expect("valid").when_full, WhenFull::Block);
    let plain = settings(&TopicConfig::new()).expect("valid");
    let altered = TopicConfig::new().compaction(Compaction::by_key()).altered(&plain).expect("valid");
    assert_eq!(altered.when_full, WhenFull::Refuse);
}
