//! The packets: the shortest that TCP has with a payload of six bytes, in which the complements of what tells flows apart are, so that every
//! checksum is right.

use std::{fmt, net::IpAddr};

use lb_common::checksum::fold;
use xlb_tests::{
    lab::address::{Mac, vip, vip6},
    xdp::live::Frames,
};

use crate::frame::{self, Frame};

/// Host part of the VIP.
const VIP: u8 = 10;
const TCP: u64 = 6;
/// Offsets in a TCP header, and how long it is.
const CHECKSUM: usize = 16;
const HEADER: usize = 20;
const ETHERNET: usize = 14;
/// So much that all of a frame is of words.
const PAYLOAD: usize = 6;
/// So many flows that hardly a packet meets one of before.
const FRESH: u32 = 1 << 24;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// What the balancer knows of the packets' flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// So many of them are established.
    Settled(u32),
    /// Nothing: each packet is a SYN.
    New,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    pub family: Family,
    pub kind: Kind,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn vip(self) -> IpAddr {
        match self {
            Self::V4 => vip(VIP).into(),
            Self::V6 => vip6(VIP).into(),
        }
    }

    /// Of an IP header.
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

impl Traffic {
    pub const fn flows(self) -> u32 {
        match self.kind {
            Kind::Settled(flows) => flows,
            Kind::New => FRESH,
        }
    }

    /// Packets to a port of the VIP, by the way of a neighbour.
    pub fn frames(self, port: u16, neighbour: Mac) -> Frames {
        let flags = match self.kind {
            Kind::Settled(_) => frame::ACK,
            Kind::New => frame::SYN,
        };
        let mut frame = frame::tcp(
            (self.family.vip(), port),
            flags,
            ETHERNET + self.family.header() + HEADER + PAYLOAD,
        );
        frame.bytes[..neighbour.0.len()].copy_from_slice(&neighbour.0);
        balanced(frame, self.flows())
    }
}

/// `tcp4/settled`.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        let kind = match self.kind {
            Kind::Settled(_) => "settled",
            Kind::New => "new",
        };
        write!(f, "tcp{family}/{kind}")
    }
}

/// With complements in the payload, and the checksum over all of it.
fn balanced(frame: Frame, flows: u32) -> Frames {
    let Frame {
        mut bytes,
        client,
        port,
        complement,
        ..
    } = frame;
    // The port's low byte is the second one of the transport header.
    let transport = usize::try_from(port - 1).unwrap_or_default();
    let payload = transport + HEADER;
    bytes[payload..payload + 4].copy_from_slice(&[0xff, 0xff, 0, 0xff]);
    let check = transport + CHECKSUM;
    bytes[check..check + 2].fill(0);
    // Both addresses are right before the transport header.
    let addresses = if complement.is_some() { 8 } else { 32 };
    let length = bytes.len() - transport;
    let sum = sum(&bytes[transport - addresses..]) + TCP + length as u64;
    bytes[check..check + 2].copy_from_slice(&(!fold(sum)).to_be_bytes());
    let payload = port - 1 + offset(HEADER);
    Frames {
        bytes,
        flows,
        low: client,
        low_complements: complement.into_iter().chain([payload]).collect(),
        high: port,
        high_complements: vec![payload + 3],
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<2>();
    words
        .iter()
        .map(|&word| u64::from(u16::from_be_bytes(word)))
        .sum()
}

fn offset(at: usize) -> i16 {
    i16::try_from(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of another flow.
    fn of_flow(frames: &Frames, number: u32) -> Vec<u8> {
        let mut bytes = frames.bytes.clone();
        let [a, b, high, _] = number.to_le_bytes();
        let at = |offset: i16| usize::try_from(offset).unwrap();
        bytes[at(frames.low)..][..2].copy_from_slice(&[a, b]);
        bytes[at(frames.high)] = high;
        for &offset in &frames.low_complements {
            bytes[at(offset)..][..2].copy_from_slice(&[!a, !b]);
        }
        for &offset in &frames.high_complements {
            bytes[at(offset)] = !high;
        }
        bytes
    }

    #[test]
    fn checksums_are_right_in_every_flow() {
        for (family, addresses) in [(Family::V4, 8), (Family::V6, 32)] {
            let kind = Kind::Settled(1 << 24);
            let frames = Traffic { family, kind }.frames(80, Mac([2, 0, 0, 0, 0, 1]));
            assert_eq!(frames.bytes.len() % 4, 0);
            for number in [0, 1, 0xffff, 0x12_3456, 0xff_ffff] {
                let bytes = of_flow(&frames, number);
                let transport = 14 + family.header();
                let length = (bytes.len() - transport) as u64;
                assert_eq!(
                    fold(sum(&bytes[transport - addresses..]) + TCP + length),
                    0xffff,
                    "{number:x}"
                );
                if family == Family::V4 {
                    assert_eq!(fold(sum(&bytes[14..34])), 0xffff, "{number:x}");
                }
            }
        }
    }
}
