//! The least that a balancer with tunnels does, and so the limit of what it can do: a program that puts the same bytes before every frame,
//! in the place of its Ethernet header, and sends it on.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use nix::net::if_::if_nametoindex;

use super::{ADJUST_HEAD, EXIT, Instruction, REDIRECT, XDP_DROP, link, load_program};
use crate::netns::Netns;

const ETHERNET: usize = 14;

/// Keeps the program attached.
#[derive(Debug)]
pub struct Push {
    _link: OwnedFd,
}

impl Push {
    /// Sends what comes in by `from` out by `to` with `header`, an Ethernet and an outer header.
    pub fn at(ns: &Netns, (from, to): (&str, &str), header: &[u8]) -> Result<Self> {
        ns.run(|| {
            let index = |device: &str| if_nametoindex(device).with_context(|| format!("look up {device}"));
            let program = program(header, i32::try_from(index(to)?)?)?;
            let program =
                load_program(&program).context("load the program that puts headers before frames")?;
            let link = link(&program, index(from)?).with_context(|| format!("attach it to {from}"))?;
            Ok(Self { _link: link })
        })?
    }
}

fn program(header: &[u8], to: i32) -> Result<Vec<Instruction>> {
    // An Ethernet header leaves two bytes over from words, and IP headers are of words.
    let (words, &[a, b]) = header.as_chunks::<4>() else {
        bail!("a header of {} bytes", header.len());
    };
    ensure!(header.len() > ETHERNET, "an Ethernet header alone");
    let len = i32::try_from(header.len())?;
    let moved = i32::try_from(header.len() - ETHERNET)?;
    let mut program = vec![
        Instruction::new(0xbf, 0x16, 0, 0),        // r6 = r1
        Instruction::new(0xb7, 0x02, 0, -moved),   // r2 = -moved
        Instruction::new(0x85, 0, 0, ADJUST_HEAD), // r0 = adjust_head(r1, r2)
        Instruction::new(0x55, 0x00, 5, 0),        // if r0 != 0 goto drop
        Instruction::new(0x61, 0x62, 0, 0),        // r2 = data
        Instruction::new(0x61, 0x63, 4, 0),        // r3 = data_end
        Instruction::new(0xbf, 0x24, 0, 0),        // r4 = r2
        Instruction::new(0x07, 0x04, 0, len),      // r4 += length
        Instruction::new(0xbd, 0x34, 2, 0),        // if r4 <= r3 go on
        Instruction::new(0xb7, 0x00, 0, XDP_DROP), // drop:
        EXIT,
    ];
    for (at, word) in (0_i16..).step_by(4).zip(words) {
        program.push(Instruction::new(0x62, 0x02, at, i32::from_ne_bytes(*word)));
    }
    let last = u16::from_ne_bytes([a, b]).into();
    program.extend([
        Instruction::new(0x6a, 0x02, i16::try_from(header.len() - 2)?, last),
        Instruction::new(0xb7, 0x01, 0, to),
        Instruction::new(0xb7, 0x02, 0, 0),
        Instruction::new(0x85, 0, 0, REDIRECT),
        EXIT,
    ]);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nametoindex;

    use super::*;
    use crate::{
        Lab,
        lab::address::Mac,
        preflight,
        xdp::{
            arrivals::Arrivals,
            live::{Frames, Stream},
        },
    };

    const COUNT: u32 = 1000;
    const FRAME: usize = 60;
    const HEADER: usize = 34;

    #[test]
    fn every_frame_arrives_with_the_header_before_it() {
        if !preflight::ready() {
            return;
        }
        let lab = Lab::new().without_stubs().build().unwrap();
        let header = [2; HEADER];
        let arrivals = Arrivals::at(&lab.switch, &["back"], Mac([2; 6])).unwrap();
        let _push = Push::at(&lab.lb.ns, ("eth0", "eth1"), &header).unwrap();
        let frames = Frames {
            bytes: vec![1; FRAME],
            flows: 1 << 20,
            low: 28,
            low_complements: vec![18],
            high: 35,
            high_complements: vec![37],
        };
        let send = || Stream::new(&frames, if_nametoindex("front")?)?.send(COUNT);
        assert!(lab.switch.run(send).unwrap().unwrap() > 0);
        assert_eq!(
            arrivals.of_length(FRAME + HEADER - ETHERNET).unwrap(),
            u64::from(COUNT)
        );
        assert_eq!(arrivals.of_length(FRAME).unwrap(), 0);
    }
}
