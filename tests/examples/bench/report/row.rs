//! One figure beside its base.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Figures of one case, one for each round.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

/// What `--json` has of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured: `ipip/tcp4/settled`.
    pub name: String,
    /// How many flows the packets were of; in curves, of what the name says; of failures, how many there were.
    pub flows: u64,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// What 90 and 99 of a hundred are not above, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    pub unit: String,
    /// What the figure is compared with.
    pub base: String,
    pub base_median: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
}

impl Samples {
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The one in the middle; of an even number, the upper one of the two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// What so many per cent of them are not above.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place among them"
    )]
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// How many times those of `base`, each beside the one of the same round: what else the machine did then met both.
    pub fn ratio(&self, base: &Self) -> f64 {
        let pairs = self.0.iter().zip(&base.0);
        Self(pairs.map(|(own, base)| own / base).collect()).median()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

impl Row {
    pub const HEADINGS: &str = "  case                                      flows    median         min–max unit        \
                                base                     ratio";

    pub fn new(
        name: impl Into<String>,
        flows: u64,
        unit: &str,
        samples: &Samples,
        base_name: &str,
        base: &Samples,
    ) -> Self {
        Self {
            name: name.into(),
            flows,
            median: rounded(samples.median()),
            min: rounded(samples.min()),
            max: rounded(samples.max()),
            p90: None,
            p99: None,
            unit: unit.to_owned(),
            base: base_name.to_owned(),
            base_median: rounded(base.median()),
            ratio: rounded(samples.ratio(base)),
        }
    }
}

impl Row {
    /// The same with how far the figures reach that are seldom.
    pub fn with_tail(self, samples: &Samples) -> Self {
        Self {
            p90: Some(rounded(samples.percentile(90.0))),
            p99: Some(rounded(samples.percentile(99.0))),
            ..self
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:<40} {:>8} {:>9} {:>9}–{:<9} {:<7} {:>9} {:<19} {:>7.2}",
            self.name,
            self.flows,
            figure(self.median),
            figure(self.min),
            figure(self.max),
            self.unit,
            figure(self.base_median),
            self.base,
            self.ratio
        )?;
        if let (Some(p90), Some(p99)) = (self.p90, self.p99) {
            write!(f, "   p90 {}, p99 {}", figure(p90), figure(p99))?;
        }
        Ok(())
    }
}

/// As many digits as mean something: three behind the point at most.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// As many digits as one compares at a glance.
pub fn figure(figure: f64) -> String {
    if figure.fract() == 0.0 || figure.abs() >= 1000.0 {
        format!("{figure:.0}")
    } else if figure.abs() >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: &[f64]) -> Samples {
        figures.iter().copied().collect()
    }

    #[test]
    fn a_row_has_the_median_the_ends_and_the_median_of_the_rounds_ratios() {
        let row = Row::new(
            "ipip/tcp4/settled",
            100_000,
            "ns",
            &samples(&[300.0, 150.0, 900.0]),
            "head-move-send",
            &samples(&[100.0, 90.0, 120.0]),
        );
        assert_eq!(
            (row.median, row.min, row.max, row.base_median, row.ratio),
            (300.0, 150.0, 900.0, 100.0, 3.0)
        );
    }

    #[test]
    fn a_slow_round_of_both_changes_no_ratio() {
        let quiet = samples(&[20.0, 20.0, 20.0]).ratio(&samples(&[10.0, 10.0, 10.0]));
        let noisy = samples(&[20.0, 60.0, 60.0]).ratio(&samples(&[10.0, 30.0, 30.0]));
        assert_eq!(quiet, noisy);
    }

    #[test]
    fn the_tail_is_what_so_many_are_not_above() {
        let hundred: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!((hundred.percentile(90.0), hundred.percentile(99.0)), (90.0, 99.0));
        let row = Row::new(
            "tcp/killed",
            1,
            "ms",
            &samples(&[4.5]),
            "haproxy",
            &samples(&[3.0]),
        );
        let row = row.with_tail(&samples(&[4.5]));
        assert!(row.to_string().ends_with("p90 4.50, p99 4.50"), "{row}");
    }

    #[test]
    fn nothing_measured_is_no_number() {
        let none = Samples::default();
        assert!(none.median().is_nan() && none.min().is_nan() && none.max().is_nan());
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = Row::new("pass/tcp4", 1, "ns", &samples(&[4.5]), "pass", &samples(&[3.0]));
        let text = serde_json::to_string(&row).unwrap();
        assert!(
            text.contains(r#""unit":"ns""#) && text.contains(r#""ratio":1.5"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }

    #[test]
    fn figures_have_the_digits_that_one_compares() {
        assert_eq!(
            [1234.56, 123.4, 12.34, 1.234, 300.0].map(figure),
            ["1235", "123.4", "12.3", "1.23", "300"]
        );
    }
}
