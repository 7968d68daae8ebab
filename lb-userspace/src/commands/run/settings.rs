//! From the configuration's addresses and ports to what the program is loaded with.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_common::{
    addr::Addr,
    limits::SOURCES,
    settings::{Outer, Translation},
};

use crate::{
    config::{Network, Node, Ports},
    datapath::{Datapath, cpus},
};

/// Where outer source addresses come from.
pub fn outer(networks: &[Network]) -> Outer {
    let mut outer = Outer::default();
    for network in networks {
        // Of IPv6's host bits the last 32 are plenty: they are all that a flow's hash gives.
        let host_bits = mask(network.host_bits().min(32)).to_be();
        match network.base() {
            IpAddr::V4(_) => (outer.v4_network, outer.v4_host_bits) = ((*network).into(), host_bits),
            IpAddr::V6(_) => (outer.v6_network, outer.v6_host_bits) = ((*network).into(), host_bits),
        }
    }
    outer
}

/// Source addresses and ports of translated flows, with ports for each CPU that runs now. Those that the kernel may ever run on are
/// often many more, on virtual machines above all.
///
/// # Errors
/// When there are fewer ports than CPUs.
pub fn translation(node: &Node) -> Result<Translation> {
    let (first_port, ports_per_cpu) = shares(node.source_ports, cpus::online()?)?;
    let (v4, v6) = by_family(&node.sources);
    Ok(Translation {
        first_port,
        ports_per_cpu,
        last_port: node.source_ports.bounds().1,
        v4_sources: v4.len().try_into().context("count the sources")?,
        v6_sources: v6.len().try_into().context("count the sources")?,
    })
}

/// Writes the source addresses, before the program is attached that counts on them. Those that are right already are not
/// touched: an earlier program may be reading them.
///
/// # Errors
/// When the data plane cannot be read or written.
pub fn write_sources(datapath: &mut impl Datapath, sources: &[IpAddr]) -> Result<()> {
    let there = datapath.snapshot()?.sources;
    let (v4, v6) = by_family(sources);
    for (index, source) in (0..).zip(v4).chain((SOURCES..).zip(v6)) {
        if there.get(&index) != Some(&source) {
            datapath.put_source(index, &source)?;
        }
    }
    Ok(())
}

fn by_family(sources: &[IpAddr]) -> (Vec<Addr>, Vec<Addr>) {
    let addresses = sources.iter().map(|source| Addr::from(*source));
    addresses.partition(|address| address.is_v4())
}

/// The first port, and how many each CPU gets.
fn shares(ports: Ports, cpus: usize) -> Result<(u16, u16)> {
    let (first, last) = ports.bounds();
    let count = usize::from(last - first) + 1;
    ensure!(
        count >= cpus,
        "node: source_ports: {count} ports are not one for each of this host's {cpus} CPUs: use a wider range"
    );
    // The whole of 1 to 65535 is 65535 ports, so this always fits.
    let each = u16::try_from(count / cpus).unwrap_or(u16::MAX);
    Ok((first, each))
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shr(32 - u32::from(bits)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::memory::MemoryDatapath;

    #[test]
    fn the_host_bits_are_the_networks() {
        let networks = ["172.16.0.0/16", "fd00::/64"].map(|network| network.parse().unwrap());
        let outer = outer(&networks);
        assert_eq!(outer.v4_host_bits.to_ne_bytes(), [0, 0, 0xff, 0xff]);
        assert_eq!(outer.v6_host_bits, u32::MAX);
        assert_eq!(IpAddr::from(outer.v4_network).to_string(), "172.16.0.0");
        let single = super::outer(&["10.0.0.2".parse().unwrap(), "fd00::/120".parse().unwrap()]);
        assert_eq!((single.v4_host_bits, single.v6_host_bits), (0, 0xff_u32.to_be()));
        assert_eq!(super::outer(&[]), Outer::default());
    }

    #[test]
    fn every_cpu_has_ports_of_its_own() {
        assert_eq!(shares(Ports::Range(1024, 32_767), 4).unwrap(), (1024, 7936));
        assert_eq!(shares(Ports::Range(1, 65_535), 1).unwrap(), (1, 65_535));
        let refusal = shares(Ports::Range(1024, 1026), 4).unwrap_err().to_string();
        assert!(
            refusal.starts_with("node: source_ports: 3 ports are not one for each"),
            "{refusal}"
        );
    }

    #[test]
    fn sources_are_counted_by_family() {
        let sources = ["10.0.0.2", "fd00::2", "10.0.0.3"].map(|source| source.parse().unwrap());
        let mut datapath = MemoryDatapath::default();
        write_sources(&mut datapath, &sources).unwrap();
        let written: Vec<_> = datapath
            .snapshot
            .sources
            .iter()
            .map(|(index, source)| (*index, IpAddr::from(*source).to_string()))
            .collect();
        let expected = [(0, "10.0.0.2"), (1, "10.0.0.3"), (16, "fd00::2")];
        assert_eq!(
            written,
            expected.map(|(index, source)| (index, source.to_owned()))
        );
    }
}
