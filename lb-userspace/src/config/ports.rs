//! Ports: one, a range, or all.

use std::{fmt, str::FromStr};

use super::value::{PORT, as_text, quoted};

/// Ports that are served alike; reads and writes as `80`, `8000-8999` or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    One(u16),
    /// From the first to the last, which is above it.
    Range(u16, u16),
    All,
}

/// Ports that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPrefix {
    /// The first of them.
    pub first: u16,
    /// How many bits are the same.
    pub bits: u32,
}

/// Why a text is no ports.
pub(super) enum Flaw {
    Form,
    Reversed,
}

impl Ports {
    /// Reads ports; those that nobody can have are for [`check`](Self::check) to refuse.
    pub(super) fn read(text: &str) -> Result<Self, Flaw> {
        let port = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or(Flaw::Form)
        };
        if text == "*" {
            return Ok(Self::All);
        }
        let Some((first, last)) = text.split_once('-') else {
            return port(text).map(Self::One);
        };
        let (first, last) = (port(first)?, port(last)?);
        match first.cmp(&last) {
            std::cmp::Ordering::Less => Ok(Self::Range(first, last)),
            std::cmp::Ordering::Equal => Ok(Self::One(first)),
            std::cmp::Ordering::Greater => Err(Flaw::Reversed),
        }
    }

    /// What is wrong with the ports, if anything.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            Self::One(port) | Self::Range(port, _) => {
                PORT.check(port).map_err(|problem| format!("port {problem}"))
            }
            Self::All => Ok(()),
        }
    }

    /// The first and the last.
    #[must_use]
    pub const fn bounds(self) -> (u16, u16) {
        match self {
            Self::One(port) => (port, port),
            Self::Range(first, last) => (first, last),
            Self::All => (0, u16::MAX),
        }
    }

    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        let (first, last) = self.bounds();
        first <= port && port <= last
    }

    /// `port 80`, `ports 8000-8999` or `every port`.
    pub(super) fn described(self) -> String {
        match self {
            Self::One(port) => format!("port {port}"),
            Self::Range(..) => format!("ports {self}"),
            Self::All => "every port".to_owned(),
        }
    }

    /// The fewest prefixes that are these ports, together and without another.
    #[must_use]
    pub fn prefixes(self) -> Vec<PortPrefix> {
        let (first, last) = self.bounds();
        let (mut first, end) = (u32::from(first), u32::from(last) + 1);
        let mut prefixes = Vec::new();
        while first < end {
            // As many as the first one's zeros at the end allow, and as still fit.
            let aligned = first.trailing_zeros().min(16);
            let host = aligned.min((end - first).ilog2());
            #[expect(
                clippy::cast_possible_truncation,
                reason = "below `end`, which is at most 2^16"
            )]
            prefixes.push(PortPrefix {
                first: first as u16,
                bits: 16 - host,
            });
            first += 1 << host;
        }
        prefixes
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(port) => port.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::All => f.write_str("*"),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|flaw| {
            let text = quoted(text);
            match flaw {
                Flaw::Form => format!("{text} is no range of ports: write it like \"8000-8999\""),
                Flaw::Reversed => format!("{text} ends before it begins: write the lower port first"),
            }
        })
    }
}

as_text!(Ports);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["80", "8000-8999", "*"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        assert_eq!("80-80".parse(), Ok(Ports::One(80)));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "", "-", "80-", "-80", "+80", "80-+90", "65536", "80-70000", "http", "1-2-3", "**",
        ] {
            let refusal = text.parse::<Ports>().unwrap_err();
            assert!(refusal.contains("is no range of ports"), "{refusal}");
        }
        assert!(
            "90-80"
                .parse::<Ports>()
                .unwrap_err()
                .contains("ends before it begins")
        );
        Ports::Range(0, 9).check().unwrap_err();
        Ports::All.check().unwrap();
    }

    #[test]
    fn all_ports_are_one_prefix() {
        assert_eq!(Ports::All.prefixes(), [PortPrefix { first: 0, bits: 0 }]);
        assert_eq!(Ports::One(80).prefixes(), [PortPrefix { first: 80, bits: 16 }]);
        assert_eq!(
            Ports::Range(8192, 16383).prefixes(),
            [PortPrefix { first: 8192, bits: 3 }]
        );
        // The worst there is.
        assert_eq!(Ports::Range(1, 65534).prefixes().len(), 30);
    }

    proptest! {
        #[test]
        fn the_prefixes_are_the_range_and_no_fewer_are(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let prefixes = Ports::Range(first, last).prefixes();
            let mut next = u32::from(first);
            let mut sizes = Vec::new();
            for prefix in &prefixes {
                let size = 1_u32 << (16 - prefix.bits);
                prop_assert_eq!(u32::from(prefix.first), next);
                prop_assert_eq!(next % size, 0, "aligned");
                next += size;
                sizes.push(size);
            }
            prop_assert_eq!(next, u32::from(last) + 1);
            // Sizes grow and then fall, and neighbours of one size would be halves of another prefix only if aligned.
            for (pair, at) in sizes.windows(2).zip(&prefixes) {
                prop_assert!(pair[0] != pair[1] || u32::from(at.first) % (2 * pair[0]) != 0);
            }
        }
    }
}
