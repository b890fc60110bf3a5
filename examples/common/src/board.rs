//! A board that shows the latest state of something.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Redrawn so often at most: faster than anyone reads.
const REDRAWN: Duration = Duration::from_millis(200);

/// Text that is redrawn in place while a program runs, if its output goes to a terminal. Nothing is drawn
/// into a pipe or a file, but for the last state.
#[derive(Debug)]
pub struct Board {
    is_terminal: bool,
    /// Lines that were drawn last.
    height: usize,
    due: Instant,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// A board that shows nothing yet.
    pub fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), height: 0, due: Instant::now() }
    }

    /// Whether anybody can see the board change.
    pub fn is_live(&self) -> bool {
        self.is_terminal
    }

    /// Draws what `state` says, if it is time to and there is a terminal; otherwise it is not asked.
    pub fn show(&mut self, state: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.is_terminal && now >= self.due {
            self.draw(&state());
            self.due = now + REDRAWN;
        }
    }

    /// Draws the last state, wherever the output goes, and leaves it there.
    pub fn last(mut self, state: &str) {
        self.draw(state);
    }

    fn draw(&mut self, state: &str) {
        let mut text = String::new();
        if self.is_terminal && self.height > 0 {
            // Back to the first line, and from there on all is cleared.
            text = format!("\x1b[{}F\x1b[J", self.height);
        }
        text.extend(state.lines().flat_map(|line| [line, "\n"]));
        self.height = state.lines().count();
        let mut stdout = io::stdout().lock();
        // Whoever reads it may have gone; the work goes on.
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
    }
}
