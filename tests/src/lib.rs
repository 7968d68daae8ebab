//! The lab that xlb is tested and shown in: network namespaces on this host, joined by a switch, with real servers
//! and real clients in them, and everything removed when the value is dropped.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use xlb_tests::Lab;
//!
//! let lab = Lab::new().backends(3).build()?;
//! let nginx = lab.backend(0).nginx()?;
//! let reply = lab.client.curl(&nginx.url("/"))?;
//! assert_eq!(reply.text(), "b1");
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`scope`] (who owns what, and how it goes away), [`netns`], [`lab`] (the topology), [`host`] (one
//! namespace with an address), [`server`] and [`client`] (what runs in hosts), [`agent`] (xlb itself). [`xdp`] makes and counts
//! frames by the million.

pub mod agent;
pub mod client;
pub mod demo;
pub mod host;
pub mod interrupt;
mod ip;
pub mod lab;
pub mod netns;
pub mod preflight;
pub mod process;
mod remains;
pub mod scope;
pub mod server;
pub mod xdp;

pub use host::Host;
pub use lab::Lab;
