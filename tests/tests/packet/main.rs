//! The BPF program on single frames: what goes in, what comes out, checked by an independent reader and a plain model.
//!
//! [`wire`] builds frames and reads them back; [`world`] says what the balancer is told; [`rig`] runs the real program over real
//! maps by `BPF_PROG_TEST_RUN`; [`model`] says what `docs/packets.md` wants. [`table`] has a row for everything on that page,
//! [`differential`] sends random packets through program and model; [`schedule`] is about `docs/flows.md`.
#![expect(
    clippy::unwrap_used,
    reason = "frames are built from constants, and what cannot be read back is a failed test"
)]

mod differential;
mod fixtures;
mod flows;
mod generic;
mod long;
mod model;
mod probes;
mod program;
mod rates;
mod rig;
mod routes;
mod schedule;
mod signs;
mod table;
mod ways;
mod wire;
mod world;
