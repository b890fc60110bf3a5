//! A snapshot as a table, for a person at a terminal.

use std::fmt::{self, Write};
use std::time::Duration;

use super::{PartitionStats, Stats};
use crate::broker::GroupState;

impl fmt::Display for Stats {
    /// Tables of the partitions and of the groups, and lines for the broker as a whole; several lines, the
    /// last one with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uptime, window) = (time(self.uptime), time(self.rate_window));
        writeln!(f, "open for {uptime}, rates over {window}\n")?;
        write_rows(f, &self.partition_rows())?;
        if !self.groups.is_empty() {
            writeln!(f)?;
            write_rows(f, &self.group_rows())?;
        }
        writeln!(f)?;
        self.write_syncs(f)?;
        self.write_upkeep(f)?;
        self.write_recovery(f)
    }
}

impl Stats {
    fn partition_rows(&self) -> Vec<Vec<String>> {
        let heads = [
            "PARTITION",
            "START",
            "END",
            "APPENDED",
            "REC/S",
            "B/S",
            "FETCHED",
            "REC/S",
            "B/S",
            "SIZE",
            "FILES",
            "UNSYNCED",
            "STATE",
        ];
        let mut rows = vec![heads.map(str::to_owned).into()];
        for topic in &self.topics {
            rows.extend(topic.partitions.iter().map(|each| partition_row(&topic.name, each)));
        }
        rows
    }

    fn group_rows(&self) -> Vec<Vec<String>> {
        let heads = ["GROUP", "PARTITION", "MEMBER", "COMMITTED", "END", "LAG", "STATE"];
        let mut rows: Vec<Vec<String>> = vec![heads.map(str::to_owned).into()];
        for group in &self.groups {
            let state = match group.state {
                GroupState::Empty => "empty",
                GroupState::Rebalancing => "rebalancing",
                GroupState::Stable => "stable",
            };
            let members = match group.members.len() {
                1 => "1 member".to_owned(),
                members => format!("{members} members"),
            };
            let name = printable(&group.name);
            let whole = ["(all)", &members, "", "", &group.lag().to_string(), state].map(str::to_owned);
            rows.push([name.clone()].into_iter().chain(whole).collect());
            for (at, each) in &group.partitions {
                let member = each.member_id.map_or("-".to_owned(), |id| id.to_string());
                let committed = each.committed.map_or("-".to_owned(), |offset| offset.to_string());
                let (end, lag) = (each.end_offset.to_string(), each.lag.to_string());
                rows.push(vec![name.clone(), at.to_string(), member, committed, end, lag, String::new()]);
            }
        }
        rows
    }

    fn write_syncs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syncs = &self.syncs;
        write!(f, "syncs     {}, {} failed", syncs.count, syncs.failures)?;
        let times = [("mean", syncs.mean()), ("p50", syncs.p50), ("p99", syncs.p99), ("max", syncs.max)];
        for (name, took) in times.into_iter().filter(|_| syncs.count > 0) {
            write!(f, ", {name} {}", time(took))?;
        }
        match self.oldest_unsynced {
            Some(age) => writeln!(f, "; oldest unsynced record {}", time(age)),
            None => writeln!(f, "; all is synced, or in memory"),
        }
    }

    fn write_upkeep(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upkeep = &self.upkeep;
        let removed = |records: u64, size: u64| format!("{records} records ({})", bytes(size));
        let retained_out = removed(upkeep.retained_out_records, upkeep.retained_out_bytes);
        let dropped = removed(upkeep.dropped_records, upkeep.dropped_bytes);
        let compacted = removed(upkeep.compacted_records, upkeep.compacted_bytes);
        writeln!(f, "upkeep    retention removed {retained_out}, memory bounds {dropped}")?;
        let (runs, tombstones) = (upkeep.compactions, upkeep.compacted_tombstones);
        writeln!(f, "          {runs} compactions removed {compacted}, {tombstones} of them tombstones")
    }

    fn write_recovery(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recovery = &self.recovery;
        let (partitions, scanned) = (recovery.partitions, bytes(recovery.scanned_bytes));
        write!(f, "recovery  {partitions} partitions, {scanned} verified, ")?;
        let (tails, torn) = (recovery.torn_tails, bytes(recovery.torn_bytes));
        write!(f, "{tails} torn tails ({torn}), {} damaged, ", recovery.damaged)?;
        writeln!(f, "{} commits lowered", recovery.lowered_commits)
    }
}

fn partition_row(topic: &str, each: &PartitionStats) -> Vec<String> {
    let (appended, fetched) = (&each.appended, &each.fetched);
    vec![
        format!("{topic}-{}", each.partition),
        each.start_offset.to_string(),
        each.end_offset.to_string(),
        appended.records.to_string(),
        format!("{:.0}", appended.records_per_second),
        bytes(appended.bytes_per_second as u64),
        fetched.records.to_string(),
        format!("{:.0}", fetched.records_per_second),
        bytes(fetched.bytes_per_second as u64),
        bytes(each.log_bytes),
        each.segments.to_string(),
        each.oldest_unsynced.map_or("-".to_owned(), time),
        each.fault.as_ref().map_or("ok", |_| "takes no records").to_owned(),
    ]
}

/// The first column to the left, the others to the right.
fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                write!(line, "{cell:<width$}")?;
            } else {
                write!(line, "  {cell:>width$}")?;
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Names of groups may be anything; a table has one line for each row.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// With a unit that leaves few digits.
fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1_000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1_024.0;
    }
    format!("{size:.1} TiB")
}

fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_micros() {
        0..1_000 => format!("{} us", time.as_micros()),
        1_000..1_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000..120_000_000 => format!("{seconds:.1} s"),
        120_000_000..7_200_000_000 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_few_digits_and_a_unit() {
        let sizes = [0, 999, 1_000, 1 << 20, 5 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "5.0 GiB", "16777216.0 TiB"]);
        let times =
            [7, 1_500, 2_000_000, 180_000_000, 7_200_000_000].map(|us| time(Duration::from_micros(us)));
        assert_eq!(times, ["7 us", "1.5 ms", "2.0 s", "3.0 min", "2.0 h"]);
    }
}
