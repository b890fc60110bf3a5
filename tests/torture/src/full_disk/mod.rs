//! `full-disk`: a file system without room.

use std::process::ExitCode;

use crate::common::options::Options;
use crate::common::outcome::Failure;

pub(crate) const INSIDE: &str = "full-disk-inside";
pub(crate) const WORKER: &str = "full-disk-worker";

pub(crate) fn run(_options: &Options) -> Result<String, Failure> {
    Err(Failure::harness("full-disk", "not there yet"))
}

pub(crate) fn inside_main(_words: &[String]) -> ExitCode {
    ExitCode::FAILURE
}

pub(crate) fn worker_main(_words: &[String]) -> ExitCode {
    ExitCode::FAILURE
}
