//! An XDP program that passes every packet, attached natively to a veth.
//!
//! XDP_TX from a veth, and a redirect into one, hand frames to its peer's NAPI, which runs only when the peer has a
//! native XDP program: without it they are counted and vanish.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::{EXIT, Instruction, XDP_PASS, link, load_program};
use crate::netns::Netns;

/// Keeps a stub attached.
#[derive(Debug)]
pub struct Stub {
    _link: OwnedFd,
}

/// Attaches a stub to each of the devices of `ns`.
pub fn attach(ns: &Netns, devices: &[&str]) -> Result<Vec<Stub>> {
    ns.run(|| {
        let program = load().context("load the XDP stub")?;
        let attached = devices.iter().map(|device| {
            let index = if_nametoindex(*device).with_context(|| format!("look up {device}"))?;
            let link = link(&program, index).with_context(|| format!("attach the XDP stub to {device}"))?;
            Ok(Stub { _link: link })
        });
        attached.collect()
    })?
}

/// Loads the program: the least that any use of XDP needs from the host.
pub(crate) fn load() -> io::Result<OwnedFd> {
    load_program(&[Instruction::new(0xb7, 0, 0, XDP_PASS), EXIT])
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::{Lab, preflight};

    const XDP_TX: i32 = 3;

    /// Exchanges the MAC addresses and sends every frame back.
    const REFLECT: [Instruction; 17] = [
        Instruction::new(0x61, 0x12, 0, 0),  // r2 = data
        Instruction::new(0x61, 0x13, 4, 0),  // r3 = data_end
        Instruction::new(0xbf, 0x24, 0, 0),  // r4 = r2
        Instruction::new(0x07, 0x04, 0, 14), // r4 += 14
        Instruction::new(0x2d, 0x34, 10, 0), // if r4 > r3 goto pass
        Instruction::new(0x61, 0x25, 0, 0),  // r5, r6 = destination
        Instruction::new(0x69, 0x26, 4, 0),
        Instruction::new(0x61, 0x27, 6, 0), // r7, r8 = source
        Instruction::new(0x69, 0x28, 10, 0),
        Instruction::new(0x63, 0x72, 0, 0), // destination = r7, r8
        Instruction::new(0x6b, 0x82, 4, 0),
        Instruction::new(0x63, 0x52, 6, 0), // source = r5, r6
        Instruction::new(0x6b, 0x62, 10, 0),
        Instruction::new(0xb7, 0x00, 0, XDP_TX),
        EXIT,
        Instruction::new(0xb7, 0x00, 0, XDP_PASS), // pass:
        EXIT,
    ];

    #[test]
    fn what_xdp_sends_through_a_stub_arrives() {
        if !preflight::ready() {
            return;
        }
        let lab = Lab::new().build().unwrap();
        assert_eq!(lab.client.ping(lab.front.addr.into(), 1).unwrap(), 1);
        let attach = || link(&load_program(&REFLECT)?, if_nametoindex("eth0")?);
        let _reflector = lab.lb.ns.run(attach).unwrap().unwrap();
        let received = || -> u64 {
            let text = lab.client.ns.exec(&["cat", "/proc/net/dev"]).unwrap();
            let eth0 = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("eth0:"))
                .unwrap();
            eth0.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let before = received();
        let socket = lab
            .client
            .ns
            .run(|| UdpSocket::bind("0.0.0.0:0"))
            .unwrap()
            .unwrap();
        for _ in 0..100 {
            socket.send_to(b"back to you", (lab.front.addr, 9)).unwrap();
        }
        for _ in 0..100 {
            if received() >= before + 100 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} of 100 frames came back", received() - before);
    }
}
