//! A snapshot as OpenMetrics text, which Prometheus and others scrape.

use std::fmt;

use super::Stats;
use super::figures::{Family, Kind, Label, Number};

impl Stats {
    /// The snapshot as OpenMetrics text, to be answered to a monitoring system that scrapes, with the content
    /// type `application/openmetrics-text; version=1.0.0; charset=utf-8`. Serving it is yours: this crate
    /// opens no port.
    ///
    /// All names begin with `ottla_`; those of counters end with `_total`. Partitions have the labels `topic`
    /// and `partition`, groups `group`. Times are in seconds.
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let text = broker.stats().to_openmetrics();
    /// assert!(text.contains("ottla_appended_records_total{topic=\"payments\",partition=\"0\"} 1\n"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        OpenMetrics(self).to_string()
    }
}

struct OpenMetrics<'a>(&'a Stats);

impl fmt::Display for OpenMetrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.families().iter().try_for_each(|family| write_family(f, family))?;
        f.write_str("# EOF\n")
    }
}

fn write_family(f: &mut fmt::Formatter<'_>, family: &Family<'_>) -> fmt::Result {
    let Family { name, kind, help, samples } = family;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    writeln!(f, "# TYPE {name} {kind}")?;
    if let Some(unit) = family.unit() {
        writeln!(f, "# UNIT {name} {unit}")?;
    }
    writeln!(f, "# HELP {name} {help}")?;
    for sample in samples {
        write!(f, "{name}{}", family.suffix())?;
        for (number, (label, value)) in sample.labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            match value {
                Label::Text(value) => write!(f, "{before}{label}=\"{}\"", escaped(value))?,
                Label::Number(value) => write!(f, "{before}{label}=\"{value}\"")?,
            }
        }
        let after = if sample.labels.is_empty() { "" } else { "}" };
        match sample.value {
            Number::Integer(value) => writeln!(f, "{after} {value}")?,
            Number::Real(value) => writeln!(f, "{after} {value}")?,
        }
    }
    Ok(())
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
