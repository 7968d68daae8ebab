//! Who is in a lab, and where.

use super::address::{BALANCER, FIRST_HOST, Net, ROUTER};

/// Host parts between the first client and the first backend, where both are in one net.
pub(super) const APART: u8 = 100;

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Balancer,
    Router,
    Client,
    Backend,
}

/// A host to be.
pub(super) struct Member {
    pub name: String,
    pub role: Role,
    /// Where it is; the first one is its own address.
    pub seats: Vec<Seat>,
}

/// An address that a host has on a device.
pub(super) struct Seat {
    pub device: &'static str,
    /// Where the device's cable meets the switch; none for another address of a device.
    pub port: Option<String>,
    pub net: Net,
    pub number: u8,
}

/// How many there are, and in which nets.
pub(super) struct Plan {
    pub clients: u8,
    pub clients_in: Net,
    pub backends: u8,
    pub backends_in: Net,
    pub one_arm: bool,
}

impl Plan {
    /// The balancer, the router if there is one, the clients, the backends.
    pub fn members(&self) -> Vec<Member> {
        let mut members = vec![self.balancer()];
        if self.clients_in == Net::Far {
            members.push(router());
        }
        let client = |i| match i {
            0 => "client".to_owned(),
            _ => format!("c{}", i + 1),
        };
        members.extend((0..self.clients).map(|i| {
            let name = client(i);
            alone(name, Role::Client, self.clients_in, FIRST_HOST + i)
        }));
        let first = if self.backends_in == self.clients_in {
            FIRST_HOST + APART
        } else {
            FIRST_HOST
        };
        members.extend((0..self.backends).map(|i| {
            let name = format!("b{}", i + 1);
            alone(name, Role::Backend, self.backends_in, first + i)
        }));
        members
    }

    fn balancer(&self) -> Member {
        let front = Seat {
            device: "eth0",
            port: Some("front".to_owned()),
            net: Net::Front,
            number: BALANCER,
        };
        let (device, port) = if self.one_arm {
            ("eth0", None)
        } else {
            ("eth1", Some("back".to_owned()))
        };
        let back = Seat {
            device,
            port,
            net: Net::Back,
            number: BALANCER,
        };
        Member {
            name: "lb".to_owned(),
            role: Role::Balancer,
            seats: vec![front, back],
        }
    }
}

fn router() -> Member {
    let seat = |device, port: &str, net| Seat {
        device,
        port: Some(port.to_owned()),
        net,
        number: ROUTER,
    };
    Member {
        name: "router".to_owned(),
        role: Role::Router,
        seats: vec![
            seat("eth0", "router-far", Net::Far),
            seat("eth1", "router-front", Net::Front),
        ],
    }
}

/// A host with one cable, whose end in the switch has the host's name.
fn alone(name: String, role: Role, net: Net, number: u8) -> Member {
    let seat = Seat {
        device: "eth0",
        port: Some(name.clone()),
        net,
        number,
    };
    Member {
        name,
        role,
        seats: vec![seat],
    }
}
