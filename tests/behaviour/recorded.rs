//! With the feature `metrics`, the figures of a snapshot reach the recorder that is installed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::statistics::text::{busy, parsed};

/// Keeps the last value of each series, written as in OpenMetrics text, and what was described.
#[derive(Clone, Default)]
struct Kept {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    described: Arc<Mutex<BTreeMap<String, Option<Unit>>>>,
}

struct Series {
    name: String,
    values: Arc<Mutex<BTreeMap<String, f64>>>,
}

impl Series {
    fn put(&self, value: f64) {
        self.values.lock().expect("no panic").insert(self.name.clone(), value);
    }
}

impl CounterFn for Series {
    fn increment(&self, _value: u64) {
        panic!("counters are absolute");
    }

    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, _value: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _value: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl Kept {
    fn series(&self, key: &Key) -> Arc<Series> {
        let escaped = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let labels = key.labels().map(|label| format!("{}=\"{}\"", label.key(), escaped(label.value())));
        let labels = labels.collect::<Vec<_>>().join(",");
        let name =
            if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{labels}}}", key.name()) };
        Arc::new(Series { name, values: Arc::clone(&self.values) })
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.described.lock().expect("no panic").insert(name.as_str().to_owned(), unit);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _help: SharedString) {
        assert!(name.as_str().ends_with("_total"));
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _help: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, _unit: Option<Unit>, _help: SharedString) {
        panic!("{name:?} is a histogram");
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        panic!("{key} is a histogram");
    }
}

#[test]
fn a_recorder_gets_every_figure_under_the_name_and_labels_of_the_text() {
    let (broker, _consumer, _dir) = busy();
    let stats = broker.stats();
    let recorder = Kept::default();
    metrics::with_local_recorder(&recorder, || stats.record());
    assert_eq!(*recorder.values.lock().expect("no panic"), parsed(&stats.to_openmetrics()));
    let described = recorder.described.lock().expect("no panic");
    let unit = |name: &str| described[name];
    assert_eq!(unit("ottla_appended_bytes_total"), Some(Unit::Bytes));
    assert_eq!(unit("ottla_sync_p50_seconds"), Some(Unit::Seconds));
    assert_eq!(unit("ottla_segments"), Some(Unit::Count));
}

#[test]
fn without_a_recorder_nothing_happens() {
    ottla::Broker::in_memory().stats().record();
}
