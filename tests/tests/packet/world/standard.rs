//! The world that most tests run in: a VIP for every lane, and some for what is special.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::service::{ForwardMode, Unserved};

use crate::{
    wire::{protocol, sum},
    world::{ALL_PORTS, Backend, Net, Quic, Service, Vip, Way, World, lanes::Lane},
};

/// Test runs come in by the loopback interface.
pub const INGRESS: u32 = 1;
/// Any other: a redirect is not carried out in a test run.
pub const ELSEWHERE: u32 = 7;
pub const NARROW_TAG: (u16, u16) = (0x8100, 0x60c8);

/// VIPs that are special, by the last part of their addresses.
pub mod special {
    /// Unserved ports are dropped, pings are not answered.
    pub const DROP: u8 = 100;
    pub const PASS: u8 = 101;
    pub const RESET: u8 = 102;
    /// TCP 8000–8999, TCP 8080 of its own, all of TCP, all of UDP.
    pub const RANGES: u8 = 103;
    /// Services with `fragments = "hash"`: all of UDP by `ipip`, TCP 80 by `nat`.
    pub const BY_ADDRESSES: u8 = 104;
    /// UDP 443 by `dsr` and server IDs of three bytes, 444 and 445 by `nat` and one byte.
    pub const QUIC: u8 = 105;
    /// TCP 80 without backends, TCP 81 with one that nobody knows the way to.
    pub const LOST: u8 = 106;
}

pub const QUIC_PORT: u16 = 443;
pub const QUIC_NAT_PORT: u16 = 444;
/// Of the same service and backends.
pub const QUIC_NAT_PORT_2: u16 = 445;

pub fn vip(v4: bool, host: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(192, 0, 2, host).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, u16::from(host)).into()
    }
}

pub fn client(v4: bool, host: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(198, 51, 100, host).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0xabcd, u16::from(host)).into()
    }
}

/// Our own address.
pub fn own(v4: bool) -> IpAddr {
    if v4 {
        Ipv4Addr::new(10, 10, 0, 1).into()
    } else {
        Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1).into()
    }
}

pub fn backend(v4: bool, lane: u8, host: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(10, 20, lane, host).into()
    } else {
        Ipv6Addr::new(0xfd00, 0x20, u16::from(lane), 0, 0, 0, 0, u16::from(host)).into()
    }
}

/// A network of addresses, the wider one or the one inside it.
pub fn network(v4: bool, wide: bool) -> Net {
    match (v4, wide) {
        (true, true) => Net::new(Ipv4Addr::new(198, 18, 0, 0).into(), 16),
        (true, false) => Net::new(Ipv4Addr::new(198, 18, 5, 0).into(), 24),
        (false, true) => Net::new(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0).into(), 48),
        (false, false) => Net::new(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 5, 0, 0, 0, 0).into(), 64),
    }
}

/// An address of that network.
pub fn inside(v4: bool, wide: bool, host: u8) -> IpAddr {
    match network(v4, wide).base {
        IpAddr::V4(base) => {
            let [a, b, c, _] = base.octets();
            Ipv4Addr::new(a, b, c, host).into()
        }
        IpAddr::V6(base) => {
            let [a, b, c, d, ..] = base.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 7, u16::from(host)).into()
        }
    }
}

/// Index of the way to backends of a family: the near one is the interface that frames come by.
pub fn way(v4: bool, near: bool) -> u32 {
    match (v4, near) {
        (true, true) => 1,
        (false, true) => 2,
        (true, false) => 3,
        (false, false) => 4,
    }
}

pub fn policy(net: Net) -> Vip {
    Vip {
        net,
        unserved: Unserved::Auto,
        ping: true,
    }
}

/// The whole of it.
pub fn world() -> World {
    build(true)
}

/// The same without VIPs that are networks, which most hosts have none of: what is for no VIP is then seen by its address alone.
pub fn without_networks() -> World {
    build(false)
}

fn build(has_networks: bool) -> World {
    let own_v6 = |part| Ipv6Addr::new(0xfd00, 0x10, part, 0, 0, 0, 0, 1).into();
    let way = |ifindex, source, near: bool| Way {
        ifindex,
        tags: (!near).then(|| vec![NARROW_TAG]),
        mtu: if near { 1500 } else { 0 },
        source,
    };
    let mut world = World {
        ways: vec![
            way(INGRESS, Ipv4Addr::new(10, 10, 1, 1).into(), true),
            way(INGRESS, own_v6(1), true),
            way(ELSEWHERE, Ipv4Addr::new(10, 10, 2, 1).into(), false),
            way(ELSEWHERE, own_v6(2), false),
        ],
        own: vec![own(true), own(false)],
        answers_per_second: 1_000_000_000,
        ..World::default()
    };
    for lane in Lane::all() {
        lane.build(&mut world);
    }
    for v4 in [true, false] {
        add_policies(&mut world, v4);
        add_ranges(&mut world, v4);
        if has_networks {
            add_networks(&mut world, v4);
        }
        add_by_addresses(&mut world, v4);
        add_quic(&mut world, v4);
        add_lost(&mut world, v4);
    }
    world
}

/// Everything that the standard world leaves off, and nothing that it has in its place.
pub fn other() -> World {
    let net = |base: [u16; 8], len| Net::new(Ipv6Addr::from(base).into(), len);
    let mut ways = world().ways;
    for way in ways.iter_mut().filter(|way| way.mtu > 0) {
        way.mtu = 9000;
    }
    World {
        own: Vec::new(),
        tunnel_sources: vec![
            Net::new(Ipv4Addr::new(172, 16, 0, 0).into(), 16),
            net([0xfd00, 0x40, 0, 0, 0, 0, 0, 0], 100),
        ],
        sources: vec![
            Ipv4Addr::new(10, 30, 0, 1).into(),
            Ipv4Addr::new(10, 30, 0, 2).into(),
            Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 1).into(),
        ],
        partial_checksums: true,
        multi_buffer: true,
        ways,
        ..world()
    }
}

impl World {
    /// Adds a service, with backends on the near way whose addresses end in these.
    fn add(&mut self, service: Service, v4: bool, lane: u8, hosts: &[u8], port: u16) -> u32 {
        let id = u32::try_from(self.services.len()).unwrap();
        self.services.push(service);
        self.backends.extend(hosts.iter().map(|&host| Backend {
            service: id,
            addr: backend(v4, lane, host),
            port,
            way: way(v4, true),
            server_id: Vec::new(),
        }));
        id
    }

    fn add_vip(&mut self, net: Net) {
        self.vips.push(policy(net));
    }
}

/// Two `nat` services on three VIPs, of two backends and of one: the same client port on two VIPs collides.
fn add_policies(world: &mut World, v4: bool) {
    let kinds = [
        (special::DROP, Unserved::Drop),
        (special::PASS, Unserved::Pass),
        (special::RESET, Unserved::Reset),
    ];
    let mut pair = Service::new(ForwardMode::Nat);
    let mut single = pair.clone();
    for (host, unserved) in kinds {
        let net = Net::host(vip(v4, host));
        let ping = unserved != Unserved::Drop;
        world.vips.push(Vip { net, unserved, ping });
        pair = pair.tcp(net.base, 80).udp(net.base, 53);
        single = single.tcp(net.base, 81).udp(net.base, 54);
    }
    world.add(pair, v4, 100, &[11, 12], 8080);
    world.add(single, v4, 100, &[21], 8080);
}

fn add_ranges(world: &mut World, v4: bool) {
    let net = Net::host(vip(v4, special::RANGES));
    world.add_vip(net);
    let dsr = || Service::new(ForwardMode::Dsr);
    world.add(dsr().on(net, protocol::TCP, 8000..=8999), v4, 103, &[11, 12], 0);
    world.add(dsr().on(net, protocol::TCP, 8080..=8080), v4, 103, &[21], 0);
    world.add(dsr().on(net, protocol::TCP, ALL_PORTS), v4, 103, &[31, 32], 0);
    let all_udp = Service::new(ForwardMode::Ipip).on(net, protocol::UDP, ALL_PORTS);
    world.add(all_udp, v4, 103, &[41, 42], 0);
}

fn add_networks(world: &mut World, v4: bool) {
    let (wide, narrow) = (network(v4, true), network(v4, false));
    world.add_vip(wide);
    world.add_vip(narrow);
    // In both networks, and no service of its own: it is not served by theirs.
    world.add_vip(Net::host(inside(v4, false, 9)));
    let of_wide = Service::new(ForwardMode::Dsr).on(wide, protocol::TCP, 80..=443);
    world.add(of_wide, v4, 110, &[11, 12], 0);
    let of_narrow = Service::new(ForwardMode::Nat)
        .on(narrow, protocol::TCP, 80..=80)
        .on(narrow, protocol::UDP, 1000..=1999);
    world.add(of_narrow, v4, 110, &[21, 22], 8080);
}

fn add_by_addresses(world: &mut World, v4: bool) {
    let net = Net::host(vip(v4, special::BY_ADDRESSES));
    world.add_vip(net);
    let mut udp = Service::new(ForwardMode::Ipip).on(net, protocol::UDP, ALL_PORTS);
    let mut tcp = Service::new(ForwardMode::Nat).on(net, protocol::TCP, 80..=80);
    (udp.by_addresses, tcp.by_addresses) = (true, true);
    world.add(udp, v4, 104, &[11, 12, 13], 0);
    world.add(tcp, v4, 104, &[21, 22, 23], 8080);
}

fn add_quic(world: &mut World, v4: bool) {
    let net = Net::host(vip(v4, special::QUIC));
    world.add_vip(net);
    let mut direct = Service::new(ForwardMode::Dsr).udp(net.base, QUIC_PORT);
    direct.quic = Some(Quic { config: 2, len: 3 });
    let mut nat = Service::new(ForwardMode::Nat)
        .udp(net.base, QUIC_NAT_PORT)
        .udp(net.base, QUIC_NAT_PORT_2);
    nat.quic = Some(Quic { config: 0, len: 1 });
    let direct = world.add(direct, v4, 105, &[11, 12, 13], 0);
    let nat = world.add(nat, v4, 105, &[21, 22], 4433);
    for backend in &mut world.backends {
        let last = sum::address(backend.addr).pop().unwrap();
        if backend.service == direct {
            backend.server_id = vec![0xc0, 0, last];
        } else if backend.service == nat {
            backend.server_id = vec![last];
        }
    }
}

fn add_lost(world: &mut World, v4: bool) {
    let net = Net::host(vip(v4, special::LOST));
    world.add_vip(net);
    world.add(Service::new(ForwardMode::Nat).tcp(net.base, 80), v4, 106, &[], 0);
    world.add(
        Service::new(ForwardMode::Nat).tcp(net.base, 81),
        v4,
        106,
        &[21],
        0,
    );
    if let Some(last) = world.backends.last_mut() {
        last.way = 0;
    }
}
