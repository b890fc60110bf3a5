//! What the examples have in common and that has nothing to do with Ottla: how a program ends, how it shows
//! that it is alive, a board that a terminal redraws, and a pace at which events happen.

mod board;
mod pace;
mod progress;

use std::error::Error;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;

pub use crate::board::Board;
pub use crate::pace::Pace;
pub use crate::progress::Progress;

/// Anything that ends a program; its text is for the user.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Ends a program: with a last line `OK name …` where `outcome` says what was seen, or with the reason on
/// stderr.
pub fn finish(name: &str, outcome: Result<String, Failure>) -> ExitCode {
    let told = outcome.and_then(|seen| Ok(tell(&format!("OK {name} {seen}"))?));
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not `eprintln!`, which panics when nobody reads it; the exit code says it too.
            writeln!(io::stderr(), "{name}: {failure}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. Whoever reads the output may have gone, like `head`: that is no failure.
fn tell(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A failure that has to do with a file.
pub fn about(path: &Path, failure: impl Display) -> Failure {
    format!("{}: {failure}", path.display()).into()
}

/// A failure that has to do with a line of a file.
pub fn about_line(path: &Path, number: impl Display, failure: impl Display) -> Failure {
    about(path, format!("line {number}: {failure}"))
}

/// Makes a file of what `write` writes.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Failure> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        write(&mut out)?;
        out.flush()
    };
    write().map_err(|error| about(path, error))
}

/// A thread's result; its panic goes on here.
pub fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Fails unless what the program saw is what had to be there.
pub fn expect<T: Copy + Display + PartialEq>(what: &str, seen: T, expected: T) -> Result<(), Failure> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen}, but it must be {expected}").into()) }
}
