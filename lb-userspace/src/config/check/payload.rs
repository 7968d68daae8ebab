//! What a probe sends: text as people write it, or bytes in hexadecimal.

use std::fmt;

use super::super::value::quoted;

/// Longest that a probe sends: what fits one datagram on any way.
const LONGEST: usize = 1024;

/// What a probe sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Text(String),
    /// Written in hexadecimal.
    Bytes(Vec<u8>),
}

impl Payload {
    /// # Errors
    /// When it is not hexadecimal.
    pub fn hex(text: &str) -> Result<Self, String> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !b" :".contains(byte)).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
        let bytes = is_hex.then(|| digits.chunks(2).map(byte).collect::<Option<Vec<_>>>());
        bytes.flatten().map(Self::Bytes).ok_or_else(|| {
            format!(
                "{} is not hexadecimal: write each byte with two digits, like \"0a 1f\"",
                quoted(text)
            )
        })
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Whether it can be sent.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.bytes().len() {
            0 => Err("is empty: leave it out or give what to send".to_owned()),
            1..=LONGEST => Ok(()),
            length => Err(format!("{length} bytes are too long: use at most {LONGEST}")),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_and_written() {
        let payload = Payload::hex("0a 1F:ff").unwrap();
        assert_eq!(payload.bytes(), [0x0a, 0x1f, 0xff]);
        assert_eq!(payload.to_string(), "0a1fff");
        for wrong in ["0", "0g", "+1", "é1"] {
            Payload::hex(wrong).unwrap_err();
        }
        Payload::hex("").unwrap().check().unwrap_err();
    }
}
