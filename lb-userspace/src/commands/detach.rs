//! `xlb detach`: takes away what a balancer has left in the kernel.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{Code, Reply, wait};
use crate::{
    cli::Output,
    config::{Config, Node},
    control::overrides,
    datapath::{attach, pins, preflight},
    netlink::Links,
    output,
};

/// What was taken away.
#[derive(Debug, Serialize)]
struct Detached {
    pin_dir: String,
    detached: bool,
}

/// Takes away links, program and maps of a pin directory. With a configuration also the changes made at run time: a balancer
/// that was taken away starts from its file again.
///
/// # Errors
/// When an agent is running there, or something cannot be removed.
pub fn execute(config: Option<&Path>, pin_dir: Option<&Path>, output: Output) -> Result<Reply> {
    let node = match config {
        Some(file) => Some(Config::load(file)?.node),
        None => None,
    };
    let default = Node::default();
    let pin_dir = pin_dir
        .or(node.as_ref().map(|node| node.pin_dir.as_path()))
        .unwrap_or(&default.pin_dir);
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "not enough privileges to remove {}: run as root",
            pin_dir.display()
        );
    }
    if pin_dir.exists() {
        preflight::bpf_file_system(pin_dir)?;
    }
    let detached = wait(async {
        let linked = pins::linked(pin_dir)?;
        attach::let_go(&Links::connect()?, &linked, || pins::detach(pin_dir)).await
    })?;
    if let Some(node) = &node {
        pins::remove_file(&overrides::file(&node.state_dir))
            .context("forget the changes made at run time")?;
    }
    let done = Detached {
        pin_dir: pin_dir.display().to_string(),
        detached,
    };
    let text = match output {
        Output::Json => output::json(&done)?,
        Output::Table if detached => format!("{}: detached; packets pass xlb by\n", done.pin_dir),
        Output::Table => format!("{}: nothing was attached\n", done.pin_dir),
    };
    Ok(Reply {
        text,
        code: Code::Done,
    })
}
