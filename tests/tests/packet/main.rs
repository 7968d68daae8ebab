//! The BPF program on single frames: what goes in, what comes out, checked by an independent parser.
//!
//! [`rig`] runs the real program over real maps by `BPF_PROG_TEST_RUN`; [`frames`] builds frames and reads them back.
#![expect(
    clippy::unwrap_used,
    reason = "frames are built from constants, and what cannot be read back is a failed test"
)]

mod collisions;
mod flows;
mod frames;
mod fuzz;
mod nat;
mod parse;
mod program;
mod rig;
