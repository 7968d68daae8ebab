//! Frames that are longer than one buffer, in every mode (`xdp.frags`).

use anyhow::Result;
use lb_common::outcome::Outcome;
use xlb_tests::preflight;

use crate::{
    rig::{FIRST_BUFFER, Rig},
    table::{expect, modes::of_length, stage::Stage},
    wire::{echo, frame::BACKEND_MAC, icmp},
    world::{
        World,
        lanes::{Lane, UDP_PORT},
        standard,
    },
};

const MTU: u32 = 9000;

fn world() -> World {
    World {
        multi_buffer: true,
        ways: standard::other().ways,
        ..standard::world()
    }
}

#[test]
fn a_long_frame_is_treated_as_a_short_one() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut stage = Stage::of_program(Rig::new(world())?);
    for lane in &Lane::all() {
        stage.clear(lane.name());
        let fits = MTU - lane.mode.overhead(lane.backends_v4);
        for len in [FIRST_BUFFER, FIRST_BUFFER + 1, 5000, fits as usize] {
            stage.forwards(lane.wide, &of_length(lane, UDP_PORT, len).padded(5));
        }
        let longer = of_length(lane, UDP_PORT, fits as usize + 1);
        let answer = expect::error_about(&longer, lane.vip, &icmp::TOO_BIG, fits);
        stage.answers(&longer, Outcome::TooBigAnswered, &answer);
        let last = of_length(lane, UDP_PORT, 8000).ttl(1);
        let from = stage.world().own_of(lane.is_v4()).unwrap();
        let answer = expect::error_about(&last, from, &icmp::TIME_EXCEEDED, 0);
        stage.answers(&last, Outcome::TtlAnswered, &answer);
        let ping = echo(lane.client(0).ip(), lane.vip, &[0x61; 8000]);
        assert_eq!(stage.run(&ping.bytes()).outcome, Outcome::EchoAnswered);
    }
    Ok(())
}

#[test]
fn the_answer_of_a_backend_may_be_long() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut stage = Stage::of_program(Rig::new(world())?);
    for lane in Lane::all().iter().filter(|lane| lane.mode.translates()) {
        stage.clear(lane.name());
        let arrived = stage.forwards(lane.wide, &of_length(lane, UDP_PORT, 100));
        let reply = arrived.reply(0).payload(&[0x62; 8000]);
        assert_eq!(reply.from, BACKEND_MAC);
        stage.returns(lane, &reply, lane.client(4000), UDP_PORT);
    }
    Ok(())
}
