//! The packets, and where a wrapper makes flows of them.

mod error;
mod ip;

use std::net::IpAddr;

pub use self::error::{Message, error};
use self::ip::ETHERNET;

/// A frame, and the offsets at which its flow is written.
#[derive(Clone)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// The last two bytes of the client's address.
    pub client: i16,
    /// The low byte of the client's port.
    pub port: i16,
    /// Bytes of the IPv4 header that take the complement of the client's, so that its checksum stays right.
    pub complement: Option<i16>,
    /// Of a packet that is answered with an error which quotes a part of it: the bytes before the quote.
    pub answered_behind: Option<i32>,
}

impl Frame {
    /// The frame of a flow, as wrappers write it: 16 bits are in the client's address, 8 in its port.
    pub fn of_flow(&self, flow: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let [low, high, third, _] = flow.to_le_bytes();
        let mut put = |at: i16, byte: u8| {
            let place = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at));
            if let Some(place) = place {
                *place = byte;
            }
        };
        put(self.client, low);
        put(self.client + 1, high);
        if let Some(complement) = self.complement {
            put(complement, !low);
            put(complement + 1, !high);
        }
        put(self.port, third);
        bytes
    }
}

pub const ACK: u8 = 0x10;
pub const SYN: u8 = 0x02;
const CLIENT_PORT: u16 = 0x4000;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// So much that the shortest frame has no padding: tunnels cut that off, and the wrapper takes the frame's end for fixed.
const SHORTEST: usize = 60;
/// The longest that Ethernet takes.
pub const LONGEST: usize = 1514;

/// A TCP packet of a client to `server`, in a frame of so many bytes at least.
pub fn tcp(server: (IpAddr, u16), flags: u8, len: usize) -> Frame {
    // Data offset of five words, a window, and a checksum that nobody looks at.
    let rest = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0x12, 0x34, 0, 0];
    of_client(server, TCP, &rest, len)
}

/// A datagram of a client to `server`, all zeros: that is also a QUIC packet with a short header.
pub fn udp(server: (IpAddr, u16)) -> Frame {
    let payload = [0; 18];
    let len = u8::try_from(8 + payload.len()).unwrap_or(0);
    // A checksum that nobody looks at, but one: without, there is nothing to rewrite.
    let rest = [&[0, len, 0x12, 0x34][..], &payload].concat();
    of_client(server, UDP, &rest, SHORTEST)
}

fn of_client((server, port): (IpAddr, u16), protocol: u8, rest: &[u8], len: usize) -> Frame {
    let headers = ETHERNET + ip::len_of(server) + 4;
    let mut transport = [&CLIENT_PORT.to_be_bytes()[..], &port.to_be_bytes(), rest].concat();
    if protocol == TCP {
        transport.resize((headers + rest.len()).max(len).max(SHORTEST) - headers + 4, 0);
    }
    let mut bytes = ip::ethernet(server);
    bytes.extend(ip::header(
        ip::client_of(server),
        server,
        protocol,
        transport.len(),
    ));
    let l4 = bytes.len();
    bytes.extend(transport);
    let (client, complement) = match server {
        IpAddr::V4(_) => (ETHERNET + 14, Some(offset(ETHERNET + 4))),
        IpAddr::V6(_) => (ETHERNET + 22, None),
    };
    Frame {
        bytes,
        client: offset(client),
        port: offset(l4 + 1),
        complement,
        answered_behind: None,
    }
}

/// Of a frame, which is never as long as that.
fn offset(at: usize) -> i16 {
    i16::try_from(at).unwrap_or(i16::MAX)
}

/// Whether the IPv4 header at the start of `bytes` adds up.
#[cfg(test)]
fn adds_up(bytes: &[u8]) -> bool {
    ip::sum(&bytes[..ip::IPV4]) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));

    #[test]
    fn the_ipv4_checksum_is_right_for_every_flow() {
        for frame in [tcp((V4, 80), ACK, 0), udp((V4, 80)), tcp((V4, 80), ACK, LONGEST)] {
            for flow in [0, 1, 0xffff, 0x1_0000, 0xff_fffe] {
                assert!(adds_up(&frame.of_flow(flow)[ETHERNET..]), "{flow}");
            }
        }
    }

    #[test]
    fn a_frame_is_as_long_as_its_headers_say() {
        for frame in [
            tcp((V4, 80), ACK, 0),
            udp((V4, 80)),
            tcp((V4, 80), SYN, LONGEST),
            error(V4, 80, Message::TooBig),
        ] {
            let total = u16::from_be_bytes([frame.bytes[16], frame.bytes[17]]);
            assert_eq!(usize::from(total) + ETHERNET, frame.bytes.len());
            assert!(frame.bytes.len() >= SHORTEST && adds_up(&frame.bytes[ETHERNET..]));
        }
        for frame in [
            tcp((V6, 80), ACK, 0),
            udp((V6, 80)),
            error(V6, 80, Message::Unreachable),
        ] {
            let payload = u16::from_be_bytes([frame.bytes[18], frame.bytes[19]]);
            assert_eq!(usize::from(payload) + ETHERNET + 40, frame.bytes.len());
        }
        assert_eq!(tcp((V6, 80), ACK, LONGEST).bytes.len(), LONGEST);
    }

    #[test]
    fn an_error_quotes_the_service_s_packet_and_its_flow_is_the_client_of_that() {
        let frame = error(V4, 80, Message::TooBig);
        let flow = frame.of_flow(0x03_0201);
        let quoted = &flow[ETHERNET + ip::IPV4 + 8..];
        assert!(adds_up(quoted));
        assert_eq!(quoted[12..16], [192, 0, 2, 7]);
        assert_eq!(quoted[16..20], [10, 1, 1, 2]);
        assert_eq!(quoted[20..24], [0, 80, 0x40, 3]);
    }
}
