//! What users of Ottla rely on, tested through its public interface only: one module per area, most tests
//! both in memory and on disk. What needs an allocator of its own is in `tests/zero_copy.rs`.

#[macro_use]
mod support;
mod faulty;

mod alteration;
mod append_path;
mod async_commits;
mod async_polling;
mod auto_commit;
mod batches;
mod bounds;
mod close;
mod codecs;
mod compaction;
mod deletion;
mod deliveries;
mod directory;
mod disk_log;
mod evictions;
mod faults;
mod following;
mod golden;
mod group_model;
mod group_offsets;
mod group_topics;
mod groups;
mod growing;
mod housekeeping;
mod kafka_clients;
mod kafka_properties;
mod limits;
mod listeners;
mod members;
mod memory_bound;
mod model;
mod out_of_range;
mod partitioning;
mod pausing;
mod polling;
mod power_loss;
mod producing;
mod promises;
#[cfg(feature = "metrics")]
mod recorded;
mod records;
mod resetting;
mod resting;
mod retention;
mod seeking;
mod sinks;
mod statistics;
mod subscription;
mod table_changes;
mod tables;
mod threads;
mod timestamps;
mod topics;
#[cfg(feature = "tracing")]
mod traced;
mod trimming;
mod waking;
