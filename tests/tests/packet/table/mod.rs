//! The table: a row for everything on `docs/packets.md`, played in every lane that it is about.
//!
//! A row is a name, the lanes, and what is sent and must become of it, as frames built anew. The whole table is played to
//! the model alone, which so is right before it judges anybody, and to the program: there again twice, once without the short way.

mod answers;
mod errors;
pub mod expect;
mod fragments;
pub mod modes;
mod parse;
mod quic;
mod replies;
mod services;
pub mod stage;

use std::panic::{self, AssertUnwindSafe};

use anyhow::Result;
use lb_common::service::ForwardMode;
use xlb_tests::preflight;

use crate::{
    rig::Rig,
    table::stage::Stage,
    world::{lanes::Lane, standard},
};

/// One line of the page.
pub struct Row {
    name: &'static str,
    lanes: fn(&Lane) -> bool,
    play: fn(&mut Stage, &Lane),
}

const fn row(name: &'static str, lanes: fn(&Lane) -> bool, play: fn(&mut Stage, &Lane)) -> Row {
    Row { name, lanes, play }
}

fn every(_: &Lane) -> bool {
    true
}

fn v4(lane: &Lane) -> bool {
    lane.is_v4()
}

fn v6(lane: &Lane) -> bool {
    !lane.is_v4()
}

fn translating(lane: &Lane) -> bool {
    lane.mode.translates()
}

fn direct(lane: &Lane) -> bool {
    !lane.mode.translates()
}

/// One lane of each family, for what is before the mode is known.
fn once(lane: &Lane) -> bool {
    lane.mode == ForwardMode::Nat
}

const SECTIONS: &[&[Row]] = &[
    parse::ROWS,
    services::ROWS,
    quic::ROWS,
    fragments::ROWS,
    modes::ROWS,
    answers::ROWS,
    errors::ROWS,
    replies::ROWS,
];

/// Plays every row, also those behind one that is not kept, and names all that are not.
fn play(stage: &mut Stage) {
    let mut broken = Vec::new();
    for row in SECTIONS.iter().copied().flatten() {
        for lane in Lane::all().iter().filter(|lane| (row.lanes)(lane)) {
            stage.clear(format!("{} ({})", row.name, lane.name()));
            if panic::catch_unwind(AssertUnwindSafe(|| (row.play)(stage, lane))).is_err() {
                broken.push(stage.playing.clone());
            }
        }
    }
    assert!(broken.is_empty(), "not kept:\n{}", broken.join("\n"));
}

#[test]
fn the_model_keeps_every_row() {
    play(&mut Stage::of_model(standard::world()));
}

#[test]
fn the_program_keeps_every_row() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut stage = Stage::of_program(Rig::new(standard::world())?);
    for goes_long in [true, false] {
        stage.goes_long = goes_long;
        play(&mut stage);
    }
    Ok(())
}
