//! Loading the program, with the maps that an earlier agent left if there are any.

use std::io;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, MapInfo, MapType},
    programs::{ProgramError, Xdp},
};
use lb_common::{
    addr::Addr,
    backend::Backend,
    conn::{Flow, Reply, Timeouts},
    flow::FlowKey,
    limits,
    maps::{self, PINNED},
    next_hop::NextHop,
    outcome::Outcome,
    service::{Service, ServiceKey},
    traffic::{Count, Traffic},
};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::datapath::pins::{self, Pins};

/// The BPF object, built with this binary.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb-xdp"));

/// What is fixed when the program is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub hash_key: [u64; 2],
    pub timeouts: Timeouts,
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
    let shapes = shapes(settings.capacity);
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
        .override_global(aya_log::LEVEL, &level, true);
    for shape in &shapes {
        loader.map_max_entries(shape.name, shape.room.entries());
    }
    for name in PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| not_made(error, &shapes))?;
    let program = xdp(&mut ebpf)?;
    undisturbed(|| program.load())?.map_err(refused)?;
    Ok(ebpf)
}

/// Runs `act` while other threads take this one's signals: the verifier gives up when one comes (EAGAIN), and aya then asks for
/// its log, which takes seconds.
fn undisturbed<T>(act: impl FnOnce() -> T) -> Result<T> {
    let before = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .context("hold signals back")?;
    let result = act();
    before.thread_set_mask().context("take signals again")?;
    Ok(result)
}

/// The XDP program of a loaded object.
///
/// # Errors
/// When the object is not ours.
pub fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf
        .program_mut(maps::PROGRAM)
        .context("the BPF object has no program")?;
    program.try_into().context("the BPF object's program is not XDP")
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

fn shapes(capacity: Capacity) -> Vec<Shape> {
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
    // Id 0 is no backend, index 0 no next hop.
    let (of_backends, of_hops) = (room("backends", backends, 1, 1), room("backends", backends, 2, 1));
    // No limit: another number of outcomes is another layout.
    #[expect(clippy::cast_possible_truncation, reason = "an enum of one byte")]
    let of_outcomes = room("", 0, 0, Outcome::ALL.len() as u32);
    let (word, index) = (size_of::<u64>(), size_of::<u32>());
    let (flow, traffic) = (size_of::<FlowKey>(), size_of::<Traffic>());
    let key = size_of::<ServiceKey>();
    vec![
        shape(maps::SERVICES, MapType::Hash, key, size_of::<Service>(), of_vips),
        shape(maps::VIPS, MapType::Hash, size_of::<Addr>(), index, of_vips),
        shape(maps::SLOTS, MapType::ArrayOfMaps, index, index, of_services),
        shape(
            maps::BACKENDS,
            MapType::Array,
            index,
            size_of::<Backend>(),
            of_backends,
        ),
        shape(maps::BACKEND_WORDS, MapType::Array, index, word, of_backends),
        shape(
            maps::NEXT_HOPS,
            MapType::Array,
            index,
            size_of::<NextHop>(),
            of_hops,
        ),
        shape(maps::FLOWS, MapType::LruHash, flow, size_of::<Flow>(), of_flows),
        shape(
            maps::REPLIES,
            MapType::LruHash,
            flow,
            size_of::<Reply>(),
            of_flows,
        ),
        shape(
            maps::OUTCOMES,
            MapType::PerCpuArray,
            index,
            size_of::<Count>(),
            of_outcomes,
        ),
        shape(
            maps::SERVICE_TRAFFIC,
            MapType::PerCpuArray,
            index,
            traffic,
            of_services,
        ),
        shape(
            maps::BACKEND_TRAFFIC,
            MapType::PerCpuArray,
            index,
            traffic,
            of_backends,
        ),
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

/// One line for people; the verifier's log goes to the debug log.
fn refused(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            log::debug!("verifier: {verifier_log}");
            anyhow!(
                "the kernel refused the XDP program: {io_error} (RUST_LOG=debug shows the verifier's log)"
            )
        }
        other => anyhow!(other).context("load the XDP program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Shape> {
        super::shapes(Capacity {
            flows: 4096,
            backends: 16,
            services: 4,
        })
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
