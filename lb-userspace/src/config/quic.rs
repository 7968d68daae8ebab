//! Routing by QUIC connection IDs (draft-ietf-quic-load-balancers): which IDs are read, and whose they are.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::value::{Bounds, as_text, bounded, quoted};

pub(super) const CONFIG_ID: Bounds = Bounds::new(0, 6);
pub(super) const SERVER_ID_LENGTH: Bounds = Bounds::new(1, 8);

/// The connection IDs of a service that name their backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QuicSpec {
    /// The config rotation bits of the IDs that are read.
    #[serde(deserialize_with = "bounded::<_, _, { CONFIG_ID.min }, { CONFIG_ID.max }>")]
    pub config_id: u8,
    /// Bytes of the server ID behind the first byte.
    #[serde(deserialize_with = "bounded::<_, _, { SERVER_ID_LENGTH.min }, { SERVER_ID_LENGTH.max }>")]
    pub server_id_length: u8,
}

/// What a backend writes into the connection IDs that it issues; reads and writes as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    length: u8,
    bytes: [u8; 8],
}

impl ServerId {
    /// How many bytes it has.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The bytes as the maps hold them: the first one lowest, zeros behind.
    #[must_use]
    pub const fn word(self) -> u64 {
        u64::from_le_bytes(self.bytes)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.bytes.iter().take(self.length.into());
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ServerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is no server ID: write 1 to 8 bytes as hexadecimal digits, like \"0a0b\"",
                quoted(text)
            )
        };
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !text.len().is_multiple_of(2) || !(2..=16).contains(&text.len()) {
            return Err(wrong());
        }
        let mut id = Self {
            length: 0,
            bytes: [0; 8],
        };
        for (at, byte) in id.bytes.iter_mut().enumerate().take(text.len() / 2) {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
            id.length += 1;
        }
        Ok(id)
    }
}

as_text!(ServerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_id_is_its_bytes_in_their_order() {
        let id: ServerId = "0A0b".parse().unwrap();
        assert_eq!((id.length(), id.word()), (2, 0x0b0a));
        assert_eq!(id.to_string(), "0a0b");
        let zero: ServerId = "0000000000000000".parse().unwrap();
        assert_eq!((zero.length(), zero.word()), (8, 0));
    }

    #[test]
    fn what_is_no_server_id_is_refused() {
        for text in ["", "a", "0a0", "0x0a", "0a 0b", "000000000000000000", "zz", "äb"] {
            let refusal = text.parse::<ServerId>().unwrap_err();
            assert!(refusal.contains("is no server ID"), "{refusal}");
        }
    }
}
