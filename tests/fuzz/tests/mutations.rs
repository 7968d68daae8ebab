//! The targets on mutations of known frames, always the same. For more of them: `XLB_CASES`, or libFuzzer (ARCHITECTURE.md).

use std::{env, panic};

use anyhow::{Context as _, Result};
use lb_common::hash::Sip;
use xlb_fuzz::{corpus, target};

const CASES: u64 = 200_000;
/// Where fields change their meaning.
const EDGES: [u8; 8] = [0, 1, 0x45, 0x7f, 0x80, 0xfe, 0xff, 44];

#[test]
fn parsing_holds_for_any_bytes() -> Result<()> {
    run(target::parse)
}

#[test]
fn errors_are_translated_whatever_they_quote() -> Result<()> {
    run(target::error)
}

#[test]
fn packets_are_translated_whatever_they_hold() -> Result<()> {
    run(target::translate)
}

fn run(target: fn(&[u8])) -> Result<()> {
    let frames = corpus::frames().context("read the fixtures")?;
    let cases = match env::var("XLB_CASES") {
        Ok(number) => number.parse().context("XLB_CASES is no number")?,
        Err(_) => CASES,
    };
    for frame in &frames {
        told(target, frame);
    }
    for case in 0..cases {
        told(target, &mutation(&frames, &mut Draws(case, 0)));
    }
    Ok(())
}

/// Runs the target, and tells the frame if it fails.
fn told(target: fn(&[u8]), frame: &[u8]) {
    if panic::catch_unwind(|| target(frame)).is_err() {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("as said above, with the frame {hex}");
    }
}

/// The numbers of one case.
struct Draws(u64, u64);

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.1 += 1;
        let drawn = Sip::new([0x786c_6266, 0x757a_7a21])
            .word(self.0)
            .word(self.1)
            .end::<2, 0>(0);
        usize::try_from(drawn % limit.max(1) as u64).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// One of the frames, with one to four changes.
fn mutation(frames: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut frame = frames[draws.below(frames.len())].clone();
    for _ in 0..=draws.below(4) {
        // Most of what is decided stands in the first bytes behind the Ethernet addresses.
        let reach = if draws.below(4) == 0 { usize::MAX } else { 100 };
        let at = draws.below(frame.len().min(reach));
        if frame.is_empty() {
            break;
        }
        match draws.below(8) {
            0 => frame[at] ^= 1 << draws.below(8),
            1 => frame[at] = draws.byte(),
            2 | 3 => frame[at] = EDGES[draws.below(EDGES.len())],
            4 => frame.truncate(at),
            5 => frame.splice(at..at, [0x81, 0, 0, draws.byte()]).for_each(drop),
            6 => frame.extend((0..draws.below(64)).map(|_| draws.byte()).collect::<Vec<_>>()),
            _ => {
                let other = &frames[draws.below(frames.len())];
                let from = draws.below(other.len());
                let len = draws.below(40).min(other.len() - from).min(frame.len() - at);
                frame[at..at + len].copy_from_slice(&other[from..from + len]);
            }
        }
    }
    frame
}
