//! Pictures of results, as SVG.

mod curves;
mod ratios;

use plotters::style::RGBColor;

pub use self::{curves::curves, ratios::ratios};

/// Colours that also those tell apart who see no red or no green (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
const GREY: RGBColor = RGBColor(110, 110, 110);
const LIGHT: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";

/// The same colour each time; with more lines than colours they come again.
fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Each once, in the order in which they come.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// `1`, `1 k`, `10 M`.
fn count(of: u64) -> String {
    match of {
        0..1_000 => of.to_string(),
        1_000..1_000_000 => format!("{} k", of / 1_000),
        _ => format!("{} M", of / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        assert_eq!(
            [1, 999, 1_000, 100_000, 10_000_000].map(count),
            ["1", "999", "1 k", "100 k", "10 M"]
        );
    }

    #[test]
    fn what_comes_twice_is_kept_once_where_it_first_came() {
        assert_eq!(distinct([3, 1, 3, 2, 1].into_iter()), [3, 1, 2]);
    }
}
