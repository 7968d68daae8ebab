//! Settings of flows, as arguments of services: `--new-flows-per-source 10,burst=50,prefix=24/64`.

use crate::{
    cli::values,
    config::{Affinity, Invalid, Prefix, Rate, SourceRate, factor},
};

/// Reads a factor, such as `1.25`, in percent.
///
/// # Errors
/// When it is none, too low or too high.
pub fn load_factor(text: &str) -> Result<u16, String> {
    let factor = text.parse().map_err(|_| "write a number like 1.25")?;
    factor::percent(factor)
}

/// A setting that may be taken away: `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<T>(pub Option<T>);

/// Reads `TIME[,prefix=V4/V6]` or `off`.
///
/// # Errors
/// When a part of it is wrong, there twice, or unknown.
pub fn affinity(text: &str) -> Result<Setting<Affinity>, String> {
    unless_off(text, || {
        let (timeout, options) = split(text, &["prefix"])?;
        let affinity = Affinity {
            timeout: values::duration(timeout)?,
            prefix: options.prefix,
        };
        checked(affinity, affinity.check())
    })
}

/// Reads `N[,burst=N]` or `off`.
///
/// # Errors
/// When a part of it is wrong, there twice, or unknown.
pub fn rate(text: &str) -> Result<Setting<Rate>, String> {
    unless_off(text, || {
        let (per_second, options) = split(text, &["burst"])?;
        options.rate(per_second)
    })
}

/// Reads `N[,burst=N][,prefix=V4/V6]` or `off`.
///
/// # Errors
/// When a part of it is wrong, there twice, or unknown.
pub fn source_rate(text: &str) -> Result<Setting<SourceRate>, String> {
    unless_off(text, || {
        let (per_second, options) = split(text, &["burst", "prefix"])?;
        let rate = SourceRate {
            rate: options.rate(per_second)?,
            prefix: options.prefix,
        };
        checked(rate, rate.check())
    })
}

fn unless_off<T>(text: &str, read: impl FnOnce() -> Result<T, String>) -> Result<Setting<T>, String> {
    match text {
        "off" => Ok(Setting(None)),
        _ => Ok(Setting(Some(read()?))),
    }
}

/// What may follow the first value.
struct Options {
    burst: Option<u32>,
    prefix: Prefix,
}

impl Options {
    fn rate(&self, per_second: &str) -> Result<Rate, String> {
        let unbounded = Rate::new(number(per_second)?);
        let rate = Rate {
            burst: self.burst.unwrap_or(unbounded.burst),
            ..unbounded
        };
        checked(rate, rate.check())
    }
}

/// The first value, and those behind it that `known` names.
fn split<'a>(text: &'a str, known: &[&str]) -> Result<(&'a str, Options), String> {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (mut burst, mut prefix) = (None, None);
    for part in parts {
        let option = part.split_once('=').filter(|(name, _)| known.contains(name));
        match option {
            Some(("burst", value)) if burst.is_none() => burst = Some(number(value)?),
            Some(("prefix", value)) if prefix.is_none() => prefix = Some(value.parse()?),
            Some(_) => return Err(format!("'{part}' is there twice")),
            None => return Err(format!("'{part}' is none of {}", known.join("=… and ") + "=…")),
        }
    }
    let prefix = prefix.unwrap_or_default();
    Ok((first, Options { burst, prefix }))
}

fn checked<T>(value: T, result: Result<(), Invalid>) -> Result<T, String> {
    result.map(|()| value).map_err(|invalid| invalid.to_string())
}

fn number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not a whole number"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_left_out_is_as_in_the_configuration() {
        let ten = Rate::new(10);
        assert_eq!(rate("10"), Ok(Setting(Some(ten))));
        let rated = Rate { burst: 50, ..ten };
        assert_eq!(rate("10,burst=50"), Ok(Setting(Some(rated))));
        let prefix = Prefix { v4: 24, v6: 64 };
        assert_eq!(
            source_rate("10,prefix=24/64"),
            Ok(Setting(Some(SourceRate { rate: ten, prefix })))
        );
        let timeout = Duration::from_secs(300);
        assert_eq!(
            affinity("5m,prefix=24/64"),
            Ok(Setting(Some(Affinity { timeout, prefix })))
        );
        assert_eq!(rate("off"), Ok(Setting(None)));
        assert_eq!(affinity("off"), Ok(Setting(None)));
        assert_eq!(load_factor("1.5"), Ok(150));
    }

    #[test]
    fn a_wrong_part_is_named() {
        for (refusal, said) in [
            (rate("").unwrap_err(), "'' is not a whole number"),
            (
                rate("0").unwrap_err(),
                "per_second: 0 is below 1: use 1 to 10000000",
            ),
            (
                affinity("3h").unwrap_err(),
                "timeout: 3h is above 2h: use 1s to 2h",
            ),
            (rate("ten").unwrap_err(), "'ten' is not a whole number"),
            (
                rate("10,prefix=24/64").unwrap_err(),
                "'prefix=24/64' is none of burst=…",
            ),
            (
                source_rate("10,bursts=3").unwrap_err(),
                "'bursts=3' is none of burst=… and prefix=…",
            ),
            (
                source_rate("10,burst=3,burst=4").unwrap_err(),
                "'burst=4' is there twice",
            ),
            (
                affinity("5m,prefix=24").unwrap_err(),
                "\"24\" is not up to 32 bits of IPv4 and up to 128 of IPv6: write them like 24/64",
            ),
            (
                affinity("5").unwrap_err(),
                "a time is written like 500ms, 30s or 2h",
            ),
            (load_factor("much").unwrap_err(), "write a number like 1.25"),
            (load_factor("1").unwrap_err(), "1 is below 1.01: use 1.01 to 10"),
        ] {
            assert_eq!(refusal, said);
        }
    }
}
