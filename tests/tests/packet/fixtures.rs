//! Stories that program and model once told differently, told again.
//!
//! Each file in `tests/fixtures` begins with what was wrong (`#`), then says what happens: `backend ID STATE`, `slots SERVICE CHANGE`, or an outcome
//! and the frame that it is the outcome of, in hex. Those in `tests/fixtures/other` happen in the other world.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::backend::BackendState;
use xlb_tests::preflight;

use crate::{
    rig::Rig,
    table::stage::Stage,
    world::{Change, World, standard},
};

#[test]
fn every_fixture_is_told_as_it_says() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    play(&dir, standard::world())?;
    play(&dir.join("other"), standard::other())
}

fn play(dir: &Path, world: World) -> Result<()> {
    let mut stage = Stage::of_program(Rig::new(world)?);
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        stage.clear(path.display().to_string());
        for (number, line) in (1..).zip(text.lines()) {
            told(&mut stage, line).with_context(|| format!("{}:{number}", path.display()))?;
        }
        reset(&mut stage);
    }
    Ok(())
}

fn told(stage: &mut Stage, line: &str) -> Result<()> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(change) = line.strip_prefix("backend ") {
        let (id, state) = change.split_once(' ').context("not 'backend ID STATE'")?;
        let states = BackendState::ALL.iter();
        let state = states
            .copied()
            .find(|known| known.name() == state)
            .context("no such state")?;
        stage.set(id.parse().context("no id")?, state);
        return Ok(());
    }
    if let Some(change) = line.strip_prefix("slots ") {
        let (id, change) = change.split_once(' ').context("not 'slots SERVICE CHANGE'")?;
        stage.change(id.parse().context("no id")?, self::change(change)?);
        return Ok(());
    }
    let (outcome, frame) = line.split_once(' ').context("not 'OUTCOME FRAME'")?;
    let got = stage.compare(&bytes(frame)?).map_err(anyhow::Error::msg)?;
    ensure!(
        got.outcome.name() == outcome,
        "{} instead of {outcome}",
        got.outcome.name()
    );
    Ok(())
}

fn change(words: &str) -> Result<Change> {
    Ok(match words.split_once(' ') {
        Some(("pass", backend)) => Change::PassTo(backend.parse().context("no id")?),
        None if words == "age" => Change::Age,
        None if words == "part" => Change::Part,
        None if words == "settle" => Change::Settle,
        _ => bail!("no change of slots: {words}"),
    })
}

fn reset(stage: &mut Stage) {
    for id in (1..).take(stage.world().backends.len()) {
        stage.set(id, BackendState::Up);
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    if !hex.is_ascii() || hex.len() % 2 == 1 {
        bail!("no hex: {hex}");
    }
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).context("no hex"))
        .collect()
}
