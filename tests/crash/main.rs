//! What a crash, a fault or damage on disk may do to a broker: the process is killed, files are cut,
//! flipped, mixed up and taken away, the file system fails at every call. What was acknowledged must be
//! there afterwards or be reported as damaged; nothing else may appear.

mod broken_off;
mod changes;
mod checkpoint;
mod commits;
mod damage;
mod deleted;
mod enqueued;
mod faults;
mod files;
mod flips;
mod full_disk;
mod hooked;
mod image;
mod interrupted;
mod judgement;
mod kill;
mod kill_child;
mod lossy;
mod mending;
mod policies;
mod power_ledger;
mod power_loss;
mod prefixes;
mod read_only;
mod reopen;
mod rewriting;
mod script;
#[path = "../torture/src/sim/mod.rs"]
#[allow(dead_code, reason = "the torture program uses more of it")]
mod sim;
mod support;
mod sync;
