//! Loading the program, with the maps that an earlier agent left if there are any.

use std::io;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, MapInfo},
    programs::{Program, ProgramError, Xdp},
};
use lb_common::{
    conn::Timeouts,
    maps::{self, PINNED},
    settings::{Options, Outer, Own, Translation},
    written::WrittenTimeouts,
};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::datapath::{
    cpus,
    pins::{self, Pins},
    shapes::{self, Room, Shape},
};

pub use shapes::Capacity;

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

/// Loads the program and its maps; maps that are pinned already are taken over with what they hold.
///
/// # Errors
/// When pinned maps have other sizes than the settings ask for, or the kernel refuses program or maps.
pub fn load(pins: &Pins, settings: &Settings) -> Result<Ebpf> {
    let shapes = shapes::all(settings.capacity, cpus::possible()?);
    for shape in &shapes {
        check_pinned(pins, shape)?;
    }
    let level = if settings.log_packets {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    let remembered = shapes::remembered(settings.capacity);
    let written_timeouts = WrittenTimeouts::new(&settings.timeouts);
    let mut loader = EbpfLoader::new();
    loader
        .override_global(maps::HASH_KEY, &settings.hash_key, true)
        .override_global(maps::TIMEOUTS, &settings.timeouts, true)
        .override_global(maps::OPTIONS, &settings.options, true)
        .override_global(maps::OWN, &settings.own, true)
        .override_global(maps::OUTER, &settings.outer, true)
        .override_global(maps::REMEMBERED, &remembered, true)
        .override_global(maps::WRITTEN_TIMEOUTS, &written_timeouts, true)
        .override_global(maps::TRANSLATION, &settings.translation, true)
        .override_global(aya_log::LEVEL, &level, true);
    for shape in &shapes {
        loader.map_max_entries(shape.name, shape.room.entries());
    }
    loader
        .map_max_entries(maps::TURNS, settings.capacity.services)
        .map_max_entries(maps::FOUND, shapes::found(settings.capacity));
    for name in PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| not_made(error, &shapes))?;
    let name = if settings.options.multi_buffer == 0 {
        maps::PROGRAM
    } else {
        maps::FRAGS_PROGRAM
    };
    load_program(&mut ebpf, name)?;
    Ok(ebpf)
}

/// Has the kernel take one of the object's programs.
pub(super) fn load_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = named(ebpf, name)?;
    undisturbed(|| program.load())?.map_err(refused)?;
    Ok(program)
}

pub(super) fn named<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the BPF object has no program {name}"))?;
    program
        .try_into()
        .with_context(|| format!("the BPF object's program {name} is not XDP"))
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

/// The balancer's program of a loaded object: the one of the two that was loaded.
///
/// # Errors
/// When the object is not ours.
pub fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let programs = ebpf.programs_mut().filter_map(|(name, program)| match program {
        Program::Xdp(program) if name != maps::PROBE_PROGRAM => Some(program),
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

    #[test]
    fn a_map_without_memory_names_its_limit() {
        let error = |name: &str, errno| {
            let io_error = io::Error::from_raw_os_error(errno);
            let name = name.to_owned();
            let error = EbpfError::MapError(MapError::CreateError { name, io_error });
            not_made(error, &shapes::tests::shapes()).to_string()
        };
        let expected = "limits.backends: no memory for the map NEXT_HOPS of 33 entries: lower the limit";
        assert_eq!(error("NEXT_HOPS", 12), expected);
        assert!(error("FLOWS", 1).starts_with("make the map FLOWS: Operation not permitted"));
    }
}
