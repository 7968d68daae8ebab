//! Where the kernel's own tables decide: replies to clients, backends whose way nobody has resolved, and whether a packet for
//! no service is the kernel's at all. On a host with two ends of a cable, a neighbour, and routes over it.

use std::{fs, net::IpAddr, process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::{
    maps::switches,
    next_hop::{VlanDevice, Vlans},
    outcome::Outcome,
    service::ForwardMode,
};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use crate::{
    model::{DROP, PASS, REDIRECT, TX},
    rig::{Rig, Verdict},
    table::expect,
    wire::{Frame, Mac, SYN, error, frame::CLIENT_MAC, icmp, protocol, read, tcp, udp},
    world::{
        Net, World,
        lanes::{Lane, UDP_PORT},
        standard::{self, special},
    },
};

const NEIGHBOUR: Mac = [2, 0, 99, 0, 0, 2];
const OURS: Mac = [2, 0, 99, 0, 0, 1];
/// Of the routes to clients.
const ROUTE_MTU: u32 = 1400;

/// The host that the rig has made, with a cable to a neighbour that everybody is behind.
fn rig() -> Result<Rig> {
    rig_of(standard::world())
}

fn rig_of(world: World) -> Result<Rig> {
    let rig = Rig::new(world)?;
    for line in [
        "link add up0 address 02:00:63:00:00:01 type veth peer name up1",
        "link set lo up",
        "link set up0 up",
        "link set up1 up",
        "address add 10.99.0.1/24 dev up0",
        "address add fd99::1/64 dev up0 nodad",
        "neighbour add 10.99.0.2 lladdr 02:00:63:00:00:02 nud permanent dev up0",
        "neighbour add fd99::2 lladdr 02:00:63:00:00:02 nud permanent dev up0",
        "route add default via 10.99.0.2",
        "-6 route add default via fd99::2",
        // Forwarding heeds a route's MTU only if it is locked (or `ip_forward_use_pmtu` is on).
        "route add 198.51.100.0/24 via 10.99.0.2 mtu lock 1400",
        "-6 route add 2001:db8:c::/48 via fd99::2 mtu lock 1400",
    ] {
        ip(line)?;
    }
    for family in ["ipv4", "ipv6"] {
        forward(family, true)?;
    }
    Ok(rig)
}

fn ip(line: &str) -> Result<()> {
    let status = Command::new("ip").args(line.split(' ')).status()?;
    ensure!(status.success(), "ip {line}: {status}");
    Ok(())
}

/// Whether the host forwards what comes in by `lo`, as test runs do.
fn forward(family: &str, on: bool) -> Result<()> {
    for name in ["all", "lo"] {
        let path = format!("/proc/sys/net/{family}/conf/{name}/forwarding");
        fs::write(&path, if on { "1" } else { "0" }).with_context(|| format!("write {path}"))?;
    }
    Ok(())
}

fn lanes() -> impl Iterator<Item = Lane> {
    Lane::all()
        .into_iter()
        .filter(|lane| lane.mode == ForwardMode::Nat)
}

/// A client's packet and its answer, before that answer is sent.
fn reply(rig: &mut Rig, lane: &Lane, payload: &[u8]) -> Result<Frame> {
    let got = rig.run(
        &udp(lane.client(4000), lane.at(UDP_PORT), b"?")
            .tagged(&[(0x8100, 5)])
            .bytes(),
    )?;
    assert_eq!(got.outcome, Outcome::Forwarded);
    let arrived = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
    Ok(udp(arrived.destination(), arrived.source(), payload))
}

fn macs(got: &Verdict) -> Result<(Mac, Mac)> {
    let frame = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
    Ok((frame.to, frame.from))
}

#[test]
fn a_reply_takes_the_kernels_route_to_its_client() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    for lane in lanes() {
        let reply = reply(&mut rig, &lane, b"answer")?;
        let got = rig.run(&reply.bytes())?;
        assert_eq!(
            (got.action, got.outcome),
            (REDIRECT, Outcome::Returned),
            "{}",
            lane.name()
        );
        assert_eq!(macs(&got)?, (NEIGHBOUR, OURS));
        let returned = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
        assert_eq!(
            (returned.source(), returned.destination()),
            (lane.at(UDP_PORT), lane.client(4000))
        );
        // The tags of the client's packets are those of another cable.
        assert_eq!(returned.tags, &[]);
        let tagged = rig.run(&reply.tagged(&[(0x8100, 9)]).bytes())?;
        assert_eq!(macs(&tagged)?, (NEIGHBOUR, OURS));
        let tagged = read::frame(&tagged.frame).map_err(anyhow::Error::msg)?;
        assert_eq!(tagged.tags, &[(0x8100, 9)]);
    }
    Ok(())
}

#[test]
fn a_reply_that_its_route_does_not_take_is_answered() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    for lane in lanes() {
        let header = if lane.is_v4() { 28 } else { 48 };
        let fits = ROUTE_MTU as usize - header;
        let reply = reply(&mut rig, &lane, &vec![7; fits])?;
        assert_eq!(
            rig.run(&reply.bytes())?.outcome,
            Outcome::Returned,
            "{}",
            lane.name()
        );
        let long = reply.clone().payload(&vec![7; fits + 1]);
        let got = rig.run(&long.bytes())?;
        let answer = expect::error_about(&long, lane.vip, &icmp::TOO_BIG, ROUTE_MTU);
        assert_eq!(
            (got.action, got.outcome),
            (TX, Outcome::TooBigAnswered),
            "{}",
            lane.name()
        );
        assert_eq!(read::frame(&got.frame), Ok(answer));
        // The first of two fragments is remembered all the same.
        let (head, tail) = reply.payload(&vec![7; fits + 100]).cut(1400);
        assert_eq!(rig.run(&head.bytes())?.outcome, Outcome::TooBigAnswered);
        assert_eq!(rig.run(&tail.bytes())?.outcome, Outcome::Returned);
    }
    Ok(())
}

#[test]
fn a_reply_to_a_neighbour_that_is_not_known_goes_the_way_its_client_came() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    ip("neighbour del 10.99.0.2 dev up0")?;
    ip("neighbour del fd99::2 dev up0")?;
    for lane in lanes() {
        let reply = reply(&mut rig, &lane, b"answer")?;
        let got = rig.run(&reply.bytes())?;
        assert_eq!(
            (got.action, got.outcome),
            (TX, Outcome::Returned),
            "{}",
            lane.name()
        );
        assert_eq!(macs(&got)?.0, CLIENT_MAC);
        let returned = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
        assert_eq!(returned.tags, &[(0x8100, 5)]);
    }
    Ok(())
}

#[test]
fn a_route_that_forbids_is_an_answer() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    ip("route replace unreachable 198.51.100.0/24")?;
    ip("-6 route del 2001:db8:c::/48 via fd99::2")?;
    ip("-6 route add unreachable 2001:db8:c::/48")?;
    for lane in lanes() {
        let reply = reply(&mut rig, &lane, b"answer")?.bytes();
        let got = rig.run(&reply)?;
        assert_eq!(
            (got.action, got.outcome, got.frame),
            (DROP, Outcome::NoRoute, reply),
            "{}",
            lane.name()
        );
    }
    Ok(())
}

#[test]
fn a_way_over_a_vlan_device_is_that_of_the_interface_below() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    let ifindex = index_of("up0")?;
    let below = VlanDevice {
        ifindex: standard::INGRESS,
        vlans: Vlans::of(&[(0x88a8, 9), (0x8100, 42)]),
        ..VlanDevice::default()
    };
    rig.datapath.put_vlan_device(ifindex, &below)?;
    rig.datapath
        .set_switches(switches::NETWORKS | switches::REPLIES | switches::VLAN_DEVICES);
    for lane in lanes() {
        let reply = reply(&mut rig, &lane, b"answer")?;
        let got = rig.run(&reply.bytes())?;
        assert_eq!(
            (got.action, got.outcome),
            (TX, Outcome::Returned),
            "{}",
            lane.name()
        );
        let returned = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
        assert_eq!(returned.tags, &[(0x88a8, 9), (0x8100, 42)]);
    }
    Ok(())
}

/// Of the namespace that this thread is in, which sysfs does not show.
fn index_of(name: &str) -> Result<u32> {
    let output = Command::new("ip")
        .args(["-o", "link", "show", "dev", name])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let (index, _) = text.split_once(':').context("no index")?;
    Ok(index.trim().parse()?)
}

#[test]
fn a_backend_whose_way_nobody_has_resolved_is_looked_for() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    for v4 in [true, false] {
        let client = (standard::client(v4, 7), 4000);
        let got = rig.run(&tcp(client, (standard::vip(v4, special::LOST), 81), SYN).bytes())?;
        assert_eq!((got.action, got.outcome), (REDIRECT, Outcome::Forwarded));
        assert_eq!(macs(&got)?, (NEIGHBOUR, OURS));
    }
    Ok(())
}

#[test]
fn a_packet_that_the_route_to_its_backend_does_not_take_is_answered() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    ip("route add 10.20.106.0/24 via 10.99.0.2 mtu lock 1400")?;
    ip("-6 route add fd00:20:6a::/48 via fd99::2 mtu lock 1400")?;
    for v4 in [true, false] {
        let vip = standard::vip(v4, special::LOST);
        let empty = tcp((standard::client(v4, 7), 4000), (vip, 81), SYN).payload(b"");
        let fits = ROUTE_MTU as usize - empty.ip.len();
        let long = empty.payload(&vec![7; fits + 1]);
        let got = rig.run(&long.bytes())?;
        let answer = expect::error_about(&long, vip, &icmp::TOO_BIG, ROUTE_MTU);
        assert_eq!((got.action, got.outcome), (TX, Outcome::TooBigAnswered));
        assert_eq!(read::frame(&got.frame), Ok(answer));
        let got = rig.run(&long.payload(&vec![7; fits]).bytes())?;
        assert_eq!((got.action, got.outcome), (REDIRECT, Outcome::Forwarded));
    }
    Ok(())
}

#[test]
fn a_tunnel_by_the_kernels_route_leaves_room_for_its_header() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut world = standard::world();
    world.tunnel_sources = vec![
        Net {
            base: "10.97.0.0".parse()?,
            len: 16,
        },
        Net {
            base: "fd97::".parse()?,
            len: 96,
        },
    ];
    let mut rig = rig_of(world)?;
    ip("route add 10.20.106.0/24 via 10.99.0.2 mtu lock 1400")?;
    ip("-6 route add fd00:20:6a::/48 via fd99::2 mtu lock 1400")?;
    for v4 in [true, false] {
        let vip = standard::vip(v4, special::LOST);
        let id = rig
            .world
            .vip_of(vip)
            .and_then(|at| rig.world.service_of(at, protocol::TCP, 81));
        let mut entry = rig.entry(id.context("no service")?);
        entry.mode = ForwardMode::Ipip.wire();
        rig.put_entry(&entry)?;
        let empty = tcp((standard::client(v4, 7), 4000), (vip, 81), SYN).payload(b"");
        let header = if v4 { 20 } else { 40 };
        let fits = (ROUTE_MTU - header) as usize - empty.ip.len();
        // What the route takes without another header, and what it does not take at all.
        for more in [1, header as usize, header as usize + 1] {
            let long = empty.clone().payload(&vec![7; fits + more]);
            let got = rig.run(&long.bytes())?;
            let answer = expect::error_about(&long, vip, &icmp::TOO_BIG, ROUTE_MTU - header);
            assert_eq!((got.action, got.outcome), (TX, Outcome::TooBigAnswered));
            assert_eq!(read::frame(&got.frame), Ok(answer));
        }
        let got = rig.run(&empty.payload(&vec![7; fits]).bytes())?;
        assert_eq!((got.action, got.outcome), (REDIRECT, Outcome::Forwarded));
    }
    Ok(())
}

/// Sends what no service of the VIP takes, and an error about what its kernel may have sent. The kernel gives a new address its route in its own time.
fn ensure_unserved(rig: &mut Rig, vip: IpAddr, wanted: (u32, Outcome)) -> Result<()> {
    let (client, router) = (
        (standard::client(vip.is_ipv4(), 7), 4000),
        standard::client(vip.is_ipv4(), 254),
    );
    ensure_comes_to(rig, &udp(client, (vip, 9), b"?"), wanted)?;
    let answer = udp((vip, 9), client, b"!");
    let report = error(router, vip, &icmp::TOO_BIG, ROUTE_MTU, answer.ip.quote(64));
    let wanted = match wanted.1 {
        Outcome::Unserved => (DROP, Outcome::ErrorUnknown),
        _ => wanted,
    };
    ensure_comes_to(rig, &report, wanted)
}

fn ensure_comes_to(rig: &mut Rig, sent: &Frame, wanted: (u32, Outcome)) -> Result<()> {
    let sent = sent.bytes();
    for _ in 0..100 {
        let got = rig.run(&sent)?;
        assert_eq!(got.frame, sent);
        if (got.action, got.outcome) == wanted {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    bail!("what should come to {wanted:?} does not");
}

#[test]
fn what_is_for_no_service_is_the_kernels_where_it_has_the_vip_or_does_not_forward() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = rig()?;
    for lane in lanes() {
        // On its way round: the host would send it where it came from.
        ensure_unserved(&mut rig, lane.vip, (DROP, Outcome::Unserved))?;
        let len = if lane.is_v4() { 32 } else { 128 };
        ip(&format!("address add {}/{len} dev lo", lane.vip))?;
        ensure_unserved(&mut rig, lane.vip, (PASS, Outcome::UnservedPassed))?;
        ip(&format!("address del {}/{len} dev lo", lane.vip))?;
        ensure_unserved(&mut rig, lane.vip, (DROP, Outcome::Unserved))?;
        forward(if lane.is_v4() { "ipv4" } else { "ipv6" }, false)?;
        ensure_unserved(&mut rig, lane.vip, (PASS, Outcome::UnservedPassed))?;
        let unserved = standard::vip(lane.is_v4(), special::DROP);
        ensure_unserved(&mut rig, unserved, (DROP, Outcome::Unserved))?;
    }
    Ok(())
}
