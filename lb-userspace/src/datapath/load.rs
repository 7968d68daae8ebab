//! Loading the program, with the maps that an earlier agent left if there are any.

use std::io;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, MapInfo, MapType},
    programs::{Program, ProgramError, Xdp},
};
use lb_common::{
    addr::Addr,
    backend::Backend,
    conn::{Flow, Fragment, FragmentKey, Reply, Timeouts},
    flow::FlowKey,
    limits,
    maps::{self, PINNED},
    next_hop::{Egress, VlanDevice},
    outcome::Outcome,
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
    settings::{Options, Outer, Own, Translation},
    traffic::{Count, Traffic},
};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::datapath::{
    cpus,
    pins::{self, Pins},
};

/// The BPF object, built with this binary.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb-xdp"));

/// What is fixed when the program is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub hash_key: [u64; 2],
    pub timeouts: Timeouts,
    /// With `multi_buffer` the program is the one for frames longer than one buffer.
    pub options: Options,
    pub own: Own,
    pub outer: Outer,
    pub translation: Translation,
    pub capacity: Capacity,
    /// Whether each packet is logged.
    pub log_packets: bool,
}

/// How much the maps hold.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub flows: u32,
    pub backends: u32,
    pub services: u32,
}

/// One map's type, sizes and capacity.
struct Shape {
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    room: Room,
}

/// How many entries a map has: those that a limit asks for, and some that no limit counts.
#[derive(Clone, Copy)]
struct Room {
    limit: &'static str,
    asked: u32,
    /// Entries for each that is asked for.
    each: u32,
    more: u32,
}

impl Room {
    fn entries(self) -> u32 {
        self.asked * self.each + self.more
    }

    /// The limit that a map of so many entries was made for.
    fn made_for(self, entries: u32) -> u32 {
        entries.saturating_sub(self.more) / self.each.max(1)
    }
}

/// Loads the program and its maps; maps that are pinned already are taken over with what they hold.
///
/// # Errors
/// When pinned maps have other sizes than the settings ask for, or the kernel refuses program or maps.
pub fn load(pins: &Pins, settings: &Settings) -> Result<Ebpf> {
    let shapes = shapes(settings.capacity, cpus::possible()?);
    for shape in &shapes {
        check_pinned(pins, shape)?;
    }
    let level = if settings.log_packets {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(maps::HASH_KEY, &settings.hash_key, true)
        .override_global(maps::TIMEOUTS, &settings.timeouts, true)
        .override_global(maps::OPTIONS, &settings.options, true)
        .override_global(maps::OWN, &settings.own, true)
        .override_global(maps::OUTER, &settings.outer, true)
        .override_global(maps::TRANSLATION, &settings.translation, true)
        .override_global(aya_log::LEVEL, &level, true);
    for shape in &shapes {
        loader.map_max_entries(shape.name, shape.room.entries());
    }
    for name in PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| not_made(error, &shapes))?;
    let name = if settings.options.multi_buffer == 0 {
        maps::PROGRAM
    } else {
        maps::FRAGS_PROGRAM
    };
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the BPF object has no program {name}"))?;
    let program: &mut Xdp = program
        .try_into()
        .with_context(|| format!("the BPF object's program {name} is not XDP"))?;
    undisturbed(|| program.load())?.map_err(refused)?;
    Ok(ebpf)
}

/// Runs `act` while other threads take this one's signals: the verifier gives up when one comes (EAGAIN), and aya then asks for
/// its log, which takes seconds.
pub(crate) fn undisturbed<T>(act: impl FnOnce() -> T) -> Result<T> {
    let before = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .context("hold signals back")?;
    let result = act();
    before.thread_set_mask().context("take signals again")?;
    Ok(result)
}

/// The XDP program of a loaded object: the one of the two that was loaded.
///
/// # Errors
/// When the object is not ours.
pub fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let programs = ebpf.programs_mut().filter_map(|(_, program)| match program {
        Program::Xdp(program) => Some(program),
        _ => None,
    });
    let mut loaded = programs.filter(|program| program.fd().is_ok());
    loaded.next().context("the BPF object has no loaded XDP program")
}

/// Pins the program, so that others (a benchmark, `bpftool`) find it.
///
/// # Errors
/// When the pin cannot be made.
pub fn pin_program(ebpf: &mut Ebpf, pins: &Pins) -> Result<()> {
    let program = xdp(ebpf)?;
    pins::replace(&pins.program(), |path| {
        program.pin(path).context("pin the program")
    })
}

/// How many fragmented packets are remembered. Each CPU takes up to 128 free entries at once (`LOCAL_FREE_TARGET` in
/// kernel/bpf/bpf_lru_list.c), and those that find none left throw out each other's.
fn fragments(cpus: u32) -> u32 {
    limits::FRAGMENTS.max(cpus.saturating_mul(2 * 128))
}

fn shapes(capacity: Capacity, cpus: u32) -> Vec<Shape> {
    let Capacity {
        flows,
        backends,
        services,
    } = capacity;
    let shape = |name, kind, key, value, room| Shape {
        name,
        kind,
        key,
        value,
        room,
    };
    let room = |limit, asked, each, more| Room {
        limit,
        asked,
        each,
        more,
    };
    let (of_flows, of_services) = (room("flows", flows, 1, 0), room("services", services, 1, 0));
    let of_vips = room("services", services, limits::VIPS_PER_SERVICE, 0);
    let of_ports = room("services", services, limits::PORTS_PER_SERVICE, 0);
    // Id 0 is no backend, index 0 no next hop.
    let (of_backends, of_hops) = (room("backends", backends, 1, 1), room("backends", backends, 2, 1));
    let of_addresses = room("backends", backends, 1, 0);
    // No limit: another number is another layout.
    let fixed = |entries| room("", 0, 0, entries);
    #[expect(clippy::cast_possible_truncation, reason = "an enum of one byte")]
    let of_outcomes = fixed(Outcome::ALL.len() as u32);
    let (word, index) = (size_of::<u64>(), size_of::<u32>());
    let (address, flow) = (size_of::<Addr>(), size_of::<FlowKey>());
    let (service, traffic) = (size_of::<Service>(), size_of::<Traffic>());
    // An LPM trie's key has the length of the prefix before it.
    let (network, ports) = (index + address, index + size_of::<PortKey>());
    use MapType::{Array, ArrayOfMaps, Hash, LpmTrie, LruHash, PerCpuArray};
    vec![
        shape(maps::SERVICES, Hash, size_of::<ServiceKey>(), service, of_vips),
        shape(maps::VIPS, Hash, address, size_of::<Vip>(), of_vips),
        shape(
            maps::NETWORKS,
            LpmTrie,
            network,
            size_of::<Vip>(),
            fixed(limits::NETWORKS),
        ),
        shape(maps::PORTS, LpmTrie, ports, service, of_ports),
        shape(
            maps::QUIC_SERVERS,
            Hash,
            size_of::<QuicServerKey>(),
            index,
            of_addresses,
        ),
        shape(maps::SWITCHES, Array, index, index, fixed(1)),
        shape(maps::HAIRPINS, Hash, address, index, of_addresses),
        shape(maps::SOURCES, Array, index, address, fixed(2 * limits::SOURCES)),
        shape(
            maps::VLAN_DEVICES,
            Hash,
            index,
            size_of::<VlanDevice>(),
            fixed(limits::VLAN_DEVICES),
        ),
        shape(
            maps::FRAGMENTS,
            LruHash,
            size_of::<FragmentKey>(),
            size_of::<Fragment>(),
            fixed(fragments(cpus)),
        ),
        shape(maps::SLOTS, ArrayOfMaps, index, index, of_services),
        shape(maps::BACKENDS, Array, index, size_of::<Backend>(), of_backends),
        shape(maps::BACKEND_WORDS, Array, index, word, of_backends),
        shape(maps::NEXT_HOPS, Array, index, size_of::<Egress>(), of_hops),
        shape(maps::FLOWS, LruHash, flow, size_of::<Flow>(), of_flows),
        shape(maps::REPLIES, LruHash, flow, size_of::<Reply>(), of_flows),
        shape(
            maps::OUTCOMES,
            PerCpuArray,
            index,
            size_of::<Count>(),
            of_outcomes,
        ),
        shape(maps::SERVICE_TRAFFIC, PerCpuArray, index, traffic, of_services),
        shape(maps::BACKEND_TRAFFIC, PerCpuArray, index, traffic, of_backends),
    ]
}

/// A pinned map is used as it is, so it must be what the program expects.
fn check_pinned(pins: &Pins, shape: &Shape) -> Result<()> {
    let path = pins.map(shape.name);
    if !path.exists() {
        return Ok(());
    }
    let Shape {
        kind,
        key,
        value,
        room,
        ..
    } = *shape;
    let info = MapInfo::from_pin(&path).with_context(|| {
        format!(
            "{}: not a map that xlb pinned, run 'xlb detach' first",
            path.display()
        )
    })?;
    let same_layout = info.map_type().is_ok_and(|found| found as u32 == kind as u32)
        && info.key_size() as usize == key
        && info.value_size() as usize == value
        && (room.each > 0 || info.max_entries() == room.entries());
    ensure!(
        same_layout,
        "{}: a map of another layout: run 'xlb detach' first (that ends the remembered flows)",
        path.display()
    );
    let Room { limit, asked, .. } = room;
    let made_for = room.made_for(info.max_entries());
    ensure!(
        info.max_entries() == room.entries(),
        "limits.{limit}: {} was made for {made_for}, not {asked}: run 'xlb detach' first (that ends the remembered flows), or set the limit back",
        path.display(),
    );
    Ok(())
}

/// Names the limit that asks for more than the kernel gives, where it is that.
fn not_made(error: EbpfError, shapes: &[Shape]) -> anyhow::Error {
    let EbpfError::MapError(MapError::CreateError { name, io_error }) = &error else {
        return anyhow!(error).context("load the BPF maps");
    };
    match shapes.iter().find(|shape| shape.name == name) {
        Some(Shape { room, .. }) if io_error.kind() == io::ErrorKind::OutOfMemory => anyhow!(
            "limits.{}: no memory for the map {name} of {} entries: lower the limit",
            room.limit,
            room.entries()
        ),
        _ => anyhow!("make the map {name}: {io_error}"),
    }
}

/// The kernel's verifier does not take the program: one line for people.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused the XDP program: {io_error} (RUST_LOG=debug shows the verifier's log)")]
pub struct Refused {
    io_error: io::Error,
    pub verifier_log: String,
}

/// The verifier's log goes to the debug log, too.
pub(crate) fn refused(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            log::debug!("verifier: {verifier_log}");
            let verifier_log = verifier_log.to_string();
            anyhow!(Refused {
                io_error,
                verifier_log
            })
        }
        other => anyhow!(other).context("load the XDP program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Shape> {
        let capacity = Capacity {
            flows: 4096,
            backends: 16,
            services: 4,
        };
        super::shapes(capacity, 4)
    }

    #[test]
    fn no_cpu_starves_another_of_fragments() {
        assert_eq!([1, 32, 33, 512].map(fragments), [8192, 8192, 8448, 131_072]);
    }

    #[test]
    fn a_map_tells_the_limit_that_it_was_made_for() {
        for Shape { name, room, .. } in shapes() {
            assert_eq!(room.made_for(room.entries()), room.asked, "{name}");
        }
    }

    #[test]
    fn a_map_without_memory_names_its_limit() {
        let error = |name: &str, errno| {
            let io_error = io::Error::from_raw_os_error(errno);
            let name = name.to_owned();
            let error = EbpfError::MapError(MapError::CreateError { name, io_error });
            not_made(error, &shapes()).to_string()
        };
        let expected = "limits.backends: no memory for the map NEXT_HOPS of 33 entries: lower the limit";
        assert_eq!(error("NEXT_HOPS", 12), expected);
        assert!(error("FLOWS", 1).starts_with("make the map FLOWS: Operation not permitted"));
    }
}
