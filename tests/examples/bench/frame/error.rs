//! ICMP errors about what a service has sent to a client: a router on the way refuses it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{CLIENT_PORT, Frame, TCP, ip, offset};

/// What the router says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Fragmentation needed (RFC 792, 1191), packet too big (RFC 4443).
    TooBig,
    /// Port unreachable, of the client itself as a rule.
    Unreachable,
}

const ICMP: usize = 8;

/// An error about a TCP packet of the service at `vip` and `port`.
pub fn error(vip: IpAddr, port: u16, message: Message) -> Frame {
    let (router, protocol): (IpAddr, u8) = match vip {
        IpAddr::V4(_) => (Ipv4Addr::new(10, 9, 0, 1).into(), 1),
        IpAddr::V6(_) => (Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1).into(), 58),
    };
    let mut quoted = ip::header(vip, ip::client_of(vip), TCP, 20);
    quoted.extend(port.to_be_bytes());
    quoted.extend(CLIENT_PORT.to_be_bytes());
    quoted.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        1,
        0x50,
        super::ACK,
        0x20,
        0,
        0x12,
        0x34,
        0,
        0,
    ]);
    let mut bytes = ip::ethernet(vip);
    bytes.extend(ip::header(router, vip, protocol, ICMP + quoted.len()));
    bytes.extend(head(vip, message, &quoted));
    let l3 = bytes.len();
    bytes.extend(quoted);
    let (client, complement) = match vip {
        IpAddr::V4(_) => (l3 + 18, Some(offset(l3 + 4))),
        IpAddr::V6(_) => (l3 + 38, None),
    };
    Frame {
        bytes,
        client: offset(client),
        port: offset(l3 + ip::len_of(vip) + 3),
        complement,
        answered_behind: None,
    }
}

/// ICMP's header. Its checksum is right for flow 0 and IPv4: nobody on the way looks at it.
fn head(vip: IpAddr, message: Message, quoted: &[u8]) -> [u8; ICMP] {
    let (kind, code, mtu) = match (vip, message) {
        (IpAddr::V4(_), Message::TooBig) => (3, 4, 1400_u16),
        (IpAddr::V4(_), Message::Unreachable) => (3, 3, 0),
        (IpAddr::V6(_), Message::TooBig) => (2, 0, 1400),
        (IpAddr::V6(_), Message::Unreachable) => (1, 4, 0),
    };
    let [high, low] = mtu.to_be_bytes();
    let mut head = [kind, code, 0, 0, 0, 0, high, low];
    let check = !ip::sum(&[&head, quoted].concat());
    head[2..4].copy_from_slice(&check.to_ne_bytes());
    head
}
