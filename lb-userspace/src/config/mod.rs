//! The configuration: what `xlb.toml` says, with every rule that it must keep.
//!
//! Reading order: `model` (the whole file), `service` (with `balance`, `prefix` and `rates`), `backend`, `vip` (with `network` and
//! `ports`), `policy`, `quic`, `check`, `health` and
//! `status` (what the HTTP API and the persisted changes share), `validate` (what makes sense together) with `rules` (of
//! single values), `modes` and `flows` (of a service), `together` (of all services), `listeners` (whose packets are) and `local` (of this host), `parse` (from text, errors with their line). `value` reads single values; `invalid` is the one error of
//! everything that is not about text.

mod backend;
mod balance;
mod changes;
mod check;
mod declared;
pub mod factor;
mod flows;
mod health;
mod health_change;
mod invalid;
mod listeners;
mod local;
mod model;
mod modes;
mod network;
mod parse;
mod policy;
mod ports;
mod prefix;
mod quic;
mod rates;
mod rules;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod together;
mod validate;
mod value;
mod vip;

pub use backend::{Admin, BackendSpec, DEFAULT_WEIGHT, MAX_WEIGHT};
pub use balance::{Algorithm, Balance, OnDown, OnFull, Udp};
pub use changes::{BackendChange, ServiceChange};
pub use check::{
    CHECK_FIELDS, CheckKind, CheckSpec, DnsCheck, HttpCheck, HttpMethod, HttpVersion, Pattern, Payload, Phi,
    TlsSpec, Via, authorities, one_or_more as one_or_more_checks, rcode, record_type,
};
pub use health::{Checking, Flaps, HealthSpec, Passive, Require};
pub use health_change::{FlapsChange, HealthChange, PassiveChange};
pub use invalid::{Invalid, Step};
pub use listeners::Listeners;
pub use model::{AttachMode, Config, Interface, Limits, Node, PartialChecksums, Setup, Timeouts};
pub use network::Network;
pub use parse::ConfigError;
pub use policy::{Unserved, VipPolicy};
pub use ports::{PortPrefix, Ports};
pub use prefix::Prefix;
pub use quic::{QuicSpec, ServerId};
pub use rates::{Affinity, Rate, SourceRate};
pub use rules::host_name;
pub use service::{DRAIN_TIMEOUT, Fragments, Mode, ServiceSpec, check_vip};
pub use status::StatusSet;
pub use together::{validate_set, validate_sources};
pub use vip::{Protocol, Vip};
