//! Reading single values: whole numbers within bounds, durations, addresses. Each error says what would be right.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest part of somebody's text that an error repeats.
const QUOTED: usize = 80;

/// `"text"`, on one line and not longer than an error should be.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// For `skip_serializing_if`: what is not written is the default.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// From which to which whole number a setting may go.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub min: i64,
    pub max: i64,
}

impl Bounds {
    pub const fn new(min: i64, max: i64) -> Self {
        Self { min, max }
    }

    /// What is wrong with `number`, if anything.
    pub fn check(self, number: impl Into<i128>) -> Result<(), String> {
        within(&number.into(), &self.min.into(), &self.max.into())
    }
}

/// Bounds of every port.
pub(super) const PORT: Bounds = Bounds::new(1, 65_535);

/// What is wrong with a duration that should be from `min` to `max`, if anything.
pub(super) fn lasts(duration: Duration, min: Duration, max: Duration) -> Result<(), String> {
    within(&Readable(duration), &Readable(min), &Readable(max))
}

pub(super) fn within<T: PartialOrd + fmt::Display>(value: &T, min: &T, max: &T) -> Result<(), String> {
    if value < min {
        return Err(format!("{value} is below {min}: use {min} to {max}"));
    }
    if value > max {
        return Err(format!("{value} is above {max}: use {min} to {max}"));
    }
    Ok(())
}

/// A duration that reads like `1m 30s`.
#[derive(PartialEq, PartialOrd)]
struct Readable(Duration);

impl fmt::Display for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Serialize)]
#[serde(transparent)]
pub(super) struct Bounded<T, const MIN: i64, const MAX: i64>(pub T);

/// A port.
pub(super) type Port = Bounded<u16, { PORT.min }, { PORT.max }>;

impl<'de, T: TryFrom<i128>, const MIN: i64, const MAX: i64> Deserialize<'de> for Bounded<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_i64(WholeNumber(Bounds::new(MIN, MAX)))?;
        T::try_from(number)
            .map(Self)
            .map_err(|_| de::Error::custom("the bounds are wider than the type"))
    }
}

struct WholeNumber(Bounds);

impl de::Visitor<'_> for WholeNumber {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.0.min, self.0.max)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i128, E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i128, E> {
        self.visit_i128(number.into())
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<i128, E> {
        self.0.check(number).map_err(E::custom)?;
        Ok(number)
    }
}

/// For `deserialize_with`: a whole number from `MIN` to `MAX`.
pub(super) fn bounded<'de, D, T, const MIN: i64, const MAX: i64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    Ok(Bounded::<T, MIN, MAX>::deserialize(deserializer)?.0)
}

/// Has serde write a type as the text that it displays as, and read what that parses from.
macro_rules! as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use as_text;

/// A duration in a place where it may be absent.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Lasting(#[serde(with = "duration")] pub Duration);

/// For `deserialize_with`: an IP address.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        de::Error::custom(format!(
            "{} is not an IP address: write it like \"10.0.0.2\"",
            quoted(&text)
        ))
    })
}

/// For `with`: a duration as people write it.
pub(super) mod duration {
    use super::*;

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like \"500ms\", \"30s\" or \"2h\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                humantime::parse_duration(text).map_err(|_| {
                    let text = quoted(text);
                    E::custom(format!(
                        "{text} is not a duration: write it like \"500ms\", \"30s\" or \"2h\""
                    ))
                })
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}
