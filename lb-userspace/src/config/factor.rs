//! A factor like 1.25, kept in percent; for serde's `with`.

use std::fmt;

use serde::{Deserializer, Serializer, de};

use super::value::within;

const MIN: Percent = Percent(101);
const MAX: Percent = Percent(1000);

/// Reads as a factor.
#[derive(PartialEq, PartialOrd)]
struct Percent(u16);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.0) / 100.0).fmt(f)
    }
}

/// A factor as its text: `1.25`.
#[must_use]
pub fn text(percent: u16) -> String {
    Percent(percent).to_string()
}

/// What is wrong with a factor, if anything.
///
/// # Errors
/// When it is too low or too high.
pub fn check(percent: u16) -> Result<(), String> {
    within(&Percent(percent), &MIN, &MAX)
}

/// A factor in percent, to the nearest one.
///
/// # Errors
/// When it is too low or too high.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what does not fit becomes the nearest that does, and is refused"
)]
pub fn percent(factor: f64) -> Result<u16, String> {
    let percent = (factor * 100.0).round() as u16;
    check(percent)?;
    Ok(percent)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
pub(super) fn serialize<S: Serializer>(percent: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(f64::from(*percent) / 100.0)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = u16;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number from {MIN} to {MAX}")
        }

        fn visit_f64<E: de::Error>(self, factor: f64) -> Result<u16, E> {
            percent(factor).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, factor: i64) -> Result<u16, E> {
            let whole = factor.clamp(0, u8::MAX.into());
            self.visit_f64(u8::try_from(whole).map_err(E::custom)?.into())
        }

        fn visit_u64<E: de::Error>(self, factor: u64) -> Result<u16, E> {
            self.visit_i64(i64::try_from(factor).unwrap_or(i64::MAX))
        }
    }

    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_kept_to_a_percent() {
        assert_eq!(percent(1.25), Ok(125));
        assert_eq!(percent(1.01), Ok(101));
        assert_eq!(percent(10.0), Ok(1000));
        assert_eq!(text(125), "1.25");
        assert_eq!(text(200), "2");
        for (wrong, said) in [
            (1.0, "1 is below 1.01: use 1.01 to 10"),
            (-3.0, "0 is below 1.01: use 1.01 to 10"),
            (f64::NAN, "0 is below 1.01: use 1.01 to 10"),
            (10.01, "10.01 is above 10: use 1.01 to 10"),
            (1e9, "655.35 is above 10: use 1.01 to 10"),
        ] {
            assert_eq!(percent(wrong), Err(said.into()));
        }
    }
}
