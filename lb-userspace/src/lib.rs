//! xlb's agent and command line.
//!
//! Reading order: [`config`] (what people write), [`control`] (the loop that makes it so, with [`schedule`] and [`health`] as
//! its judges), [`datapath`] (the kernel's side), [`netlink`] (routes and neighbours), [`api`] (server and client), [`decap`] (a backend's end of tunnels), and
//! [`commands`], where each subcommand begins.

pub mod api;
pub mod cli;
pub mod command_group;
pub mod commands;
pub mod config;
pub mod control;
pub mod datapath;
pub mod decap;
pub mod health;
pub mod kernel_log;
pub mod netlink;
pub mod output;
pub mod schedule;
pub mod state_dir;
pub mod tunnel;
