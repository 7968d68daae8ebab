//! How results look: plain tables and round numbers for people, JSON for programs.

mod words;

use std::time::Duration;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

pub use self::words::{cut, excerpt, first_line, one_line, printable};

const DECIMAL: (f64, &[&str]) = (1000.0, &["k", "M", "G", "T", "P", "E"]);
const BINARY: (f64, &[&str]) = (1024.0, &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]);
/// Counts below it are shown exactly: they are short, and people compare them.
const EXACT_BELOW: u64 = 10_000;

/// What stands for "there is none".
pub const NONE: &str = "-";

/// A column's head and on which side its cells stand.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Words, at the left.
    Text(&'static str),
    /// Numbers, at the right.
    Number(&'static str),
}

/// Lays rows out under heads, with two spaces between columns, no lines, and a line end after every row. A cell may hold
/// several lines.
#[must_use]
pub fn table<R>(columns: &[Column], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(head) | Column::Number(head) => *head,
    }));
    for row in rows {
        table.add_row(
            row.into_iter()
                .map(|cell| cell.lines().map(printable).collect::<Vec<_>>().join("\n")),
        );
    }
    for (column, kind) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if matches!(kind, Column::Number(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// What there is to say of one thing, a line each: its name, and the fact.
#[must_use]
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines = facts.into_iter();
    lines
        .map(|(name, value)| format!("{name:<11}{}\n", one_line(&value)))
        .collect()
}

/// JSON for programs that people also read.
///
/// # Errors
/// When a type has no JSON, which none of ours is.
pub fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value).context("write JSON")? + "\n")
}

/// A count in at most seven characters: `9999`, `12.3 k`, `1.2 M`.
#[must_use]
pub fn count(number: u64) -> String {
    if number < EXACT_BELOW {
        number.to_string()
    } else {
        scaled(number, DECIMAL)
    }
}

/// A size: `512 B`, `3.4 GiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    if number < 1024 {
        format!("{number} B")
    } else {
        scaled(number, BINARY)
    }
}

/// A time in its two largest units: `2days 3h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let all = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    all.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn scaled(number: u64, (base, units): (f64, &[&str])) -> String {
    let mut value = number as f64;
    let mut unit = "";
    for next in units {
        // As long as rounding to one decimal would show the base itself, as in "1000.0 k".
        if !unit.is_empty() && value < base - 0.05 {
            break;
        }
        value /= base;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_while_short() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0 k"),
            (999_949, "999.9 k"),
            (999_950, "1.0 M"),
            (1_234_567, "1.2 M"),
            (u64::MAX, "18.4 E"),
        ] {
            assert_eq!(count(number), text, "{number}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (number, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (3_650_722_202, "3.4 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn times_have_two_units() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(61), "1m 1s");
        assert_eq!(duration(183_845), "2days 3h");
    }

    #[test]
    fn a_table_is_plain_text_without_trailing_spaces() {
        let rows = [["a", "1"], ["long name\nsecond line", "23456"]].map(|row| row.map(String::from));
        let text = table(&[Column::Text("NAME"), Column::Number("COUNT")], rows);
        assert_eq!(
            text,
            "NAME         COUNT\na                1\nlong name    23456\nsecond line\n"
        );
    }

    #[test]
    fn cells_from_elsewhere_cannot_steer_the_terminal() {
        let text = table(&[Column::Text("A")], [["\u{1b}[31mred".to_owned()]]);
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
