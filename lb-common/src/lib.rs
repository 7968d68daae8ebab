//! What xlb's BPF program and its agent share: the layout of every map, the enums that cross the boundary, and the
//! logic that needs no kernel and is tested here.
//!
//! Reading order: [`addr`] and [`flow`] (what a packet is known by), [`service`], [`backend`] and [`next_hop`] (where it
//! goes), [`board`] (what every packet asks first), [`slot`] and [`pick`] (who gets it), [`conn`], [`mod@line`] and [`written`] (what is remembered of it), [`outcome`] and [`traffic`] (how it is counted), [`sign`] (what clients suffer), [`checksum`] and [`hash`]
//! (arithmetic), [`probe`] (probes through the data path), [`decap`] (the other end of tunnels), [`settings`], [`limits`] and [`maps`] (load-time settings, sizes and names).
//!
//! Byte order: addresses and ports are kept as they stand in the packet (network order); all other integers are native.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod backend;
pub mod board;
pub mod checksum;
pub mod conn;
pub mod decap;
pub mod flow;
pub mod hash;
pub mod limits;
pub mod line;
pub mod maps;
pub mod next_hop;
pub mod outcome;
pub mod pick;
pub mod plain;
pub mod probe;
pub mod rate;
pub mod service;
pub mod settings;
pub mod sign;
pub mod slot;
pub mod traffic;
pub mod wire;
pub mod written;

/// Version of everything that outlives an agent in pinned maps: layouts, map types and the meaning of their bits. An agent
/// adopts pins of its own version only.
pub const LAYOUT_VERSION: u32 = 7;
