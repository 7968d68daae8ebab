//! Sets of HTTP status codes: `200`, `"200-399"`, or a list of both.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{rules::is_number, value::quoted};

/// The codes that a response may have that is the last one: those below are followed by another (RFC 9110 §15.2).
const CODES: RangeInclusive<u16> = 200..=599;

/// Status codes that count as a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for StatusSet {
    /// Success and redirection.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{comma}{start}")?,
                (start, end) => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for StatusSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|part| range(part.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| is_number(text).then(|| text.parse().ok()).flatten();
    match (code(start), code(end)) {
        (Some(start), Some(end)) if start <= end && CODES.contains(&start) && CODES.contains(&end) => {
            Ok(start..=end)
        }
        _ => Err(format!(
            "{} is not a status or a range of them: use {} to {}, like 200 or \"200-399\"",
            quoted(text),
            CODES.start(),
            CODES.end()
        )),
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = StatusSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status like 200, a range like \"200-399\" or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusSet, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, code: i64) -> Result<StatusSet, E> {
        self.visit_str(&code.to_string())
    }

    fn visit_u64<E: de::Error>(self, code: u64) -> Result<StatusSet, E> {
        self.visit_str(&code.to_string())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<StatusSet, A::Error> {
        let mut ranges = Vec::new();
        while let Some(One(set)) = list.next_element()? {
            ranges.extend(set.0);
        }
        if ranges.is_empty() {
            return Err(de::Error::custom("no status would be good: name at least one"));
        }
        Ok(StatusSet(ranges))
    }
}

/// An element of the list, which is not a list itself.
struct One(StatusSet);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneVisitor;

        impl de::Visitor<'_> for OneVisitor {
            type Value = StatusSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status like 200 or a range like \"200-399\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusSet, E> {
                Visitor.visit_str(text)
            }

            fn visit_i64<E: de::Error>(self, code: i64) -> Result<StatusSet, E> {
                Visitor.visit_i64(code)
            }

            fn visit_u64<E: de::Error>(self, code: u64) -> Result<StatusSet, E> {
                Visitor.visit_u64(code)
            }
        }

        deserializer.deserialize_any(OneVisitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_and_the_text_reads_again() {
        for (json, text) in [
            ("200", "200"),
            (r#""200-399""#, "200-399"),
            (r#"[200, "300-399"]"#, "200,300-399"),
            (r#""200, 300-399""#, "200,300-399"),
        ] {
            let set: StatusSet = serde_json::from_str(json).unwrap();
            assert_eq!(set.to_string(), text);
            assert_eq!(text.parse::<StatusSet>().unwrap(), set);
        }
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for json in [
            "99",
            "100",
            r#""199-200""#,
            r#""+200""#,
            r#""200-+299""#,
            "600",
            "-1",
            r#""399-200""#,
            r#""""#,
            "[]",
            "[[200]]",
            "true",
            r#""ok""#,
        ] {
            assert!(serde_json::from_str::<StatusSet>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let set: StatusSet = "200-299,404".parse().unwrap();
        assert!(set.contains(200) && set.contains(299) && set.contains(404));
        assert!(!set.contains(199) && !set.contains(300) && !set.contains(405));
    }
}
