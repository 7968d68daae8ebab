//! `xlb decap`: its program on single frames (what goes in, what comes out), and the command in a lab.
//!
//! [`rig`] runs the real program by `BPF_PROG_TEST_RUN`; [`frames`] builds tunnels around packets by etherparse.
#![expect(
    clippy::unwrap_used,
    reason = "frames are built from constants, and what cannot be read back is a failed test"
)]

mod command;
mod ecn;
mod frames;
mod left_alone;
mod rig;
mod taken;
