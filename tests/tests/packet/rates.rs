//! Answers have a rate, each kind its own; and source ports run out.

use anyhow::Result;
use lb_common::outcome::Outcome;
use xlb_tests::preflight;

use crate::{
    rig::Rig,
    wire::{Frame, SYN, echo, tcp, udp},
    world::{
        World,
        lanes::{Lane, TCP_PORT},
        standard::{self, special},
    },
};

/// So few that none comes back while a test runs, on whatever CPU.
const RATE: u32 = 5;

fn rig() -> Result<Rig> {
    Rig::new(World {
        answers_per_second: RATE,
        ..standard::world()
    })
}

/// Sends a frame many times; gives how often each of two outcomes was met. There may be a bucket for each CPU that the test
/// happens to run on, and time goes by.
fn counts(rig: &mut Rig, frame: &Frame, answered: Outcome, beyond: Outcome) -> Result<(u32, u32)> {
    let (mut answers, mut silences) = (0, 0);
    for _ in 0..200 {
        let got = rig.run(&frame.bytes())?;
        if got.outcome == answered {
            answers += 1;
        } else {
            assert_eq!((got.outcome, got.frame), (beyond, frame.bytes()));
            silences += 1;
        }
    }
    Ok((answers, silences))
}

#[test]
fn each_kind_of_answer_has_a_rate_of_its_own() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    let lane = &Lane::all()[0];
    let client = lane.client(4000);
    let refused = (standard::vip(true, special::RESET), 9);
    let too_long = udp(client, lane.at(54), &[0; 1400]);
    for (frame, answered, beyond) in [
        (
            echo(client.ip(), lane.vip, b"ping"),
            Outcome::EchoAnswered,
            Outcome::EchoLimited,
        ),
        (
            tcp(client, lane.at(TCP_PORT), SYN).ttl(1),
            Outcome::TtlAnswered,
            Outcome::TtlExpired,
        ),
        (too_long, Outcome::TooBigAnswered, Outcome::TooBig),
        (
            tcp(client, refused, SYN),
            Outcome::UnservedReset,
            Outcome::Unserved,
        ),
    ] {
        let (answers, silences) = counts(&mut rig, &frame, answered, beyond)?;
        assert!(answers >= RATE, "{answered:?}: {answers} answers");
        assert!(silences > 100, "{answered:?}: {silences} packets beyond the rate");
    }
    Ok(())
}

#[test]
fn with_all_source_ports_in_use_a_flow_is_refused() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut world = standard::world();
    let lanes = Lane::all();
    let lane = lanes
        .iter()
        .find(|lane| lane.mode == lb_common::service::ForwardMode::FullNat)
        .unwrap();
    // One backend: what is taken is taken.
    world.backends.retain(|backend| backend.service == lane.wide);
    world.backends.truncate(1);
    let mut rig = Rig::new(world)?;
    let mut refused = 0;
    for port in 1024..2048 {
        let sent = tcp(lane.client(port), lane.at(TCP_PORT), SYN).bytes();
        let got = rig.run(&sent)?;
        if got.outcome == Outcome::NoSourcePort {
            assert_eq!(got.frame, sent);
            refused += 1;
        } else {
            assert_eq!(got.outcome, Outcome::Forwarded);
        }
    }
    assert!(refused > 0, "no end of source ports");
    Ok(())
}
