//! The interface that is sent on.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::{libc::IFF_UP, unistd::geteuid};

/// The counters of an interface that tell what has left it.
pub const COUNTERS: [&str; 4] = ["tx_packets", "tx_bytes", "tx_dropped", "tx_errors"];

/// The interface.
pub struct Card {
    /// Its directory in sysfs.
    place: PathBuf,
}

impl Card {
    pub fn find(name: &str) -> Result<Self> {
        ensure!(geteuid().is_root(), "not root: pktgen is for root alone");
        let place = PathBuf::from("/sys/class/net").join(name);
        ensure!(
            !name.contains('/') && place.exists(),
            "interface {name}: there is none: `ip link` shows those that there are"
        );
        let card = Self { place };
        ensure!(
            card.flags()? & IFF_UP.cast_unsigned() != 0,
            "interface {name} is down: ip link set {name} up"
        );
        Ok(card)
    }

    fn flags(&self) -> Result<u32> {
        let text = self.read("flags")?;
        let digits = text.trim().trim_start_matches("0x");
        u32::from_str_radix(digits, 16).with_context(|| format!("the interface's flags {text}"))
    }

    pub fn counters(&self) -> Result<[u64; 4]> {
        let mut counters = [0; 4];
        for (counter, name) in counters.iter_mut().zip(COUNTERS) {
            let text = self.read(&format!("statistics/{name}"))?;
            *counter = text
                .trim()
                .parse()
                .with_context(|| format!("the counter {name}"))?;
        }
        Ok(counters)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.place.join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_refused() {
        for name in ["xlb-none0", "../net", ""] {
            assert!(Card::find(name).is_err(), "{name}");
        }
    }
}
