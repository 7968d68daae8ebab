//! What the maps cost in kernel memory.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use lb_common::maps::PINNED;
use serde::{Deserialize, Serialize};

use crate::datapath::pins::Pins;

/// The memory of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub map: String,
    pub bytes: u64,
}

/// The pinned maps.
#[derive(Debug)]
pub struct Meter(Vec<(&'static str, MapData)>);

impl Meter {
    /// Opens them.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn open(pins: &Pins) -> Result<Self> {
        let open = |name: &&'static str| {
            let path = pins.map(name);
            let map = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
            Ok((*name, map))
        };
        PINNED.iter().map(open).collect::<Result<_>>().map(Self)
    }

    /// The memory of each, without what is in it by reference.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn read(&self) -> Result<Vec<Usage>> {
        let usage = |(name, map): &(&str, MapData)| {
            Ok(Usage {
                map: (*name).to_owned(),
                bytes: of(map.fd())?,
            })
        };
        self.0.iter().map(usage).collect()
    }
}

/// The memory of a map, as the kernel tells it (`bpf_map_show_fdinfo`).
///
/// # Errors
/// When the kernel does not.
pub fn of(map: impl AsFd) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    memlock(&text).with_context(|| format!("{path}: no memlock"))
}

fn memlock(fdinfo: &str) -> Option<u64> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_found() {
        let fdinfo = "pos:\t0\nflags:\t02000002\nmap_type:\t2\nkey_size:\t4\nvalue_size:\t8\nmax_entries:\t1\nmap_flags:\t0x400\nmap_extra:\t0x0\nmemlock:\t4096\nmap_id:\t17\n";
        assert_eq!(memlock(fdinfo), Some(4096));
        assert_eq!(memlock("pos:\t0\n"), None);
    }
}
