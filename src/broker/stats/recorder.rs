//! A snapshot for the crate `metrics`: every figure goes to the recorder that the program has installed.

use metrics::{Label as MetricsLabel, Unit};

use super::Stats;
use super::figures::{Family, Kind, Label, Number, Sample};

impl Stats {
    /// Hands every figure to the recorder of the crate `metrics` that is installed; does nothing without one.
    /// To be called now and then, every ten seconds, say: sends and polls record nothing themselves.
    ///
    /// Names and labels are those of [`to_openmetrics`](Self::to_openmetrics). What is a counter there is one
    /// here, set with `absolute`; but `ottla_sync_seconds_total` is a gauge, for counters of that crate are
    /// whole numbers. Of a partition or group that is gone, the last values stay with the recorder.
    ///
    /// ```
    /// # let broker = ottla::Broker::in_memory();
    /// broker.stats().record();
    /// ```
    pub fn record(&self) {
        self.families().iter().for_each(record_family);
    }
}

fn record_family(family: &Family<'_>) {
    let name = format!("{}{}", family.name, family.suffix());
    let unit = match family.unit() {
        Some("bytes") => Unit::Bytes,
        Some("seconds") => Unit::Seconds,
        _ => Unit::Count,
    };
    let mut is_described = false;
    for sample in &family.samples {
        let labels = labels(sample);
        match (family.kind, sample.value) {
            (Kind::Counter, Number::Integer(value)) => {
                if !std::mem::replace(&mut is_described, true) {
                    metrics::describe_counter!(name.clone(), unit, family.help);
                }
                metrics::counter!(name.clone(), labels).absolute(value);
            }
            (_, value) => {
                if !std::mem::replace(&mut is_described, true) {
                    metrics::describe_gauge!(name.clone(), unit, family.help);
                }
                let value = match value {
                    Number::Integer(value) => value as f64,
                    Number::Real(value) => value,
                };
                metrics::gauge!(name.clone(), labels).set(value);
            }
        }
    }
}

fn labels(sample: &Sample<'_>) -> Vec<MetricsLabel> {
    let labels = sample.labels.iter().map(|(name, value)| match value {
        Label::Text(value) => MetricsLabel::new(*name, (*value).to_owned()),
        Label::Number(value) => MetricsLabel::new(*name, value.to_string()),
    });
    labels.collect()
}
