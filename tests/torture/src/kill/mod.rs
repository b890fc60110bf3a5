//! `kill`: a process that sends is killed, and what it had acknowledged is looked for.

use std::process::ExitCode;

use crate::common::options::Options;
use crate::common::outcome::Failure;

pub(crate) const CHILD: &str = "kill-child";

pub(crate) fn run(_options: &Options) -> Result<String, Failure> {
    Err(Failure::harness("kill", "not there yet"))
}

pub(crate) fn child_main(_words: &[String]) -> ExitCode {
    ExitCode::FAILURE
}
