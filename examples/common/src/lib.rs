//! What the examples have in common and that has nothing to do with Ottla: how a program ends, how it shows
//! that it is alive, and a board that a terminal redraws.

#![allow(clippy::print_stdout, reason = "examples talk to their users")]

mod board;
mod progress;

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

pub use crate::board::Board;
pub use crate::progress::Progress;

/// Anything that ends a program; its text is for the user.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Ends a program: with a last line `OK name …` where `outcome` says what was seen, or with the reason on
/// stderr.
pub fn finish(name: &str, outcome: Result<String, Failure>) -> ExitCode {
    match outcome {
        Ok(seen) => {
            println!("OK {name} {seen}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// A failure that has to do with a file.
pub fn about(path: &Path, failure: impl Display) -> Failure {
    format!("{}: {failure}", path.display()).into()
}

/// Fails unless what the program saw is what had to be there.
pub fn expect<T: Copy + Display + PartialEq>(what: &str, seen: T, expected: T) -> Result<(), Failure> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen}, but it must be {expected}").into()) }
}
