//! The lab's addresses. They exist only inside its namespaces, so every lab has the same ones.
//!
//! | net | IPv4 | IPv6 | in it |
//! | --- | --- | --- | --- |
//! | front | 10.10.0.0/24 | fd00:10::/64 | balancer `.1`, router `.2`, clients from `.11` |
//! | back | 10.20.0.0/24 | fd00:20::/64 | balancer `.1`, backends from `.11` |
//! | far | 10.30.0.0/24 | fd00:30::/64 | router `.2`, clients from `.11`, if there is a router |
//! | VIPs | 192.0.2.0/24 | 2001:db8::/64 | nobody: clients send them to the balancer |

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Prefix length of all IPv4 nets.
pub const PREFIX_LEN: u8 = 24;
/// Prefix length of all IPv6 nets.
pub const PREFIX_LEN6: u8 = 64;
/// Host part of the balancer in both nets.
pub const BALANCER: u8 = 1;
/// Host part of the router in both of its nets.
pub const ROUTER: u8 = 2;
/// Host part of the switch in the balancer's nets, where it is the way past the balancer.
pub const PAST: u8 = 250;
/// Host part of the first client and of the first backend.
pub const FIRST_HOST: u8 = 11;
/// How many clients or backends a net takes.
pub const MAX_HOSTS: u8 = 200;

/// One of the nets that hosts are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// Between the clients and the balancer.
    Front,
    /// Between the balancer and the backends.
    Back,
    /// Of the clients, where a router is between them and the balancer.
    Far,
}

impl Net {
    /// The IPv4 address with this host part.
    pub fn v4(self, host: u8) -> Ipv4Addr {
        match self {
            Self::Front => Ipv4Addr::new(10, 10, 0, host),
            Self::Back => Ipv4Addr::new(10, 20, 0, host),
            Self::Far => Ipv4Addr::new(10, 30, 0, host),
        }
    }

    /// The IPv6 address with this host part.
    pub fn v6(self, host: u8) -> Ipv6Addr {
        let net = match self {
            Self::Front => 0x10,
            Self::Back => 0x20,
            Self::Far => 0x30,
        };
        Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host.into())
    }

    /// The MAC address of the host's interface in this net: `02:00` and the IPv4 address.
    pub fn mac(self, host: u8) -> Mac {
        let [a, b, c, d] = self.v4(host).octets();
        Mac([0x02, 0, a, b, c, d])
    }
}

/// The IPv4 VIP with this host part.
pub fn vip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

/// The IPv6 VIP with this host part.
pub fn vip6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into())
}

/// A MAC address, shown with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_follow_addresses() {
        assert_eq!(Net::Back.mac(11).to_string(), "02:00:0a:14:00:0b");
    }
}
