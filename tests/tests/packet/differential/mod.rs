//! Random packets, through the program and through the model: what they make of each must be the same to the last byte.
//!
//! [`story`] is what happens, [`shift`] what happens to slots, [`damage`] what to frames, [`draw`] makes it up. `XLB_CASES` says how many stories are told (some ten thousand packets by
//! default). A story that ends in disagreement is shrunk, and printed as a fixture: put it into `tests/fixtures` with a
//! word on what was wrong, and it is told again by [`crate::fixtures`] for ever.

mod damage;
mod draw;
mod shift;
mod story;

use std::{cell::RefCell, collections::BTreeMap, env};

use anyhow::{Result, anyhow, ensure};
use lb_common::{backend::BackendState, outcome::Outcome};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use xlb_tests::preflight;

use crate::{
    differential::{shift::Shift, story::Event},
    rig::Rig,
    table::stage::{Stage, hex},
    world::{World, standard},
};

const CASES: u32 = 1500;
const EVENTS: usize = 12;

/// How often as many stories are told until they have come to everything that they can: some of it is rare.
const ROUNDS: usize = 20;

/// What no story here can come to, or hardly any: what is too big is answered, but for errors and later fragments, which the table of cases
/// has.
const OUT_OF_REACH: &[Outcome] = &[
    Outcome::FlowTableFull,
    Outcome::TooBig,
    Outcome::NoNeighbour,
    Outcome::BadConfig,
    Outcome::StaleReply,
    Outcome::EchoLimited,
    Outcome::NoSourcePort,
    Outcome::NoHeadroom,
    Outcome::Full,
    Outcome::FullReset,
    Outcome::FlowLimited,
    Outcome::SourceLimited,
    Outcome::DownReset,
    Outcome::DownPassed,
    Outcome::ProbeSent,
    Outcome::ProbeAnswered,
    Outcome::ProbeOver,
];

#[test]
fn in_the_standard_world() -> Result<()> {
    agree(standard::world())
}

#[test]
fn in_the_other_world() -> Result<()> {
    agree(standard::other())
}

#[test]
fn in_a_world_without_networks() -> Result<()> {
    agree(standard::without_networks())
}

#[test]
fn in_generic_mode() -> Result<()> {
    agree(World {
        partial_checksums: true,
        generic: vec![standard::INGRESS],
        ..standard::without_networks()
    })
}

/// What the model makes of a whole frame is whole: no program is needed to see that.
#[test]
fn the_model_alone() -> Result<()> {
    play(Stage::of_model(standard::world()))
}

fn agree(world: World) -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    play(Stage::of_program(Rig::new(world)?))
}

fn play(stage: Stage) -> Result<()> {
    let cases = env::var("XLB_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(CASES),
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..Config::default()
    };
    let teller = RefCell::new(Teller {
        stage,
        fixture: String::new(),
        told: 0,
        met: BTreeMap::new(),
    });
    let stories = prop::collection::vec(draw::event(), 1..EVENTS);
    // A runner counts its cases over all of its runs: a used one would tell none.
    let run = || {
        TestRunner::new(config.clone()).run(&stories, |events| {
            teller.borrow_mut().tell(&events).map_err(TestCaseError::fail)
        })
    };
    let mut outcome = run();
    for _ in 1..ROUNDS {
        if outcome.is_err() || teller.borrow().ensure_aim().is_ok() {
            break;
        }
        outcome = run();
    }
    let mut teller = teller.into_inner();
    match outcome {
        Ok(()) => teller.ensure_aim(),
        Err(TestError::Fail(why, events)) => {
            let _again = teller.tell(&events);
            Err(anyhow!(
                "{why}\n\n{events:#?}\n\nas a fixture:\n{}",
                teller.fixture
            ))
        }
        Err(TestError::Abort(why)) => Err(anyhow!("{why}")),
    }
}

struct Teller {
    stage: Stage,
    /// What has happened in the story, in the words of a fixture.
    fixture: String,
    /// How many stories there have been.
    told: u32,
    /// What all stories have come to.
    met: BTreeMap<Outcome, u32>,
}

impl Teller {
    /// Plays a story on an empty stage.
    fn tell(&mut self, events: &[Event]) -> Result<(), String> {
        // Every fourth story without the short way.
        self.told += 1;
        self.stage.goes_long = self.told.is_multiple_of(4);
        self.stage.clear("a story".to_owned());
        self.fixture.clear();
        let mut changed = Vec::new();
        let told = events.iter().try_for_each(|event| match event {
            Event::State { flow, backend, state } => {
                let id = self.backend(flow.as_ref(), backend);
                self.stage.set(id, *state);
                changed.push(id);
                self.fixture.push_str(&format!("backend {id} {}\n", state.name()));
                Ok(())
            }
            Event::Slots {
                flow,
                service,
                change,
            } => {
                self.shift(flow, service, change);
                Ok(())
            }
            Event::Frame(drawn) => self.send(drawn.frame(&self.stage.model)),
        });
        let told = told.and_then(|()| self.stage.compare_written());
        for id in changed {
            self.stage.set(id, BackendState::Up);
        }
        told
    }

    /// A backend of a flow's service, or any.
    fn backend(&self, flow: Option<&Index>, backend: &Index) -> u32 {
        let (model, world) = (&self.stage.model, self.stage.world());
        let service = flow.and_then(|flow| story::service(model, flow));
        let members = service.map(|service| world.members(service));
        match members.filter(|members| !members.is_empty()) {
            Some(members) => *backend.get(&members),
            None => u32::try_from(backend.index(world.backends.len()) + 1).unwrap(),
        }
    }

    /// Changes the slots of a flow's service, or of any.
    fn shift(&mut self, flow: &Index, service: &Index, change: &Shift) {
        let (model, world) = (&self.stage.model, self.stage.world());
        let any = || u32::try_from(service.index(world.services.len())).unwrap();
        let id = story::service(model, flow).unwrap_or_else(any);
        if let Some(change) = change.of(id, world) {
            self.stage.change(id, change);
            self.fixture
                .push_str(&format!("slots {id} {}\n", shift::words(change)));
        }
    }

    fn send(&mut self, frame: Option<Vec<u8>>) -> Result<(), String> {
        let Some(frame) = frame else { return Ok(()) };
        let got = self.stage.compare(&frame);
        let name = got.as_ref().map_or("?", |got| got.outcome.name());
        self.fixture.push_str(&format!("{name} {}\n", hex(&frame)));
        *self.met.entry(got?.outcome).or_default() += 1;
        Ok(())
    }

    /// Everything that can happen has happened: else the stories are about too little.
    fn ensure_aim(&self) -> Result<()> {
        let one_buffer = !self.stage.world().multi_buffer;
        let out_of_reach = |outcome: &Outcome| {
            OUT_OF_REACH.contains(outcome) || *outcome == Outcome::PartialChecksum && one_buffer
        };
        let missed: Vec<_> = Outcome::ALL
            .iter()
            .filter(|outcome| !self.met.contains_key(outcome) && !out_of_reach(outcome))
            .collect();
        ensure!(missed.is_empty(), "no story came to {missed:?}");
        Ok(())
    }
}
