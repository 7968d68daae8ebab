//! The packets: TCP, the shortest that Ethernet takes, and where a wrapper makes flows of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::checksum::fold;

/// A frame, and the offsets at which its flow is written.
pub struct Frame {
    pub bytes: Vec<u8>,
    /// The last two bytes of the source address.
    pub source: i16,
    /// The low byte of the source port.
    pub port: i16,
    /// Bytes of the IPv4 header that take the complement of the source's, so that its checksum stays right.
    pub complement: Option<i16>,
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
/// Data offset of five words, ACK; a window, and a checksum that nobody looks at.
const TCP: [u8; 12] = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0];
/// So much that a frame has no padding: tunnels cut that off, and the wrapper takes the frame's end for fixed.
const PAYLOAD: [u8; 6] = [0; 6];
const SOURCE_PORT: u16 = 0x4000;
const TCP_NUMBER: u8 = 6;

/// A packet from a client to `destination`.
pub fn tcp(destination: IpAddr, port: u16) -> Frame {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    let (source, complement) = match destination {
        IpAddr::V4(destination) => {
            bytes.extend([8, 0]);
            bytes.extend(ipv4(destination));
            (ETHERNET + 14, Some(ETHERNET + 4))
        }
        IpAddr::V6(destination) => {
            bytes.extend([0x86, 0xdd]);
            bytes.extend(ipv6(destination));
            (ETHERNET + 22, None)
        }
    };
    let transport = bytes.len();
    bytes.extend(SOURCE_PORT.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend(TCP);
    bytes.extend([0x12, 0x34, 0, 0]);
    bytes.extend(PAYLOAD);
    Frame {
        bytes,
        source: offset(source),
        port: offset(transport + 1),
        complement: complement.map(offset),
    }
}

fn ipv4(destination: Ipv4Addr) -> [u8; IPV4] {
    let [a, b, c, d] = destination.octets();
    // Identification: the complement of the source's last two bytes, which are zero.
    let mut header = [
        0x45, 0, 0, 46, 0xff, 0xff, 0, 0, 64, TCP_NUMBER, 0, 0, 10, 1, 0, 0, a, b, c, d,
    ];
    let words = header
        .chunks(2)
        .map(|word| u64::from(u16::from_ne_bytes([word[0], word[1]])));
    let check = !fold(words.sum());
    header[10..12].copy_from_slice(&check.to_ne_bytes());
    header
}

fn ipv6(destination: Ipv6Addr) -> [u8; IPV6] {
    let source = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
    let mut header = [0; IPV6];
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 26, TCP_NUMBER, 64]);
    // The last two bytes are the flow's, and so are the others of a network of clients.
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

fn offset(at: usize) -> i16 {
    i16::try_from(at).unwrap_or(0)
}
