//! The rewriting of packets, one file for each mode.

pub mod nat;
