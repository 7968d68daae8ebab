//! The parser and the rewriting of xlb's XDP program, compiled for this host from their very sources, and what must hold for
//! any bytes that they are given.
//!
//! [`target`] says what must hold. [`kernel`] stands in for the kernel and for aya: a frame ends where a page begins that
//! nobody may touch, so that an access beyond it ends the process. [`corpus`] is where mutations start from.

// The program's sources ask for aya's items by this name.
extern crate self as aya_ebpf;

pub mod corpus;
pub mod target;

mod config;
mod forward;
mod generic;
mod kernel;
mod stage;
mod sum;

pub use kernel::{bindings, helpers, programs};

#[path = "../../../lb-ebpf/src/checksum.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::multiple_unsafe_ops_per_block,
    dead_code,
    unfulfilled_lint_expectations,
    reason = "linted as the program, of which this is a part"
)]
mod checksum;
#[path = "../../../lb-ebpf/src/error.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::multiple_unsafe_ops_per_block,
    dead_code,
    unfulfilled_lint_expectations,
    reason = "linted as the program, of which this is a part"
)]
mod error;
#[path = "../../../lb-ebpf/src/frame.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::multiple_unsafe_ops_per_block,
    dead_code,
    unfulfilled_lint_expectations,
    reason = "linted as the program, of which this is a part"
)]
mod frame;
#[path = "../../../lb-ebpf/src/l2.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::multiple_unsafe_ops_per_block,
    dead_code,
    unfulfilled_lint_expectations,
    reason = "linted as the program, of which this is a part"
)]
mod l2;
#[path = "../../../lb-ebpf/src/parse/mod.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::multiple_unsafe_ops_per_block,
    dead_code,
    unfulfilled_lint_expectations,
    reason = "linted as the program, of which this is a part"
)]
mod parse;
