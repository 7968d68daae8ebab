//! The API: its bodies, the agent's side and the command line's.

pub mod client;
pub mod protocol;
pub mod server;
