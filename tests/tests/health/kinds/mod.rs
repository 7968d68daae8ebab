//! Each type of check against a server of its kind, which lives, dies and comes back.

mod datagrams;
mod grpc;
mod held;
mod told;
mod web;
