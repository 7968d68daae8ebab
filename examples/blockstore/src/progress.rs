//! How far a command has come, in one line of a terminal's.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_millis(100);

/// Blocks done of all. Without a terminal nothing is shown.
#[derive(Debug)]
pub struct Progress {
    what: String,
    blocks: u64,
    done: Cell<u64>,
    bytes: Cell<u64>,
    shown: Cell<Option<Instant>>,
    visible: bool,
}

impl Progress {
    #[must_use]
    pub fn new(what: String, blocks: u64) -> Self {
        Self {
            what,
            blocks,
            done: Cell::new(0),
            bytes: Cell::new(0),
            shown: Cell::new(None),
            visible: io::stderr().is_terminal(),
        }
    }

    /// One block more is done.
    pub fn step(&self, bytes: u64) {
        self.done.set(self.done.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        let is_due = self.shown.get().is_none_or(|shown| shown.elapsed() >= EVERY);
        if self.visible && is_due {
            self.shown.set(Some(Instant::now()));
            show(&format!("\r\x1b[K{}", self.line()));
        }
    }

    fn line(&self) -> String {
        let (done, mib) = (self.done.get(), self.bytes.get() >> 20);
        format!("{}: {done} of {} blocks, {mib} MiB", self.what, self.blocks)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.get().is_some() {
            show("\r\x1b[K");
        }
    }
}

/// Whoever does not want to see it has closed it.
fn show(text: &str) {
    let mut terminal = io::stderr().lock();
    let _ = terminal
        .write_all(text.as_bytes())
        .and_then(|()| terminal.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_many_of_how_many() {
        let progress = Progress::new("put a".to_owned(), 3);
        progress.step(2 << 20);
        progress.step(1 << 20);
        assert_eq!(progress.line(), "put a: 2 of 3 blocks, 3 MiB");
    }
}
