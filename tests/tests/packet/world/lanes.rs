//! Lanes: every mode with every family of VIP and backend that it allows, so that a test can be run in all of them.

use std::net::{IpAddr, SocketAddr};

use lb_common::service::ForwardMode;

use crate::{
    wire::protocol,
    world::{Backend, Net, Service, Vip, World, standard},
};

/// One mode, one family of VIP, one family of backends: two services on a VIP of their own.
#[derive(Clone, Debug)]
pub struct Lane {
    pub number: u8,
    pub mode: ForwardMode,
    pub vip: IpAddr,
    pub backends_v4: bool,
    /// TCP 80, UDP 53 and where the mode allows it SCTP 7; translated to 8080.
    pub wide: u32,
    /// TCP 81 and UDP 54, behind another interface and VLAN tags; an MTU of 1300; ports stay; GUE has checksums;
    /// datagrams move at once.
    pub narrow: u32,
}

pub const TCP_PORT: u16 = 80;
pub const UDP_PORT: u16 = 53;
pub const SCTP_PORT: u16 = 7;
pub const NARROW_TCP_PORT: u16 = 81;
pub const NARROW_UDP_PORT: u16 = 54;
pub const BACKEND_PORT: u16 = 8080;
pub const NARROW_MTU: u16 = 1300;

impl Lane {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut lanes = Vec::new();
        for &mode in ForwardMode::ALL {
            for vip_v4 in [true, false] {
                for backends_v4 in [true, false] {
                    if mode.encapsulates() || vip_v4 == backends_v4 {
                        let number = u8::try_from(lanes.len()).unwrap();
                        lanes.push(Self::new(number, mode, vip_v4, backends_v4));
                    }
                }
            }
        }
        lanes
    }

    fn new(number: u8, mode: ForwardMode, vip_v4: bool, backends_v4: bool) -> Self {
        Self {
            number,
            mode,
            vip: standard::vip(vip_v4, 10 + number),
            backends_v4,
            wide: u32::from(number) * 2,
            narrow: u32::from(number) * 2 + 1,
        }
    }

    pub fn name(&self) -> String {
        let family = |v4: bool| if v4 { "4" } else { "6" };
        format!(
            "{} {}in{}",
            self.mode.name(),
            family(self.is_v4()),
            family(self.backends_v4)
        )
    }

    pub fn is_v4(&self) -> bool {
        self.vip.is_ipv4()
    }

    /// A client of the VIP's family.
    pub fn client(&self, port: u16) -> SocketAddr {
        SocketAddr::new(standard::client(self.is_v4(), 7), port)
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip, port)
    }

    /// Adds the lane's services and their backends.
    pub fn build(&self, world: &mut World) {
        assert_eq!(world.services.len(), self.wide as usize, "lanes come first");
        let net = Net::host(self.vip);
        world.vips.push(Vip {
            net,
            ..standard::policy(net)
        });
        let mut wide = Service::new(self.mode)
            .tcp(self.vip, TCP_PORT)
            .udp(self.vip, UDP_PORT);
        if !self.mode.translates() {
            wide = wide.on(net, protocol::SCTP, SCTP_PORT..=SCTP_PORT);
        }
        let mut narrow = Service::new(self.mode)
            .tcp(self.vip, NARROW_TCP_PORT)
            .udp(self.vip, NARROW_UDP_PORT);
        narrow.mtu = NARROW_MTU;
        narrow.udp_moves = true;
        narrow.gue_checksum = self.mode == ForwardMode::Gue;
        world.services.extend([wide, narrow]);
        let port = if self.mode.translates() { BACKEND_PORT } else { 0 };
        for host in 11..14 {
            world.backends.push(self.backend(self.wide, host, port));
        }
        for host in 21..23 {
            world.backends.push(self.backend(self.narrow, host, 0));
        }
    }

    fn backend(&self, service: u32, host: u8, port: u16) -> Backend {
        let near = service == self.wide;
        Backend {
            service,
            addr: standard::backend(self.backends_v4, self.number, host),
            port,
            way: standard::way(self.backends_v4, near),
            server_id: Vec::new(),
        }
    }
}
