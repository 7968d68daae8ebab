//! The BPF program on single frames: what goes in, what comes out, checked by an independent parser.
//!
//! [`rig`] runs the real program over real maps by `BPF_PROG_TEST_RUN`; [`frames`] builds frames and reads them back.

mod flows;
mod frames;
mod fuzz;
mod nat;
mod parse;
mod program;
mod rig;
