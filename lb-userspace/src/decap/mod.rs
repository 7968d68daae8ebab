//! The other end of tunnels, for backends without tunnel devices: `xlb decap`.
//!
//! [`program`] is the XDP program on its interface, [`locals`] follows which addresses are this host's. Nothing is
//! pinned: the kernel takes everything away with the process, however that ends.

pub mod locals;
pub mod program;

pub use locals::Locals;
pub use program::{Program, Tally};
