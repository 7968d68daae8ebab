//! The command line.

use std::ffi::OsString;

use anyhow::{Result, bail};

use super::stage::Pace;

pub(super) const HELP: &str = "\
Shows what xlb does, in a network of its own that is removed in the end (needs root)

Usage: cargo xtask demo [--fast]

Options:
      --fast  Wait and measure for less time: rougher numbers, no pauses for reading
  -h, --help  Print help

Set NO_COLOR for plain text on a terminal. XLB_BIN names another xlb than this workspace's release build.

Exit codes:
  0      everything was shown, and everything that was shown held
  1      something did not hold, or could not be done
  128+N  ended early by signal N, such as 130 for Ctrl-C
";

/// What the user wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Help,
    Show(Pace),
}

pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Wish> {
    let mut pace = Pace::Normal;
    for argument in arguments {
        match argument.to_str() {
            Some("--fast") => pace = Pace::Fast,
            Some("-h" | "--help") => return Ok(Wish::Help),
            _ => bail!("unknown argument {}: see --help", argument.display()),
        }
    }
    Ok(Wish::Show(pace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Wish> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn one_flag_and_help() {
        assert_eq!(of("").unwrap(), Wish::Show(Pace::Normal));
        assert_eq!(of("--fast").unwrap(), Wish::Show(Pace::Fast));
        assert_eq!(of("--fast -h").unwrap(), Wish::Help);
        let error = of("--fats").unwrap_err().to_string();
        assert!(error.contains("--fats") && error.contains("--help"), "{error}");
    }
}
