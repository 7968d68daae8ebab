//! The counts that are expected: `docs/bench/counts.json`.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::number::{By, Number, Origin};

/// By how many percent a count may differ.
const TOLERANCE: u64 = 2;

type Counts = BTreeMap<String, u64>;

/// By compiler.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expected(BTreeMap<String, OfCompiler>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct OfCompiler {
    programs: Counts,
    /// By series of the kernel.
    kernels: BTreeMap<String, Counts>,
}

/// A count that is not as expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    name: String,
    count: u64,
    expected: u64,
}

impl Expected {
    /// None where there is no file.
    pub fn read() -> Result<Self> {
        let path = path();
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
    }

    pub fn write(&self) -> Result<()> {
        let path = path();
        let mut text = serde_json::to_string_pretty(self).context("write down the counts")?;
        text.push('\n');
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Whether anything is expected of programs by this compiler.
    pub fn has(&self, origin: &Origin) -> bool {
        self.0.contains_key(&origin.compiler)
    }

    pub fn of(&self, origin: &Origin, number: &Number) -> Option<u64> {
        self.counts(origin, number.by)?.get(&number.name).copied()
    }

    /// Names that only one side has.
    pub fn missing(&self, origin: &Origin, numbers: &[Number]) -> Vec<String> {
        let mut missing = Vec::new();
        for by in [By::Compiler, By::Kernel] {
            let Some(expected) = self.counts(origin, by) else {
                continue;
            };
            let counted: Vec<&String> = numbers
                .iter()
                .filter(|number| number.by == by)
                .map(|number| &number.name)
                .collect();
            let new = counted.iter().filter(|name| !expected.contains_key(**name));
            missing.extend(new.map(|name| (*name).clone()));
            missing.extend(expected.keys().filter(|name| !counted.contains(name)).cloned());
        }
        missing
    }

    /// Expects these from now on, from here; what is expected elsewhere stays.
    pub fn update(&mut self, origin: &Origin, numbers: &[Number]) {
        let of = |by| -> Counts {
            let some = numbers.iter().filter(|number| number.by == by);
            some.map(|number| (number.name.clone(), number.count)).collect()
        };
        let expected = self.0.entry(origin.compiler.clone()).or_default();
        expected.programs = of(By::Compiler);
        expected.kernels.insert(origin.kernel.clone(), of(By::Kernel));
    }

    fn counts(&self, origin: &Origin, by: By) -> Option<&Counts> {
        let expected = self.0.get(&origin.compiler)?;
        match by {
            By::Compiler => Some(&expected.programs),
            By::Kernel => expected.kernels.get(&origin.kernel),
        }
    }
}

impl Difference {
    /// Of more than the tolerance.
    pub fn between(number: &Number, expected: u64) -> Option<Self> {
        let by = number.count.abs_diff(expected);
        (by * 100 > expected * TOLERANCE).then(|| Self {
            name: number.name.clone(),
            count: number.count,
            expected,
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.count > self.expected {
            "more"
        } else {
            "less"
        };
        write!(
            f,
            "{}: {} is {way} than {} by over {TOLERANCE} %",
            self.name, self.count, self.expected
        )
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bench/counts.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, count: u64, by: By) -> Number {
        Number {
            name: name.to_owned(),
            unit: "insns",
            count,
            by,
        }
    }

    fn origin(compiler: &str, kernel: &str) -> Origin {
        Origin {
            compiler: compiler.to_owned(),
            kernel: kernel.to_owned(),
        }
    }

    #[test]
    fn two_percent_either_way_are_no_difference() {
        let between = |count, expected| Difference::between(&number("a", count, By::Compiler), expected);
        assert_eq!(
            [between(102, 100), between(98, 100), between(7, 7)],
            [None, None, None]
        );
        assert_eq!(
            between(103, 100).unwrap().to_string(),
            "a: 103 is more than 100 by over 2 %"
        );
        assert_eq!(
            between(97, 100).unwrap().to_string(),
            "a: 97 is less than 100 by over 2 %"
        );
        assert!(between(1, 0).is_some());
    }

    #[test]
    fn a_kernel_that_is_not_written_down_is_not_compared_and_a_program_always_is() {
        let (here, elsewhere) = (origin("1.96.0", "6.18 x86_64"), origin("1.96.0", "6.1 x86_64"));
        let numbers = [
            number("built", 10, By::Compiler),
            number("verified", 20, By::Kernel),
        ];
        let mut expected = Expected::default();
        expected.update(&here, &numbers);
        assert_eq!(expected.of(&here, &numbers[1]), Some(20));
        assert_eq!(expected.of(&elsewhere, &numbers[1]), None);
        assert_eq!(expected.of(&elsewhere, &numbers[0]), Some(10));
        assert!(expected.has(&elsewhere) && !expected.has(&origin("1.97.0", "6.18 x86_64")));
    }

    #[test]
    fn names_on_one_side_only_are_told() {
        let here = origin("1.96.0", "6.18 x86_64");
        let mut expected = Expected::default();
        expected.update(
            &here,
            &[number("old", 1, By::Compiler), number("same", 1, By::Kernel)],
        );
        let now = [number("new", 1, By::Compiler), number("same", 1, By::Kernel)];
        assert_eq!(expected.missing(&here, &now), ["new", "old"]);
    }

    #[test]
    fn an_update_keeps_what_is_expected_elsewhere() {
        let mut expected = Expected::default();
        let numbers = [number("verified", 20, By::Kernel)];
        for kernel in ["6.1 x86_64", "6.18 x86_64"] {
            expected.update(&origin("1.96.0", kernel), &numbers);
        }
        assert_eq!(
            expected.of(&origin("1.96.0", "6.1 x86_64"), &numbers[0]),
            Some(20)
        );
    }
}
