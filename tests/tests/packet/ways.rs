//! What goes the short way is what would go the long way: to the frame, the counters and what is remembered.

use anyhow::Result;
use lb_common::{
    backend::BackendState, conn::FlowState, flow::FlowKey, outcome::Outcome, service::service_flags,
    traffic::Traffic,
};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use crate::{
    model::Key,
    rig::{Rig, Verdict},
    table::stage::Arrived,
    wire::{ACK, FIN, Frame, PSH, RST, SYN, SYN_ACK, protocol, read, tcp, udp},
    world::{
        lanes::{Lane, TCP_PORT, UDP_PORT},
        standard,
    },
};

/// What a packet did.
#[derive(Debug, PartialEq)]
struct Done {
    verdict: Verdict,
    of_service: Traffic,
    of_backends: Traffic,
}

/// Sends a packet one way or the other.
fn send(rig: &mut Rig, lane: &Lane, frame: &Frame, goes_long: bool) -> Result<Done> {
    if goes_long {
        rig.go_long()?;
    }
    let before = traffic(rig, lane)?;
    let verdict = rig.run(&frame.bytes())?;
    let after = traffic(rig, lane)?;
    rig.go_short();
    Ok(Done {
        verdict,
        of_service: less(after.0, before.0),
        of_backends: less(after.1, before.1),
    })
}

/// The counters of a lane's service, and of its backends.
fn traffic(rig: &Rig, lane: &Lane) -> Result<(Traffic, Traffic)> {
    let mut backends = rig.world.members(lane.wide).into_iter();
    let sum = backends.try_fold(Traffic::default(), |sum, id| -> Result<Traffic> {
        Ok(sum.plus(rig.datapath.backend_traffic(id)?))
    })?;
    Ok((rig.datapath.service_traffic(lane.wide)?, sum))
}

fn less(a: Traffic, b: Traffic) -> Traffic {
    Traffic {
        packets_in: a.packets_in - b.packets_in,
        bytes_in: a.bytes_in - b.bytes_in,
        packets_out: a.packets_out - b.packets_out,
        bytes_out: a.bytes_out - b.bytes_out,
        flows_opened: a.flows_opened - b.flows_opened,
        packets_dropped: a.packets_dropped - b.packets_dropped,
    }
}

/// Packets that keep their frames apart by nothing random: they may not be fragmented.
fn packets(lane: &Lane) -> Vec<Frame> {
    let from = lane.client(4000);
    vec![
        tcp(from, lane.at(TCP_PORT), SYN),
        tcp(from, lane.at(TCP_PORT), ACK),
        tcp(from, lane.at(TCP_PORT), ACK | PSH),
        udp(from, lane.at(UDP_PORT), b"datagram"),
    ]
}

fn key(lane: &Lane, protocol: u8, port: u16) -> FlowKey {
    let (from, to) = (lane.client(4000), lane.at(port));
    Key::between((from.ip(), from.port()), (to.ip(), to.port()), protocol).in_maps()
}

#[test]
fn both_ways_do_and_count_alike() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    for lane in Lane::all() {
        for frame in packets(&lane) {
            // The first packet of a translated flow opens it, whichever way it goes.
            send(&mut rig, &lane, &frame, true)?;
            let long = send(&mut rig, &lane, &frame, true)?;
            assert_eq!(long.verdict.outcome, Outcome::Forwarded, "{}", lane.name());
            for _ in 0..3 {
                let short = send(&mut rig, &lane, &frame, false)?;
                assert_eq!(
                    (short.of_service, short.of_backends),
                    (long.of_service, long.of_backends),
                    "{}",
                    lane.name()
                );
                assert_eq!(short.verdict.outcome, long.verdict.outcome);
            }
        }
    }
    Ok(())
}

#[test]
fn answers_go_back_alike_both_ways() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    for lane in Lane::all().iter().filter(|lane| lane.mode.translates()) {
        rig.forget()?;
        let (from, to) = (lane.client(4000), lane.at(TCP_PORT));
        let sent = rig.run(&tcp(from, to, SYN).bytes())?;
        let arrived = Arrived {
            backend: 0,
            frame: read::frame(&sent.frame).unwrap(),
        };
        rig.run(&arrived.reply(SYN_ACK).bytes())?;
        rig.run(&tcp(from, to, ACK).bytes())?;
        let answer = arrived.reply(ACK | PSH);
        let long = send(&mut rig, lane, &answer, true)?;
        assert_eq!(long.verdict.outcome, Outcome::Returned, "{}", lane.name());
        let state = rig
            .flow(&key(lane, protocol::TCP, TCP_PORT))
            .map(|flow| flow.state());
        for _ in 0..3 {
            assert_eq!(send(&mut rig, lane, &answer, false)?, long, "{}", lane.name());
        }
        assert_eq!(
            rig.flow(&key(lane, protocol::TCP, TCP_PORT))
                .map(|flow| flow.state()),
            state
        );
    }
    Ok(())
}

#[test]
fn what_is_for_nobody_passes_both_ways() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    let lane = &Lane::all()[0];
    for v4 in [true, false] {
        let at = |host, port| std::net::SocketAddr::new(standard::client(v4, host), port);
        for frame in [
            tcp(at(7, 4000), at(60, 80), SYN),
            udp(at(7, 4000), at(60, 53), b"?"),
        ] {
            let long = send(&mut rig, lane, &frame, true)?;
            assert_eq!(long.verdict.outcome, Outcome::NotOurs);
            assert_eq!(send(&mut rig, lane, &frame, false)?, long);
        }
    }
    Ok(())
}

/// A translated flow follows its packets' flags, whichever way the others go.
#[test]
fn the_short_way_leaves_what_ends_a_flow_to_the_long_one() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    for lane in Lane::all().iter().filter(|lane| lane.mode.translates()) {
        for end in [FIN | ACK, RST] {
            rig.forget()?;
            let (from, to) = (lane.client(4000), lane.at(TCP_PORT));
            let key = key(lane, protocol::TCP, TCP_PORT);
            for flags in [SYN, ACK, ACK] {
                rig.run(&tcp(from, to, flags).bytes())?;
            }
            let open = rig.flow(&key).map(|flow| flow.state());
            rig.run(&tcp(from, to, end).bytes())?;
            let over = rig.flow(&key).map(|flow| flow.state());
            assert_ne!(open, over, "{}", lane.name());
            // And a packet behind does not bring it back.
            rig.run(&tcp(from, to, ACK).bytes())?;
            assert_eq!(rig.flow(&key).map(|flow| flow.state()), over, "{}", lane.name());
        }
    }
    Ok(())
}

/// An answer need not be the first one to be new to us: what shows that the backend is there goes the long way.
#[test]
fn a_flow_that_is_met_in_its_middle_is_established_by_an_answer() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    for lane in Lane::all().iter().filter(|lane| lane.mode.translates()) {
        rig.forget()?;
        let key = key(lane, protocol::TCP, TCP_PORT);
        let packet = tcp(lane.client(4000), lane.at(TCP_PORT), ACK);
        let sent = rig.run(&packet.bytes())?;
        let arrived = Arrived {
            backend: 0,
            frame: read::frame(&sent.frame).unwrap(),
        };
        for (frame, state) in [
            (packet.clone(), FlowState::Syn),
            (arrived.reply(ACK), FlowState::Replied),
            (arrived.reply(ACK), FlowState::Replied),
            (packet.clone(), FlowState::Established),
        ] {
            rig.run(&frame.bytes())?;
            let is = rig.flow(&key).map(|flow| flow.state());
            assert_eq!(is, Some(state), "{}", lane.name());
        }
    }
    Ok(())
}

#[test]
fn datagrams_of_a_translated_flow_move_on_where_they_may() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    for lane in Lane::all().iter().filter(|lane| lane.mode.translates()) {
        let mut entry = rig.entry(lane.wide);
        entry.flags |= service_flags::UDP_MOVES;
        rig.put_entry(&entry)?;
        let key = key(lane, protocol::UDP, UDP_PORT);
        let datagram = udp(lane.client(4000), lane.at(UDP_PORT), b"datagram");
        let backend = |rig: &mut Rig| -> Result<Option<u32>> {
            rig.run(&datagram.bytes())?;
            Ok(rig.flow(&key).map(|flow| flow.backend))
        };
        let first = backend(&mut rig)?.unwrap();
        assert_eq!(backend(&mut rig)?, Some(first));
        rig.set(first, BackendState::Drain);
        assert_ne!(backend(&mut rig)?, Some(first), "{}", lane.name());
        rig.set(first, BackendState::Up);
    }
    Ok(())
}

#[test]
fn new_flows_are_limited_however_well_their_service_is_known() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(standard::without_networks())?;
    for lane in Lane::all().iter().filter(|lane| !lane.mode.translates()) {
        let mut entry = rig.entry(lane.wide);
        entry.flags |= service_flags::RATED;
        (entry.flow_rate, entry.flow_burst) = (1, 4);
        rig.put_entry(&entry)?;
        let syn = |port| tcp(lane.client(port), lane.at(TCP_PORT), SYN).bytes();
        let outcomes = (4000..4010).map(|port| Ok(rig.run(&syn(port))?.outcome));
        let outcomes: Vec<_> = outcomes.collect::<Result<_>>()?;
        let limited = outcomes
            .iter()
            .filter(|&&outcome| outcome == Outcome::FlowLimited);
        assert!(limited.count() >= 5, "{}: {outcomes:?}", lane.name());
        assert_eq!(outcomes[0], Outcome::Forwarded);
    }
    Ok(())
}
