//! `xlb backend-setup`: what makes a Linux host a backend, as a script with its reasons.
//!
//! [`nat`], [`vips`] (for every mode in which the backend has the VIP itself) and [`tunnel`] write the parts, [`script`] is the
//! paper.

mod nat;
mod script;
#[cfg(test)]
mod tests;
mod tunnel;
mod vips;

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::service::ForwardMode;
use serde::Serialize;

use crate::{
    cli::{Output, backend_setup::BackendSetup},
    commands::Reply,
    config::{Config, Network, ServiceSpec, Vip},
};
use script::{Script, quoted};

/// What `-o json` prints.
#[derive(Clone, Debug, Serialize)]
struct Printed {
    mode: &'static str,
    script: String,
}

/// All that the script depends on.
#[derive(Clone, Debug)]
struct Setup {
    /// What the host becomes a backend of.
    subject: String,
    mode: ForwardMode,
    vips: Vec<Network>,
    /// Addresses of the backends that the script is for.
    addresses: Vec<IpAddr>,
    interface: Option<String>,
    balancers: Vec<IpAddr>,
    /// Whether `xlb decap` does what tunnel devices would.
    decap: bool,
}

/// # Errors
/// When the file or the service is wrong, or something is missing that cannot be told.
pub fn execute(arguments: &BackendSetup, output: Output) -> Result<Reply> {
    let setup = Setup::read(arguments)?;
    let printed = Printed {
        mode: setup.mode.name(),
        script: setup.script()?,
    };
    Reply::new(output, &printed, || printed.script.clone())
}

impl Setup {
    fn read(arguments: &BackendSetup) -> Result<Self> {
        let common = Self {
            subject: "a service".to_owned(),
            mode: arguments.mode.unwrap_or_default().forward(),
            vips: networks(&arguments.vips),
            addresses: arguments.addresses.clone(),
            interface: arguments.interface.clone(),
            balancers: arguments.balancers.clone(),
            decap: arguments.decap,
        };
        let (Some(file), Some(name)) = (&arguments.config, &arguments.service) else {
            return Ok(common);
        };
        let config = Config::load(file)?;
        let service = config.services.iter().find(|service| service.name == *name);
        let service = service.with_context(|| {
            let names = config.services.iter().map(|service| service.name.as_str());
            format!("{}: no service {name:?}: {}", file.display(), those_there(names))
        })?;
        Ok(Self {
            subject: format!("service {name}"),
            mode: service.mode.forward(),
            vips: networks(&service.vips),
            addresses: addresses(service, arguments.backend.as_deref())?,
            ..common
        })
    }

    fn script(&self) -> Result<String> {
        ensure!(
            !self.decap || self.mode.encapsulates(),
            "mode {} has no outer header that --decap could take off: leave it out",
            self.mode.name()
        );
        let mut script = Script::default();
        self.head(&mut script);
        if self.needs_interface() {
            self.interface(&mut script)?;
        }
        match self.mode {
            ForwardMode::Nat => nat::write(&mut script, self)?,
            ForwardMode::FullNat => nat::write_full(&mut script),
            ForwardMode::Dsr => vips::write(&mut script, self, &["lo"]),
            ForwardMode::Ipip | ForwardMode::Gue => tunnel::write(&mut script, self),
        }
        Ok(script.into_text())
    }

    fn head(&self, script: &mut Script) {
        script.run("#!/bin/sh");
        script.why(&format!(
            "Makes this host a backend of {}, mode {}: by xlb {}. Read it and run it as root; it may be run again, and has to be when the host has started anew.",
            self.subject,
            self.mode.name(),
            env!("CARGO_PKG_VERSION")
        ));
        script.run("set -eu");
        if self.mode != ForwardMode::FullNat {
            script.run(r#"put() { echo "$2" >"/proc/sys/net/$1"; }"#);
        }
    }

    fn needs_interface(&self) -> bool {
        match self.mode {
            ForwardMode::FullNat => false,
            ForwardMode::Nat => true,
            ForwardMode::Dsr | ForwardMode::Ipip | ForwardMode::Gue => self.has_vips(true) || self.decap,
        }
    }

    /// Sets `DEV`.
    fn interface(&self, script: &mut Script) -> Result<()> {
        script.gap();
        script.why("The interface that packets of the balancer come in by.");
        if let Some(name) = &self.interface {
            script.run(&format!("DEV={}", quoted(name)));
            return Ok(());
        }
        if self.addresses.is_empty() {
            bail!(
                "it cannot be told which interface packets come in by: name it with --interface, or the backend's address with --address"
            );
        }
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        script.run("DEV=");
        script.run(&format!("for address in {}; do", addresses.join(" ")));
        script.run(r#"    set -- $(ip -o address show to "$address")"#);
        script.run(r#"    if [ $# -gt 1 ]; then DEV=$2; fi"#);
        script.run("done");
        script.run(r#"if [ -z "$DEV" ]; then"#);
        script.run(&format!(
            "    echo 'no interface has {}: is this the backend? (or name one: xlb backend-setup --interface)' >&2",
            addresses.join(" or ")
        ));
        script.run("    exit 1");
        script.run("fi");
        Ok(())
    }

    /// Whether there are VIPs of a family.
    fn has_vips(&self, v4: bool) -> bool {
        self.vips.iter().any(|vip| vip.base().is_ipv4() == v4)
    }

    /// Whether tunnels may come over a family: where no address is known, over both.
    fn has_outer(&self, v4: bool) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|address| address.is_ipv4() == v4)
    }
}

fn networks(vips: &[Vip]) -> Vec<Network> {
    let networks: BTreeSet<_> = vips.iter().map(|vip| vip.network).collect();
    networks.into_iter().collect()
}

fn addresses(service: &ServiceSpec, backend: Option<&str>) -> Result<Vec<IpAddr>> {
    let Some(name) = backend else {
        return Ok(service.backends.iter().map(|backend| backend.address).collect());
    };
    let found = service.backends.iter().find(|backend| backend.name == name);
    let found = found.with_context(|| {
        let names = service.backends.iter().map(|backend| backend.name.as_str());
        format!(
            "service {:?} has no backend {name:?}: {}",
            service.name,
            those_there(names)
        )
    })?;
    Ok(vec![found.address])
}

fn those_there<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return "there is none".to_owned();
    }
    format!("there is {}", names.join(", "))
}
