//! What the modes share: the command line, random numbers, records that carry their name, findings.

pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod random;

pub(crate) mod bugs;
pub(crate) mod format;
pub(crate) mod ledger;
pub(crate) mod log_files;
pub(crate) mod name;
pub(crate) mod process;
pub(crate) mod sender;
pub(crate) mod sent;
pub(crate) mod shared;
pub(crate) mod system;
pub(crate) mod topics;
