//! What the numbers of a broker look like as text: OpenMetrics, read back by a strict grammar, and a table.

use std::collections::BTreeMap;

use ottla::{Broker, Consumer, Start};

use super::NEVER;
use crate::support::*;

/// A broker in which every kind of figure has a value, under names that need escaping.
pub(crate) fn busy() -> (Broker, Consumer<(), String>, tempfile::TempDir) {
    let dir = temp_dir();
    let broker = Broker::builder().data_dir(dir.path()).sync_interval(NEVER).open().expect("opens");
    make(&broker, "t", 2);
    make(&broker, "a.b_c", 1);
    send_numbered(&broker, "t", 70);
    send_to_each(&broker);
    broker.producer::<(), String>("t").expect("it exists").flush().expect("syncs");
    send_numbered(&broker, "a.b_c", 5);
    let group = "quote \" backslash \\ line\nend";
    let builder = broker.consumer().topic("t").group(group).start(Start::Earliest);
    let mut consumer = builder.max_records(10).build().expect("builds");
    let records = consumer.poll(NOW).expect("polls");
    consumer.commit(&records).expect("commits");
    (broker, consumer, dir)
}

/// Name with labels, as written, to value.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Reads OpenMetrics text, of which it takes no more than this crate writes: families of counters and gauges,
/// whose samples follow their three lines.
pub(crate) fn parsed(text: &str) -> Samples {
    let text = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    assert!(!text.contains("# EOF"));
    let (mut samples, mut names) = (Samples::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, kind) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')).expect(line);
        assert!(name.starts_with("ottla_") && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()));
        assert!(!names.contains(&name), "{name} comes twice");
        names.push(name);
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        assert_eq!(unit, lines.peek().and_then(|line| line.strip_prefix(&format!("# UNIT {name} "))));
        lines.next_if(|_| unit.is_some());
        let help = lines.next().and_then(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| !help.is_empty() && !help.contains('\\')), "{name} has no help");
        let sample_name = match kind {
            "counter" => format!("{name}_total"),
            "gauge" => name.to_owned(),
            other => panic!("{other} is no type"),
        };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let labels = series.strip_prefix(&sample_name).expect("the family's name");
            check_labels(labels);
            let value: f64 = value.parse().expect("a number");
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert_eq!(samples.insert(series.to_owned(), value), None, "{series} comes twice");
        }
    }
    samples
}

/// `{name="value",name="value"}`, or nothing; in a value only what is escaped may follow a backslash.
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let mut rest = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).expect("braces");
    loop {
        let (name, value) = rest.split_once("=\"").expect("a name and a value");
        assert!(["topic", "partition", "group"].contains(&name), "{name}");
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "{value}"),
                (at, '"') => break at,
                (_, other) => assert_ne!(other, '\n'),
            }
        };
        match value[end + 1..].strip_prefix(',') {
            Some(next) => rest = next,
            None => return assert_eq!(&value[end + 1..], ""),
        }
    }
}

#[test]
fn openmetrics_text_says_the_same_as_the_value() {
    let (broker, _consumer, _dir) = busy();
    let stats = broker.stats();
    let samples = parsed(&stats.to_openmetrics());
    let get = |series: &str| *samples.get(series).unwrap_or_else(|| panic!("{series} is missing"));
    for topic in &stats.topics {
        for each in &topic.partitions {
            let labels = format!("{{topic=\"{}\",partition=\"{}\"}}", topic.name, each.partition);
            let of = |name: &str| get(&format!("ottla_{name}{labels}"));
            for (name, value) in [
                ("start_offset", each.start_offset),
                ("end_offset", each.end_offset),
                ("appended_records_total", each.appended.records),
                ("appended_bytes_total", each.appended.bytes),
                ("fetched_records_total", each.fetched.records),
                ("fetched_bytes_total", each.fetched.bytes),
                ("log_bytes", each.log_bytes),
                ("memory_bytes", each.memory_bytes),
                ("segments", each.segments as u64),
                ("partition_failed", 0),
                ("retained_out_records_total", each.upkeep.retained_out_records),
                ("dropped_bytes_total", each.upkeep.dropped_bytes),
                ("compactions_total", each.upkeep.compactions),
                ("compacted_tombstones_total", each.upkeep.compacted_tombstones),
            ] {
                assert_eq!(of(name), value as f64, "{name}{labels}");
            }
            assert_eq!(of("appended_records_per_second"), each.appended.records_per_second);
            assert_eq!(of("fetched_bytes_per_second"), each.fetched.bytes_per_second);
            assert_eq!(of("unsynced_seconds"), each.oldest_unsynced.map_or(0.0, |age| age.as_secs_f64()));
        }
    }
    let group = r#"group="quote \" backslash \\ line\nend""#;
    assert_eq!(get(&format!("ottla_group_members{{{group}}}")), 1.0);
    assert_eq!(get(&format!("ottla_group_lag{{{group}}}")), stats.groups[0].lag() as f64);
    let committed = "ottla_group_committed_offset{".to_owned() + group + ",topic=\"t\",partition=";
    assert_eq!(samples.keys().filter(|series| series.starts_with(&committed)).count(), 1, "one of two");
    assert_eq!(get("ottla_syncs_total"), stats.syncs.count as f64);
    assert_eq!(get("ottla_sync_seconds_total"), stats.syncs.total.as_secs_f64());
    assert_eq!(get("ottla_sync_p99_seconds"), stats.syncs.p99.as_secs_f64());
    assert!(get("ottla_oldest_unsynced_seconds") > 0.0);
    assert_eq!(get("ottla_uptime_seconds"), stats.uptime.as_secs_f64());
    assert_eq!(get("ottla_recovery_scanned_bytes"), stats.recovery.scanned_bytes as f64);
    parsed(&Broker::in_memory().stats().to_openmetrics());
}

#[test]
fn a_table_has_a_line_for_each_partition_and_group_in_columns() {
    let (broker, _consumer, _dir) = busy();
    let stats = broker.stats();
    let table = stats.to_string();
    let lines: Vec<&str> = table.lines().collect();
    let line = |start: &str| lines.iter().find(|line| line.starts_with(start)).copied().expect(start);
    let cells = |start: &str| line(start).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells("PARTITION")[..4], ["PARTITION", "START", "END", "APPENDED"]);
    assert_eq!(cells("t-0 ")[..4], ["t-0", "0", "71", "71"]);
    assert_eq!(cells("t-1 ")[..4], ["t-1", "0", "1", "1"]);
    assert!(line("a.b_c-0").ends_with("  ok"));
    for start in ["t-0 ", "t-1 ", "a.b_c-0 "] {
        assert_eq!(line(start).len(), line("PARTITION").len(), "columns end at the same place");
    }
    assert!(line("quote \" backslash \\ line?end").contains("1 member"), "a line break would end the line");
    assert!(line("syncs ").contains(&format!("{}, 0 failed", stats.syncs.count)));
    assert!(table.contains("oldest unsynced record"));
    assert!(lines.iter().all(|line| line.len() <= 200));
}
