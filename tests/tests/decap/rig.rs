//! The program under test on a host with an address and a VIP of each family.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::decap::Decap;
use xlb::{config::Network, decap::Program};

use crate::frames::{BACKEND4, BACKEND6, VIP4, VIP6};

/// Actions of XDP (include/uapi/linux/bpf.h).
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;

/// Not the port that GUE has by default, so that a fixed one would be found out.
pub const PORT: u16 = 6081;

pub struct Rig(Program);

impl Rig {
    /// With tunnels from everywhere.
    pub fn new() -> Result<Self> {
        Self::with_sources(&[])
    }

    /// With tunnels from some networks alone.
    pub fn with_sources(sources: &[&str]) -> Result<Self> {
        Self::load(sources, false)
    }

    /// With the program for frames longer than one buffer.
    pub fn for_long_frames() -> Result<Self> {
        Self::load(&[], true)
    }

    fn load(sources: &[&str], multi_buffer: bool) -> Result<Self> {
        let sources: Vec<Network> = sources.iter().map(|source| source.parse().unwrap()).collect();
        let mut program = Program::load(PORT, &sources, multi_buffer)?;
        let locals: [IpAddr; 4] = [BACKEND4.into(), BACKEND6.into(), VIP4.into(), VIP6.into()];
        program.set_locals(locals.map(Network::from).into())?;
        Ok(Self(program))
    }

    /// Runs the program on a frame: what it says, what it counted, exactly once and with the frame's bytes, and what it made
    /// of the frame.
    pub fn run(&mut self, frame: &[u8]) -> Result<(u32, Decap, Vec<u8>)> {
        let before = self.0.tally()?;
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let result = self.0.xdp()?.test_run(options).context("run the program")?;
        out.truncate(result.data_size_out as usize);
        let after = self.0.tally()?;
        let counted: Vec<_> = Decap::ALL
            .iter()
            .zip(before.iter().zip(&after))
            .filter(|(_, (before, after))| before != after)
            .map(|(outcome, (before, after))| {
                let (packets, bytes) = (after.packets - before.packets, after.bytes - before.bytes);
                (*outcome, packets, bytes)
            })
            .collect();
        let [(outcome, 1, bytes)] = counted[..] else {
            panic!("not one outcome: {counted:?}")
        };
        assert_eq!(bytes, frame.len() as u64, "{outcome:?}");
        Ok((result.return_value, outcome, out))
    }

    /// Takes `inner` out of `tunnel`, and leaves every other byte as it was.
    #[track_caller]
    pub fn takes(&mut self, what: &str, tunnel: &[u8], inner: &[u8]) {
        let (action, outcome, frame) = self.run(tunnel).unwrap();
        assert_eq!((action, outcome), (PASS, Decap::Taken), "{what}");
        assert_eq!(frame, inner, "{what}");
    }

    /// Does nothing with the frame but count it.
    #[track_caller]
    pub fn leaves(&mut self, what: &str, frame: &[u8], expected: Decap) {
        let (action, outcome, left) = self.run(frame).unwrap();
        assert_eq!(outcome, expected, "{what}");
        assert_eq!(action, if expected.passes() { PASS } else { DROP }, "{what}");
        assert_eq!(left, frame, "{what}");
    }
}
