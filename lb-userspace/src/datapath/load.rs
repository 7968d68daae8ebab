//! Loading the program, with the maps that an earlier agent left if there are any.

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapInfo, MapType},
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

/// One map's type, sizes and capacity, and the setting that the capacity comes from.
struct Shape {
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
    setting: &'static str,
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
        loader.map_max_entries(shape.name, shape.entries);
    }
    for name in PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(OBJECT).context("load the BPF maps")?;
    xdp(&mut ebpf)?.load().map_err(refused)?;
    Ok(ebpf)
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
    let shape = |name, kind, key, value, entries, setting| Shape {
        name,
        kind,
        key,
        value,
        entries,
        setting,
    };
    let vips = services * limits::VIPS_PER_SERVICE;
    let outcomes = Outcome::ALL.len() as u32;
    let (word, index) = (size_of::<u64>(), size_of::<u32>());
    let (traffic, count) = (size_of::<Traffic>(), size_of::<Count>());
    vec![
        shape(
            maps::SERVICES,
            MapType::Hash,
            size_of::<ServiceKey>(),
            size_of::<Service>(),
            vips,
            "services",
        ),
        shape(
            maps::VIPS,
            MapType::Hash,
            size_of::<Addr>(),
            index,
            vips,
            "services",
        ),
        shape(
            maps::SLOTS,
            MapType::ArrayOfMaps,
            index,
            index,
            services,
            "services",
        ),
        // Id 0 is no backend, index 0 no next hop.
        shape(
            maps::BACKENDS,
            MapType::Array,
            index,
            size_of::<Backend>(),
            backends + 1,
            "backends",
        ),
        shape(
            maps::BACKEND_WORDS,
            MapType::Array,
            index,
            word,
            backends + 1,
            "backends",
        ),
        shape(
            maps::NEXT_HOPS,
            MapType::Array,
            index,
            size_of::<NextHop>(),
            2 * backends + 1,
            "backends",
        ),
        shape(
            maps::FLOWS,
            MapType::LruHash,
            size_of::<FlowKey>(),
            size_of::<Flow>(),
            flows,
            "flows",
        ),
        shape(
            maps::REPLIES,
            MapType::LruHash,
            size_of::<FlowKey>(),
            size_of::<Reply>(),
            flows,
            "flows",
        ),
        shape(
            maps::OUTCOMES,
            MapType::PerCpuArray,
            index,
            count,
            outcomes,
            "outcomes",
        ),
        shape(
            maps::SERVICE_TRAFFIC,
            MapType::PerCpuArray,
            index,
            traffic,
            services,
            "services",
        ),
        shape(
            maps::BACKEND_TRAFFIC,
            MapType::PerCpuArray,
            index,
            traffic,
            backends + 1,
            "backends",
        ),
    ]
}

/// A pinned map is used as it is, so it must be what the program expects.
fn check_pinned(pins: &Pins, shape: &Shape) -> Result<()> {
    let path = pins.map(shape.name);
    if !path.exists() {
        return Ok(());
    }
    let info = MapInfo::from_pin(&path).with_context(|| format!("open the pinned map {}", path.display()))?;
    let same_layout = info.map_type().is_ok_and(|kind| kind as u32 == shape.kind as u32)
        && info.key_size() as usize == shape.key
        && info.value_size() as usize == shape.value;
    ensure!(
        same_layout,
        "{}: a map of another layout: run 'xlb detach' first (that ends the remembered flows)",
        path.display()
    );
    ensure!(
        info.max_entries() == shape.entries,
        "limits.{}: {} has room for {} entries and the configuration asks for {}: run 'xlb detach' first (that ends the remembered flows), or set the limit back",
        shape.setting,
        path.display(),
        info.max_entries(),
        shape.entries
    );
    Ok(())
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
