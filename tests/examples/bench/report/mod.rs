//! What is printed, and written for programs and for eyes: the same for all suites.
//!
//! A suite makes a [`Report`], adds a [`Row`] for each case as it is measured, and finishes it with the [`Output`] that the user asked
//! for.

mod machine;
mod plot;
mod row;

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub use self::row::{Row, Samples};

// Where results go besides the table on the standard output. No documentation: `--help` shows the suite's.
#[derive(Debug, Default, clap::Args)]
pub struct Output {
    /// Write the results to this file, for programs
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the results into this directory, as SUITE.svg
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
}

impl Output {
    /// Whether results are to go anywhere else.
    pub const fn is_wanted(&self) -> bool {
        self.json.is_some() || self.svg.is_some()
    }
}

/// What a run of a suite has measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub suite: String,
    /// Processor and kernel.
    pub machine: String,
    /// The day, in UTC.
    pub date: String,
    pub rows: Vec<Row>,
}

impl Report {
    /// Says on which machine it is; rows follow as they come.
    pub fn new(suite: &str) -> Result<Self> {
        Ok(Self::on(suite, machine::describe()?))
    }

    /// The same on another machine than this one.
    pub fn on(suite: &str, machine: String) -> Self {
        let report = Self {
            suite: suite.to_owned(),
            machine,
            date: humantime::format_rfc3339_seconds(SystemTime::now())
                .to_string()
                .chars()
                .take_while(|&letter| letter != 'T')
                .collect(),
            rows: Vec::new(),
        };
        println!("{}", report.machine);
        println!("{}", Row::HEADINGS);
        report
    }

    /// Adds a row, and prints it: runs are long.
    pub fn add(&mut self, row: Row) {
        println!("{row}");
        self.rows.push(row);
    }

    /// Writes what was asked for. The picture has a line for each name, with a dot at each of its ratios.
    pub fn finish(&self, output: &Output) -> Result<()> {
        self.write(output, plot::ratios)
    }

    /// The same, where rows of one name are a curve over [`Row::flows`]: a picture with a panel for each unit.
    pub fn finish_with_curves(&self, output: &Output) -> Result<()> {
        self.write(output, plot::curves)
    }

    fn write(&self, output: &Output, draw: fn(&Self) -> Result<String>) -> Result<()> {
        if let Some(path) = &output.json {
            let mut text = serde_json::to_string_pretty(self).context("write down the results")?;
            text.push('\n');
            put(path, &text)?;
        }
        if let Some(directory) = &output.svg {
            put(&directory.join(format!("{}.svg", self.suite)), &draw(self)?)?;
        }
        Ok(())
    }
}

/// Writes a file; its directory is made where it is missing.
fn put(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_written() {
        let mut report = Report::new("program").unwrap();
        let samples: Samples = [10.0].into_iter().collect();
        report.add(Row::new("ipip/tcp4/settled", 1, "ns", &samples, "send", &samples));
        let directory = tempfile::tempdir().unwrap();
        let output = Output {
            json: Some(directory.path().join("made/results.json")),
            svg: Some(directory.path().to_owned()),
        };
        report.finish(&output).unwrap();
        let text = fs::read_to_string(directory.path().join("made/results.json")).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!((read.suite.as_str(), read.rows), ("program", report.rows));
        assert_eq!(read.date.len(), "2026-01-31".len());
        let picture = fs::read_to_string(directory.path().join("program.svg")).unwrap();
        assert!(
            picture.starts_with("<svg") && picture.contains("ipip/tcp4/settled"),
            "{picture}"
        );
    }
}
