//! How far a long run has come.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Redrawn so often in a terminal.
const REDRAWN: Duration = Duration::from_millis(250);
/// A line so often where there is none, in a log for instance.
const LOGGED: Duration = Duration::from_secs(5);

/// A line on stderr that says how much is done. A run that is over before the line is due shows nothing.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    is_terminal: bool,
    is_shown: bool,
    due: Instant,
}

impl Progress {
    /// `what` is done to `total` things: `Progress::new("positions sent", 100_000)`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let mut progress = Self { what, total, done: 0, is_terminal, is_shown: false, due: Instant::now() };
        progress.due += progress.interval();
        progress
    }

    /// So many more are done.
    pub fn add(&mut self, more: u64) {
        self.set(self.done + more);
    }

    /// So many are done in all.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        // Looking at the clock costs more than most of what is counted.
        if done.is_multiple_of(64) || done == self.total {
            self.show_if_due();
        }
    }

    fn interval(&self) -> Duration {
        if self.is_terminal { REDRAWN } else { LOGGED }
    }

    fn show_if_due(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + self.interval();
        self.is_shown = true;
        let percent = self.done * 100 / self.total.max(1);
        let line = format!("{}: {} of {} ({percent} %)", self.what, self.done, self.total);
        self.write(&if self.is_terminal { format!("\r\x1b[2K{line}") } else { format!("{line}\n") });
    }

    fn write(&self, text: &str) {
        // Whoever reads stderr may have gone; the work goes on.
        io::stderr().write_all(text.as_bytes()).ok();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && self.is_terminal {
            self.write("\r\x1b[2K");
        }
    }
}
