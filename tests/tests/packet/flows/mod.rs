//! What is remembered: flows stay where they are, whatever the pool does, unless their backend is gone.

mod collisions;
mod lines;
mod pool;
mod states;
mod time;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use lb_common::{
    backend::BackendState,
    conn::{FlowState, Timeouts},
    outcome::Outcome,
    service::ForwardMode,
    slot::SlotBits,
};

use crate::{
    model::{DROP, Key, TX},
    rig::{HASH_KEY, Rig, TIMEOUTS},
    wire::{ACK, Frame, SYN, SYN_ACK, protocol, read, tcp},
    world::{Backend, Net, Service, Way, World, standard},
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const OTHER_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11));
const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 53;
const BACKEND_PORT: u16 = 8080;
/// Ids of the services, each over the same three servers: TCP, UDP, and TCP of the other VIP.
const WEB: u32 = 0;
const DNS: u32 = 1;
const OTHER_WEB: u32 = 2;

/// A rig with these services, by `nat`, and means to talk through it.
struct Pool {
    rig: Rig,
}

/// The address of a server, by its number.
fn server(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 20, 0, 10 + number).into()
}

/// The backend of a service at a server.
fn id(service: u32, number: u8) -> u32 {
    service * 3 + u32::from(number)
}

fn world() -> World {
    let nat = || Service::new(ForwardMode::Nat);
    let mut world = World {
        services: vec![
            nat().tcp(VIP, TCP_PORT),
            nat().udp(VIP, UDP_PORT),
            nat().tcp(OTHER_VIP, TCP_PORT),
        ],
        vips: [VIP, OTHER_VIP]
            .map(|vip| standard::policy(Net::host(vip)))
            .to_vec(),
        ways: vec![Way {
            ifindex: standard::INGRESS,
            tags: None,
            mtu: 0,
            source: Ipv4Addr::new(10, 20, 0, 1).into(),
        }],
        answers_per_second: 1_000_000,
        ..World::default()
    };
    for service in [WEB, DNS, OTHER_WEB] {
        for number in 1..=3 {
            world.backends.push(Backend {
                service,
                addr: server(number),
                port: if service == DNS { 0 } else { BACKEND_PORT },
                way: 1,
                server_id: Vec::new(),
            });
        }
    }
    world
}

impl Pool {
    fn new() -> Result<Self> {
        Self::with_timeouts(TIMEOUTS)
    }

    fn with_timeouts(timeouts: Timeouts) -> Result<Self> {
        let rig = Rig::with_timeouts(world(), timeouts)?;
        Ok(Self { rig })
    }

    /// Lets these servers share a service's slots.
    fn share(&mut self, service: u32, numbers: &[u8]) -> Result<()> {
        let ids: Vec<u32> = numbers.iter().map(|&number| id(service, number)).collect();
        self.rig.share(service, &ids)
    }

    fn set(&mut self, service: u32, number: u8, state: BackendState) {
        self.rig.set(id(service, number), state);
    }

    /// Sends a client's frame; gives the number of the server it went to.
    fn serve(&mut self, sent: &Frame) -> Result<u8> {
        let got = self.rig.run(&sent.bytes())?;
        assert_eq!((got.action, got.outcome), (TX, Outcome::Forwarded));
        let arrived = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
        assert_eq!(arrived.source(), sent.source());
        let number = (1..=3).find(|&number| server(number) == arrived.ip.to);
        number.ok_or_else(|| anyhow::anyhow!("to {}", arrived.ip.to))
    }

    fn send(&mut self, port: u16, flags: u8) -> Result<u8> {
        self.serve(&tcp((CLIENT, port), (VIP, TCP_PORT), flags))
    }

    /// A server's segment to the client's port; gives the frame that leaves.
    fn answer(&mut self, number: u8, port: u16, flags: u8) -> Result<(Outcome, Vec<u8>)> {
        let sent = tcp((server(number), BACKEND_PORT), (CLIENT, port), flags);
        let got = self.rig.run(&sent.bytes())?;
        Ok((got.outcome, got.frame))
    }

    fn reply(&mut self, number: u8, port: u16, flags: u8) -> Result<Outcome> {
        Ok(self.answer(number, port, flags)?.0)
    }

    /// The VIP that the client sees a server's segment come from.
    fn reply_comes_from(&mut self, number: u8, port: u16, flags: u8) -> Result<SocketAddr> {
        let (outcome, frame) = self.answer(number, port, flags)?;
        assert_eq!(outcome, Outcome::Returned);
        Ok(read::frame(&frame).map_err(anyhow::Error::msg)?.source())
    }

    fn ensure_dropped(&mut self, sent: &Frame, outcome: Outcome) -> Result<()> {
        let got = self.rig.run(&sent.bytes())?;
        assert_eq!(
            (got.action, got.outcome, got.frame),
            (DROP, outcome, sent.bytes())
        );
        Ok(())
    }

    fn establish(&mut self, port: u16) -> Result<u8> {
        let number = self.send(port, SYN)?;
        assert_eq!(self.reply(number, port, SYN_ACK)?, Outcome::Returned);
        assert_eq!(self.send(port, ACK)?, number);
        Ok(number)
    }

    fn state(&self, port: u16) -> Option<FlowState> {
        self.rig.flow(&web_key(port).in_maps()).map(|flow| flow.state())
    }
}

/// The client's five-tuple.
fn web_key(port: u16) -> Key {
    Key::between((CLIENT, port), (VIP, TCP_PORT), protocol::TCP)
}

/// The same of its datagrams.
fn dns_key(port: u16) -> Key {
    Key::between((CLIENT, port), (VIP, UDP_PORT), protocol::UDP)
}

/// A client port whose new flow goes to a server while all three share the table.
fn port_for(number: u8) -> u16 {
    let table = world().table(WEB);
    let mut ports = 20_000..;
    let goes_there = |port: &u16| {
        let slot = SlotBits::MIN.slot(web_key(*port).in_maps().hash(HASH_KEY));
        table[slot as usize] == id(WEB, number)
    };
    ports.find(goes_there).unwrap()
}
