//! All that the demo prints on standard output: plain text, with bold titles if a terminal reads it.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Stdout, Write};
use std::time::Duration;

use anyhow::{Context, Result};

use super::signals;

/// Of a whole line, so that it fits where most people look at it.
const WIDTH: usize = 80;
const INDENT: &str = "   ";
/// What a fact is about; its value begins after it.
const LABEL_WIDTH: usize = 28;
/// Characters of a bar that stands for everything.
const BAR_WIDTH: usize = 48;

/// Standard output.
pub(super) struct Screen {
    out: Stdout,
    bold: bool,
    /// The last line is empty.
    spaced: bool,
    reader_left: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let out = io::stdout();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            bold: out.is_terminal() && !plain,
            out,
            spaced: true,
            reader_left: false,
        }
    }

    /// Whether the reader has gone, as in `demo | head -3`.
    pub(super) fn reader_left(&self) -> bool {
        self.reader_left
    }

    /// The title of a step.
    pub(super) fn title(&mut self, number: usize, title: &str) -> Result<()> {
        let (on, off) = if self.bold {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.space()?;
        self.line(&format!("{on}{number}. {title}{off}"))?;
        self.space()
    }

    /// What happens and why, broken into lines.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        self.space()?;
        for line in wrapped(text, WIDTH - INDENT.len()) {
            self.line(&format!("{INDENT}{line}"))?;
        }
        self.space()
    }

    /// Something that was measured.
    pub(super) fn fact(&mut self, label: &str, value: impl Display) -> Result<()> {
        let mut label = label;
        for line in wrapped(&value.to_string(), WIDTH - INDENT.len() - LABEL_WIDTH - 1) {
            self.line(&format!("{INDENT}{label:<LABEL_WIDTH$} {line}"))?;
            label = "";
        }
        Ok(())
    }

    /// What a program printed or a file holds, as it is but for empty lines.
    pub(super) fn quote(&mut self, text: &str) -> Result<()> {
        self.space()?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.line(&format!("{INDENT}| {}", line.trim_end()))?;
        }
        self.space()
    }

    /// How requests spread, a bar for each of `names`.
    pub(super) fn bars<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        counts: &BTreeMap<&str, usize>,
    ) -> Result<()> {
        let all: usize = counts.values().sum();
        self.space()?;
        for name in names {
            let count = counts.get(name).copied().unwrap_or(0);
            let bar = "#".repeat(rounded(count * BAR_WIDTH, all));
            let percent = rounded(count * 100, all);
            let line = format!("{INDENT}{name} {count:>5} {percent:>3} % {bar}");
            self.line(line.trim_end())?;
        }
        self.space()
    }

    /// Lines as they are.
    pub(super) fn plain(&mut self, text: &str) -> Result<()> {
        text.lines().try_for_each(|line| self.line(line))
    }

    /// An empty line, unless there is one.
    fn space(&mut self) -> Result<()> {
        if self.spaced { Ok(()) } else { self.line("") }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        signals::check()?;
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        self.reader_left |= matches!(&written, Err(e) if e.kind() == ErrorKind::BrokenPipe);
        self.spaced = line.is_empty();
        written.context("write to standard output")
    }
}

/// `1 request`, `2 requests`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {one}{s}")
}

/// A time in milliseconds.
pub(super) fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// A quotient to the nearest whole; of nothing, 0.
fn rounded(part: usize, whole: usize) -> usize {
    (part + whole / 2).checked_div(whole).unwrap_or(0)
}

/// Lines of at most `width`, but for words that are longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("a bc  def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("longer than that", 4), ["longer", "than", "that"]);
        assert!(wrapped(" ", 4).is_empty());
    }

    #[test]
    fn shares_are_rounded() {
        assert_eq!((rounded(200, 3), rounded(100, 3), rounded(0, 0)), (67, 33, 0));
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(0, "request"), "0 requests");
    }
}
