//! The program and its maps.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key},
    programs::{ProgramError, Xdp, XdpMode, links::FdLink},
};
use lb_common::{
    addr::Addr,
    decap::{self, Decap, Settings},
    traffic::Count,
};
use nix::{errno::Errno, net::if_::if_nametoindex};

use crate::{
    config::{AttachMode, Network},
    datapath::load,
};

/// The BPF object, built with this binary.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb-decap"));

type Prefixes = LpmTrie<MapData, Addr, u32>;

/// How often each outcome has been, in the order of [`Decap::ALL`].
pub type Tally = Vec<Count>;

/// The loaded program; ends with the value.
pub struct Program {
    ebpf: Ebpf,
    /// Of the program that was loaded.
    name: &'static str,
    locals: Prefixes,
    known: BTreeSet<Network>,
    counts: PerCpuArray<MapData, Count>,
    link: Option<FdLink>,
}

impl Program {
    /// Loads the program, with `multi_buffer` the one for frames longer than one buffer. GUE comes to `port`, tunnels from
    /// `sources` alone, or with none named, from everywhere.
    ///
    /// # Errors
    /// When there are too many sources, or the kernel refuses program or maps.
    pub fn load(port: u16, sources: &[Network], multi_buffer: bool) -> Result<Self> {
        let settings = Settings {
            port: port.to_be(),
            restricted: u8::from(!sources.is_empty()),
            multi_buffer: multi_buffer.into(),
            _pad: [0; 4],
        };
        let mut ebpf = EbpfLoader::new()
            .override_global(decap::SETTINGS, &settings, true)
            .load(OBJECT)
            .context("load the BPF maps")?;
        let mut allowed: Prefixes = take(&mut ebpf, decap::SOURCES)?;
        for source in sources {
            let put = allowed.insert(&key(*source), 0, 0);
            put.map_err(|error| full(error, "--from"))
                .with_context(|| format!("allow tunnels from {source}"))?;
        }
        let mut program = Self {
            locals: take(&mut ebpf, decap::LOCALS)?,
            counts: take(&mut ebpf, decap::COUNTS)?,
            known: BTreeSet::new(),
            ebpf,
            name: if multi_buffer {
                decap::FRAGS_PROGRAM
            } else {
                decap::PROGRAM
            },
            link: None,
        };
        load::undisturbed(|| program.xdp()?.load().map_err(load::refused))??;
        Ok(program)
    }

    /// Puts the program on an interface, in native mode unless `generic` is asked for or the driver has no other; says which.
    ///
    /// # Errors
    /// When there is no such interface, or it carries another XDP program.
    pub fn attach(&mut self, interface: &str, generic: bool) -> Result<AttachMode> {
        let index = if_nametoindex(interface)
            .map_err(|_| anyhow!("there is none of that name: 'ip link' shows them"))?;
        if !generic {
            match self.try_mode(index, XdpMode::Driver) {
                Ok(()) => return Ok(AttachMode::Native),
                Err(error) if is_taken(&error) => bail!(TAKEN),
                Err(error) => log::warn!(
                    "interface {interface}: its driver takes no native XDP program ({error:#}); \
                     trying generic mode, several times slower"
                ),
            }
        }
        match self.try_mode(index, XdpMode::Skb) {
            Ok(()) => Ok(AttachMode::Generic),
            Err(error) if is_taken(&error) => bail!(TAKEN),
            Err(error) => Err(error).context("attach the program in generic mode"),
        }
    }

    /// Makes these the destinations of this host. Those that are new come before others go.
    ///
    /// # Errors
    /// When they are too many.
    pub fn set_locals(&mut self, locals: BTreeSet<Network>) -> Result<()> {
        for network in locals.difference(&self.known) {
            let put = self.locals.insert(&key(*network), 0, 0);
            put.map_err(|error| full(error, "--local"))
                .with_context(|| format!("take {network} for this host's"))?;
            log::info!("takes packets to {network}");
        }
        for network in self.known.difference(&locals) {
            let removed = self.locals.remove(&key(*network));
            removed.with_context(|| format!("take {network} for this host's no more"))?;
            log::info!("takes no more packets to {network}");
        }
        self.known = locals;
        Ok(())
    }

    /// What became of the packets so far.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn tally(&self) -> Result<Tally> {
        let sum = |outcome: &Decap| {
            let values = self.counts.get(&u32::from(outcome.wire()), 0);
            let values = values.context("read the counters")?;
            Ok(values.iter().fold(Count::default(), |sum, count| Count {
                packets: sum.packets.wrapping_add(count.packets),
                bytes: sum.bytes.wrapping_add(count.bytes),
            }))
        };
        Decap::ALL.iter().map(sum).collect()
    }

    /// The XDP program.
    ///
    /// # Errors
    /// When the object is not ours.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(self.name);
        let program = program.context("the BPF object has no program")?;
        program.try_into().context("the BPF object's program is not XDP")
    }

    /// Only by a link, which ends with the process: an XDP program that was put there by netlink would stay.
    fn try_mode(&mut self, index: u32, mode: XdpMode) -> Result<()> {
        let program = self.xdp()?;
        let id = program.attach_to_if_index(index, mode)?;
        let link = FdLink::try_from(program.take_link(id)?);
        self.link = Some(link.map_err(|error| anyhow!("the kernel has no XDP links: {error}"))?);
        Ok(())
    }
}

const TAKEN: &str = "another XDP program is on it already ('ip link' shows its id): take that one off first, or choose \
                     another interface";

fn is_taken(error: &anyhow::Error) -> bool {
    let errno = match error.downcast_ref() {
        Some(ProgramError::SyscallError(error)) => error.io_error.raw_os_error().map(Errno::from_raw),
        _ => None,
    };
    matches!(errno, Some(Errno::EBUSY | Errno::EEXIST))
}

fn full(error: MapError, option: &str) -> anyhow::Error {
    match &error {
        MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(Errno::ENOSPC as i32) => {
            anyhow!(
                "at most {} fit: join neighbouring ones to networks with {option}",
                decap::MAX_PREFIXES
            )
        }
        _ => error.into(),
    }
}

fn key(network: Network) -> Key<Addr> {
    Key::new(network.prefix_len().into(), network.into())
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T> {
    let map = ebpf.take_map(name);
    let map = map.with_context(|| format!("the BPF object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("the map {name} is of another kind"))
}
