//! How much of an address counts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::value::{Bounded, Bounds, quoted};

const V4: Bounds = Bounds::new(0, 32);
const V6: Bounds = Bounds::new(0, 128);

/// Bits of addresses that count, of IPv4 and of IPv6; written as `[24, 64]`, on command lines as `24/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub v4: u8,
    pub v6: u8,
}

impl Prefix {
    /// What is wrong with it, if anything.
    pub(super) fn check(self) -> Result<(), String> {
        V4.check(self.v4)?;
        V6.check(self.v6)
    }
}

impl Default for Prefix {
    /// All of them.
    fn default() -> Self {
        Self { v4: 32, v6: 128 }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.v4, self.v6)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let prefix = parts.and_then(|(v4, v6)| {
            Some(Self {
                v4: v4.parse().ok()?,
                v6: v6.parse().ok()?,
            })
        });
        let prefix = prefix.filter(|prefix| prefix.check().is_ok());
        prefix.ok_or_else(|| {
            format!(
                "{} is not up to 32 bits of IPv4 and up to 128 of IPv6: write them like 24/64",
                quoted(text)
            )
        })
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.v4, self.v6].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Prefix;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two numbers of bits, of IPv4 and IPv6, like [24, 64]")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Prefix, A::Error> {
        let odd =
            || de::Error::custom("there are not two numbers: write those of IPv4 and IPv6, like [24, 64]");
        let v4: Bounded<u8, { V4.min }, { V4.max }> = list.next_element()?.ok_or_else(odd)?;
        let v6: Bounded<u8, { V6.min }, { V6.max }> = list.next_element()?.ok_or_else(odd)?;
        match list.next_element::<de::IgnoredAny>()? {
            Some(_) => Err(odd()),
            None => Ok(Prefix { v4: v4.0, v6: v6.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_as_they_are_written() {
        let prefix = Prefix { v4: 24, v6: 64 };
        assert_eq!(serde_json::to_string(&prefix).unwrap(), "[24,64]");
        assert_eq!(serde_json::from_str::<Prefix>("[24, 64]").unwrap(), prefix);
        assert_eq!(prefix.to_string().parse(), Ok(prefix));
        for wrong in ["", "24", "24/", "24/64/1", "33/64", "24/129", "-1/64", "a/b"] {
            let refusal = wrong.parse::<Prefix>().unwrap_err();
            assert!(refusal.contains("write them like 24/64"), "{refusal}");
        }
        for wrong in ["[24]", "[24, 64, 1]", "[33, 64]", "[24, 129]", "24", "null"] {
            serde_json::from_str::<Prefix>(wrong).unwrap_err();
        }
    }
}
