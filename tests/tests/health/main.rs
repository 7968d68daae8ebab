//! Health checks against real servers: how each type sees a backend live and die, what it calls each illness, and what becomes of
//! pools when much fails at once.
//!
//! [`stage`] holds what most tests set up and ask, [`grpc`] one of gRPC's, [`authority`]
//! certificates, [`crowd`] many backends on few hosts, [`download`] a connection that is used all the time; every other file is one part of the story.

mod authority;
mod crowd;
mod download;
mod growth;
mod grpc;
mod ill_kinds;
mod illnesses;
mod kinds;
mod paths;
mod pools;
mod stage;
mod stopped;
mod storms;
mod suffering;
