//! Real traffic in every forwarding mode and family, through networks that are not kind to it.
//!
//! [`lanes`] says which VIPs and backends go together, [`stage`] sets a lab up for a mode; every other file is one kind of
//! traffic.

mod downloads;
mod flood;
mod fragments;
mod hairpin;
mod lanes;
mod quic;
mod reach;
mod stage;
mod vlans;
