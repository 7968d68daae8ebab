//! The configuration: what `xlb.toml` says, with every rule that it must keep.
//!
//! Reading order: `model` (the whole file), `service`, `vip`, `check` and `status` (its services, which the HTTP API and
//! the persisted changes share), `validate` (what makes sense together) with `rules` (of single values) and `local` (of
//! this host), `parse` (from text, errors with their line). `value` reads single values; `invalid` is the one error of
//! everything that is not about text.

mod check;
mod invalid;
mod local;
mod model;
mod parse;
mod rules;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod validate;
mod value;
mod vip;

pub use check::{CheckKind, CheckSpec};
pub use invalid::{Invalid, Step};
pub use model::{AttachMode, Config, Interface, Limits, Node, Timeouts};
pub use parse::ConfigError;
pub use service::{Admin, Algorithm, BackendSpec, DEFAULT_WEIGHT, MAX_WEIGHT, Mode, ServiceSpec};
pub use status::StatusSet;
pub use validate::validate_set;
pub use vip::{Protocol, Vip};
