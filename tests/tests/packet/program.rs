//! The program as a whole: what is not used is not there.

use anyhow::{Context as _, Result};
use xlb::datapath::{load, pins::Pins};
use xlb_tests::{preflight, scope::Scope};

use crate::{
    rig::{TIMEOUTS, settings},
    world::World,
};

#[test]
fn the_packet_log_is_absent_unless_asked_for() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let scope = Scope::claim()?;
    let instructions = |log_packets| {
        let pins = Pins::take(&scope.pin_dir().join("program"))?;
        let mut ebpf = load::load(&pins, &settings(&World::default(), TIMEOUTS, log_packets))?;
        let info = load::xdp(&mut ebpf)?.info()?;
        let verified = info.verified_instruction_count().unwrap_or(0);
        pins.remove()?;
        anyhow::Ok((info.size_translated().context("no size")? / 8, verified))
    };
    let (silent, silent_verified) = instructions(false)?;
    let (logging, logging_verified) = instructions(true)?;
    println!(
        "without log {silent} instructions ({silent_verified} verified), with {logging} ({logging_verified})"
    );
    assert!(
        silent + 100 < logging,
        "{silent} instructions without the log, {logging} with it"
    );
    Ok(())
}
