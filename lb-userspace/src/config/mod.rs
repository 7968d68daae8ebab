//! The configuration: what `xlb.toml` says, with every rule that it must keep.
//!
//! Reading order: `model` (the whole file), `service`, `vip` (with `network` and `ports`), `policy`, `quic`, `check` and
//! `status` (what the HTTP API and the persisted changes share), `validate` (what makes sense together) with `rules` (of
//! single values), `modes` (of a service), `together` (of all services) and `local` (of this host), `parse` (from text, errors with their line). `value` reads single values; `invalid` is the one error of
//! everything that is not about text.

mod check;
mod invalid;
mod local;
mod model;
mod modes;
mod network;
mod parse;
mod policy;
mod ports;
mod quic;
mod rules;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod together;
mod validate;
mod value;
mod vip;

pub use check::{CheckKind, CheckSpec};
pub use invalid::{Invalid, Step};
pub use model::{AttachMode, Config, Interface, Limits, Node, PartialChecksums, Setup, Timeouts};
pub use network::Network;
pub use parse::ConfigError;
pub use policy::{Unserved, VipPolicy};
pub use ports::{PortPrefix, Ports};
pub use quic::{QuicSpec, ServerId};
pub use service::{Admin, Algorithm, BackendSpec, DEFAULT_WEIGHT, Fragments, MAX_WEIGHT, Mode, ServiceSpec};
pub use status::StatusSet;
pub use together::{validate_set, validate_sources};
pub use vip::{Protocol, Vip};
