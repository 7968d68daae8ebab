//! What is printed, and written for programs to read.

use std::{cmp::Ordering, fmt, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::case::Case;

/// Nanoseconds per packet, one figure for each measurement.
#[derive(Default)]
pub struct Samples(Vec<u32>);

/// The one in the middle.
fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    values.get(values.len() / 2).copied()
}

/// One case beside its base.
#[derive(Serialize)]
pub struct Row {
    name: String,
    flows: u32,
    median: u32,
    min: u32,
    max: u32,
    unit: &'static str,
    base: &'static str,
    base_median: u32,
    /// The median of the rounds' ratios.
    ratio: f64,
}

#[derive(Serialize)]
pub struct Report {
    suite: &'static str,
    pub machine: String,
    pub rows: Vec<Row>,
}

impl Samples {
    pub fn push(&mut self, nanoseconds: u32) {
        self.0.push(nanoseconds);
    }

    /// How many times as long as those of `base`, each beside the one of the same round.
    fn ratio(&self, base: &Self) -> f64 {
        let pairs = self.0.iter().zip(&base.0);
        let ratios = pairs.map(|(&own, &base)| f64::from(own) / f64::from(base.max(1)));
        median(ratios.collect()).unwrap_or_default()
    }
}

impl Row {
    pub const HEADINGS: &str = "  case                      flows   median     min–max ns    base   ratio";

    pub fn new(case: Case, flows: u32, samples: &Samples, base: &Samples) -> Self {
        let Samples(all) = samples;
        Self {
            name: case.to_string(),
            flows,
            median: median(all.clone()).unwrap_or_default(),
            min: all.iter().copied().min().unwrap_or_default(),
            max: all.iter().copied().max().unwrap_or_default(),
            unit: "ns",
            base: "head-move-send",
            base_median: median(base.0.clone()).unwrap_or_default(),
            ratio: (samples.ratio(base) * 100.0).round() / 100.0,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:<22} {:>8} {:>8} {:>7}–{:<7} {:>7} {:>7.2}",
            self.name, self.flows, self.median, self.min, self.max, self.base_median, self.ratio
        )
    }
}

impl Report {
    pub fn new(release: &str) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let model = model.map_or("unknown processor", |(_, model)| model.trim());
        Self {
            suite: "test-run",
            machine: format!("{model}, Linux {release}"),
            rows: Vec::new(),
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("write down the results")?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_the_ends() {
        let samples = |all: &[u32]| {
            let mut samples = Samples::default();
            all.iter().for_each(|&sample| samples.push(sample));
            samples
        };
        let row = Row::new(
            Case::ALL[6],
            1,
            &samples(&[300, 150, 900]),
            &samples(&[100, 90, 120]),
        );
        assert_eq!(
            (row.median, row.min, row.max, row.base_median),
            (300, 150, 900, 100)
        );
        assert!((row.ratio - 3.0).abs() < f64::EPSILON);
        assert_eq!(row.name, "ipip/tcp4/settled");
    }
}
