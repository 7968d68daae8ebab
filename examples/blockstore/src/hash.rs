//! SHA-256, as `sha256sum` prints it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; 32]);

/// The hash of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hash {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first 128 bits, as a number.
    #[must_use]
    pub fn number(&self) -> u128 {
        self.0[..16]
            .iter()
            .fold(0, |number, &byte| number << 8 | u128::from(byte))
    }
}

impl Hasher {
    pub fn take(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[must_use]
    pub fn hash(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

/// Text that is no hash.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no SHA-256: that has 64 digits, 0 to 9 and a to f")]
pub struct NoHash(String);

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
            .collect();
        bytes
            .filter(|_| rest.is_empty())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| NoHash(text.to_owned()))
    }
}

impl TryFrom<String> for Hash {
    type Error = NoHash;

    fn try_from(text: String) -> Result<Self, NoHash> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sha256sum_prints() {
        let hash = Hash::of(b"abc");
        let printed = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), printed);
        assert_eq!(printed.parse::<Hash>().unwrap(), hash);
        assert_eq!(hash.number(), 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
    }

    #[test]
    fn bytes_in_pieces_have_the_same_hash() {
        let mut hasher = Hasher::default();
        for piece in [&b"a"[..], b"", b"bc"] {
            hasher.take(piece);
        }
        assert_eq!(hasher.hash(), Hash::of(b"abc"));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let good = Hash::of(b"").to_string();
        for bad in [
            "",
            "ab",
            &good[1..],
            &format!("{good}0"),
            &good.to_uppercase(),
            &"ä".repeat(32),
        ] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
