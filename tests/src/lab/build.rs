//! What a lab shall be like, and building it.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::address::{BALANCER, FIRST_HOST, MAX_HOSTS, Net};
use super::wiring::{Plug, Wiring};
use super::{Interface, Lab};
use crate::host::Host;
use crate::netns::Netns;
use crate::scope::Scope;
use crate::{interrupt, preflight, xdp_stub};

/// What the lab shall be like.
#[derive(Clone, Debug)]
pub struct LabBuilder {
    clients: u8,
    backends: u8,
    one_arm: bool,
    mtu: u16,
    forwarding: bool,
    checksum_offload: bool,
    ipv6: bool,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self {
            clients: 1,
            backends: 1,
            one_arm: false,
            mtu: 1500,
            forwarding: true,
            checksum_offload: false,
            ipv6: false,
        }
    }
}

impl LabBuilder {
    /// How many clients, at least one.
    pub fn clients(mut self, count: u8) -> Self {
        self.clients = count;
        self
    }

    /// How many backends.
    pub fn backends(mut self, count: u8) -> Self {
        self.backends = count;
        self
    }

    /// Gives the balancer one interface for both directions.
    pub fn one_arm(mut self) -> Self {
        self.one_arm = true;
        self
    }

    /// The MTU of every link.
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Whether the balancer's kernel forwards what XDP passes; it does unless told otherwise.
    pub fn forwarding(mut self, on: bool) -> Self {
        self.forwarding = on;
        self
    }

    /// Leaves it to the "hardware" to finish L4 checksums, as veth pretends to: frames then travel with partial
    /// ones, as they do on a host with containers. Off unless asked for.
    pub fn checksum_offload(mut self, on: bool) -> Self {
        self.checksum_offload = on;
        self
    }

    /// IPv6 beside IPv4. Without it the lab has none, so that no packet of its own accord disturbs a count.
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Builds it, after sweeping what killed runs left.
    pub fn build(self) -> Result<Lab> {
        ensure!(
            (1..=MAX_HOSTS).contains(&self.clients),
            "a lab has 1 to {MAX_HOSTS} clients"
        );
        ensure!(
            self.backends <= MAX_HOSTS,
            "a lab has at most {MAX_HOSTS} backends"
        );
        preflight::mount_bpffs()?;
        interrupt::install().context("handle Ctrl-C")?;
        let scope = Scope::claim()?;

        let members = self.members();
        let mut names = vec!["sw", "lb"];
        names.extend(members.iter().map(|member| member.name.as_str()));
        let mut namespaces = scope.namespaces(&names)?.into_iter();
        let (Some(switch), Some(lb)) = (namespaces.next(), namespaces.next()) else {
            bail!("fewer namespaces than asked for");
        };
        let front = self.interface(Net::Front);
        let back = self.interface(Net::Back);
        let lb = host(&scope, "lb", lb, Net::Front, BALANCER)?;
        let hosts = members.iter().zip(namespaces);
        let hosts = hosts.map(|(member, ns)| host(&scope, &member.name, ns, member.net, member.number));
        let mut hosts: Vec<Host> = hosts.collect::<Result<_>>()?;

        let plugs = members.iter().zip(&hosts);
        let mut plugs: Vec<Plug<'_>> = plugs.map(|(member, host)| member.plug(host)).collect();
        let arms: &[(&str, Net)] = if self.one_arm {
            &[("front", Net::Front)]
        } else {
            &[("front", Net::Front), ("back", Net::Back)]
        };
        for (port, net) in arms {
            let device = if *net == Net::Back {
                &back.device
            } else {
                &front.device
            };
            plugs.push(Plug {
                ns: &lb.ns,
                port,
                device,
                net: *net,
                number: BALANCER,
            });
        }
        let wiring = Wiring {
            mtu: self.mtu,
            ipv6: self.ipv6,
            one_bridge: self.one_arm,
        };
        for ns in [&switch, &lb.ns]
            .into_iter()
            .chain(hosts.iter().map(|host| &host.ns))
        {
            wiring
                .quiet(ns)
                .with_context(|| format!("set kernel parameters in {}", ns.name()))?;
        }
        wiring.switch(&switch, &plugs)?;
        wiring.balancer(
            &lb.ns,
            &[(&front.device, Net::Front), (&back.device, Net::Back)],
            self.forwarding,
        )?;
        for (member, host) in members.iter().zip(&hosts) {
            wiring
                .host(&member.plug(host))
                .with_context(|| format!("configure {}", host.name))?;
        }
        if !self.checksum_offload {
            Wiring::finish_checksums(&plugs)?;
        }
        Wiring::wait_running(&switch, &plugs)?;
        let ports: Vec<&str> = arms.iter().map(|(port, _)| *port).collect();
        let stubs = xdp_stub::attach(&switch, &ports)?;

        let backends = hosts.split_off(self.clients.into());
        let more_clients = hosts.split_off(1);
        let client = hosts.pop().context("a lab without a client")?;
        Ok(Lab {
            client,
            more_clients,
            backends,
            lb,
            front,
            back,
            switch,
            _stubs: stubs,
            scope,
        })
    }

    /// The clients, then the backends.
    fn members(&self) -> Vec<Member> {
        let client = |i| {
            if i == 0 {
                "client".to_owned()
            } else {
                format!("c{}", i + 1)
            }
        };
        let clients = (0..self.clients).map(|i| Member {
            name: client(i),
            net: Net::Front,
            number: FIRST_HOST + i,
        });
        let backends = (0..self.backends).map(|i| Member {
            name: format!("b{}", i + 1),
            net: Net::Back,
            number: FIRST_HOST + i,
        });
        clients.chain(backends).collect()
    }

    /// The balancer's interface in a net.
    fn interface(&self, net: Net) -> Interface {
        let second = net == Net::Back && !self.one_arm;
        Interface {
            device: if second { "eth1" } else { "eth0" }.to_owned(),
            addr: net.v4(BALANCER),
            addr6: net.v6(BALANCER),
            mac: if second { Net::Back } else { Net::Front }.mac(BALANCER),
        }
    }
}

/// A host to be: a client or a backend.
struct Member {
    name: String,
    net: Net,
    number: u8,
}

impl Member {
    fn plug<'a>(&'a self, host: &'a Host) -> Plug<'a> {
        Plug {
            ns: &host.ns,
            port: &self.name,
            device: "eth0",
            net: self.net,
            number: self.number,
        }
    }
}

fn host(scope: &Scope, name: &str, ns: Netns, net: Net, number: u8) -> Result<Host> {
    let dir = scope.dir().join(name);
    fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(Host {
        name: name.to_owned(),
        ns,
        addr: net.v4(number),
        addr6: net.v6(number),
        mac: net.mac(number),
        dir,
    })
}
