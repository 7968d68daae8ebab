//! The threshold of phi-accrual detection (Hayashibara and others, SRDS 2004): from which suspicion on a backend counts as down.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// In tenths, so that it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phi(u16);

const MIN: f64 = 1.0;
const MAX: f64 = 16.0;

impl Phi {
    fn new(phi: f64) -> Result<Self, String> {
        if !(MIN..=MAX).contains(&phi) {
            return Err(format!("{phi} is no threshold: use {MIN} to {MAX}, usually 8"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 10 and 160"
        )]
        Ok(Self((phi * 10.0).round() as u16))
    }

    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

impl fmt::Display for Phi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl FromStr for Phi {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse();
        number
            .map_err(|_| format!("{text:?} is no number: use {MIN} to {MAX}, usually 8"))
            .and_then(Self::new)
    }
}

impl Serialize for Phi {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

impl<'de> Deserialize<'de> for Phi {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Phi;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from {MIN} to {MAX}")
            }

            fn visit_f64<E: de::Error>(self, phi: f64) -> Result<Phi, E> {
                Phi::new(phi).map_err(E::custom)
            }

            #[expect(clippy::cast_precision_loss, reason = "what is near the bounds is exact")]
            fn visit_i64<E: de::Error>(self, phi: i64) -> Result<Phi, E> {
                self.visit_f64(phi as f64)
            }

            #[expect(clippy::cast_precision_loss, reason = "what is near the bounds is exact")]
            fn visit_u64<E: de::Error>(self, phi: u64) -> Result<Phi, E> {
                self.visit_f64(phi as f64)
            }
        }

        deserializer.deserialize_f64(Visitor)
    }
}
