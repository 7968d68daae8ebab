//! A flood of SYNs from random sources, as [live frames](super::live).

use std::net::SocketAddrV4;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::live::{Frames, Stream};
use crate::Lab;

/// Offsets in the frame: the identification, which balances the header's checksum, the source's last two bytes, the source port's last one.
const IDENTIFICATION: i16 = 18;
const SOURCE: i16 = 28;
const PORT: i16 = 35;
/// The shortest that Ethernet takes.
const LEN: usize = 60;
/// So many that hardly a frame is of a flow of before.
const FLOWS: u32 = 1 << 24;

impl Lab {
    /// Sends `frames` SYNs to the VIP, each from an address of 172.16.0.0/16 and a port of its own, by the balancer's front interface.
    pub fn flood(&self, to: SocketAddrV4, frames: u32) -> Result<()> {
        let syns = Frames {
            bytes: self.syn(to),
            flows: FLOWS,
            low: SOURCE,
            low_complements: vec![IDENTIFICATION],
            high: PORT,
            high_complements: Vec::new(),
        };
        self.switch.run(|| {
            let port = if_nametoindex("front").context("look up the balancer's port")?;
            Stream::new(&syns, port)?.send(frames).map(drop)
        })?
    }

    /// A SYN from 172.16.0.0, with room for another source.
    fn syn(&self, to: SocketAddrV4) -> Vec<u8> {
        let [a, b, c, d] = to.ip().octets();
        let mut ip = [
            0x45, 0, 0, 40, 0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 172, 16, 0, 0, a, b, c, d,
        ];
        let sum: u32 = ip
            .chunks(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let check = !u16::try_from(folded).unwrap_or_else(|_| u16::try_from(folded - 0xffff).unwrap_or(0));
        ip[10..12].copy_from_slice(&check.to_be_bytes());
        let mut frame = self.front.mac.0.to_vec();
        frame.extend([0x02, 0, 0, 0, 0, 9, 8, 0]);
        frame.extend(ip);
        frame.extend([0x40, 0]);
        frame.extend(to.port().to_be_bytes());
        frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0]);
        frame.resize(LEN, 0);
        frame
    }
}
