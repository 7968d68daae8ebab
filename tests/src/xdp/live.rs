//! Live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18): a program writes each of them and sends it into a device, faster than any sender
//! would.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use super::{BPF_PROG_TEST_RUN, EXIT, Instruction, PRANDOM, REDIRECT, XDP_DROP, call, load_program};

const LIVE_FRAMES: u32 = 1 << 1;
/// Frames that the kernel keeps under way at once: as many as a device's NAPI takes in one go.
const BATCH: u32 = 64;

/// Frames that differ in nothing but their flow, a random one each time.
///
/// The number of the flow has up to 24 bits: the low ones go to two bytes of the frame, the high ones to a third. Their complements may go to
/// others, so that checksums over both stay as they are.
#[derive(Clone, Debug)]
pub struct Frames {
    /// A frame of flow 0, of a multiple of four bytes.
    pub bytes: Vec<u8>,
    /// How many flows.
    pub flows: u32,
    /// Where the low bits go: usually the end of the source's address.
    pub low: i16,
    /// Where their complement goes, each time an even number of bytes away.
    pub low_complements: Vec<i16>,
    /// Where the high bits go: usually the low byte of the source's port.
    pub high: i16,
    /// Where their complement goes.
    pub high_complements: Vec<i16>,
}

/// Frames and the device that they go to.
#[derive(Debug)]
pub struct Stream {
    program: OwnedFd,
    frame: Vec<u8>,
}

impl Stream {
    /// Sends into the device of this index, in the namespace that [`Stream::send`] is called in.
    pub fn new(frames: &Frames, device: u32) -> Result<Self> {
        let program = program(frames, i32::try_from(device)?)?;
        Ok(Self {
            program: load_program(&program).context("load a generator of frames")?,
            frame: frames.bytes.clone(),
        })
    }

    /// Sends so many frames, and returns when the last has been given to the device: nanoseconds for each of them, without what the
    /// setting up takes and without the time that other processes have had the CPU.
    pub fn send(&self, count: u32) -> Result<u32> {
        let mut run = TestRun {
            prog_fd: u32::try_from(self.program.as_raw_fd())?,
            data_size_in: u32::try_from(self.frame.len())?,
            data_in: self.frame.as_ptr() as u64,
            repeat: count,
            flags: LIVE_FRAMES,
            batch_size: BATCH,
            ..TestRun::default()
        };
        // SAFETY: the attributes point to the frame alone, which outlives the call and has the length that is said.
        unsafe { call(BPF_PROG_TEST_RUN, &mut run) }.context("send live frames (Linux 5.18 or later)")?;
        Ok(run.duration)
    }
}

/// Writes the frame anew, since the kernel gives out again what receivers have rewritten; makes it one of a random flow, and sends it.
fn program(frames: &Frames, device: i32) -> Result<Vec<Instruction>> {
    let (words, rest) = frames.bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "a frame of {} bytes", frames.bytes.len());
    let len = i32::try_from(frames.bytes.len())?;
    let mut program = vec![
        Instruction::new(0x61, 0x17, 0, 0),   // r7 = data
        Instruction::new(0x61, 0x13, 4, 0),   // r3 = data_end
        Instruction::new(0xbf, 0x72, 0, 0),   // r2 = r7
        Instruction::new(0x07, 0x02, 0, len), // r2 += length
        Instruction::new(0xbd, 0x32, 2, 0),   // if r2 <= r3 go on
        Instruction::new(0xb7, 0x00, 0, XDP_DROP),
        EXIT,
    ];
    for (at, word) in (0_i16..).step_by(4).zip(words) {
        program.push(Instruction::new(0x62, 0x07, at, i32::from_ne_bytes(*word)));
    }
    if frames.flows > 1 {
        program.extend(flow(frames)?);
    }
    program.extend([
        Instruction::new(0xb7, 0x01, 0, device),
        Instruction::new(0xb7, 0x02, 0, 0),
        Instruction::new(0x85, 0, 0, REDIRECT),
        EXIT,
    ]);
    Ok(program)
}

fn flow(frames: &Frames) -> Result<Vec<Instruction>> {
    let mut program = vec![
        Instruction::new(0x85, 0, 0, PRANDOM), // r0 = random
        Instruction::new(0x94, 0x00, 0, i32::try_from(frames.flows)?), // w0 %= flows
        Instruction::new(0xbf, 0x01, 0, 0),    // r1 = r0
        Instruction::new(0xa7, 0x01, 0, -1),   // r1 = ~r1
        Instruction::new(0x6b, 0x07, frames.low, 0),
    ];
    let to_low = |&at| Instruction::new(0x6b, 0x17, at, 0); // *(u16 *)(r7 + at) = r1
    program.extend(frames.low_complements.iter().map(to_low));
    program.extend([
        Instruction::new(0x77, 0x00, 0, 16), // r0 >>= 16
        Instruction::new(0x77, 0x01, 0, 16), // r1 >>= 16
        Instruction::new(0x73, 0x07, frames.high, 0),
    ]);
    let to_high = |&at| Instruction::new(0x73, 0x17, at, 0); // *(u8 *)(r7 + at) = r1
    program.extend(frames.high_complements.iter().map(to_high));
    Ok(program)
}

/// The beginning of `union bpf_attr` for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _pad: u32,
}
