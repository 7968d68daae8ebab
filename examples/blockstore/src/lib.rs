//! Files as blocks over HTTP servers: cut, spread, read back in order, counted block by block.
//!
//! Which server has a block is nobody's list. The hash of a block's name is an address of a VIP network, and xlb, with the
//! algorithm `dest` and `replicas`, leads every port of that address to another server: to the one that consistent hashing says,
//! and past one that is down to the next.
//!
//! Reading order: [`name`] and [`network`] (where a block is), [`manifest`], [`words`], [`http`] (one exchange with one server),
//! [`store`] (a block and its replicas), and the commands: [`put`], [`get`], [`count`], [`repair`].

pub mod block;
pub mod cli;
pub mod count;
pub mod cut;
pub mod get;
pub mod hash;
pub mod http;
pub mod manifest;
pub mod name;
pub mod network;
pub mod progress;
pub mod put;
pub mod repair;
pub mod report;
pub mod run;
pub mod store;
pub mod words;
