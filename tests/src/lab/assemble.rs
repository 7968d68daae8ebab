//! Building a lab.

use std::fs;

use anyhow::{Context, Result};

use super::address::Mac;
use super::build::LabBuilder;
use super::plan::{Member, Role};
use super::routes::Routes;
use super::wiring::{Plug, Wiring};
use super::{Interface, Lab};
use crate::host::Host;
use crate::netns::Netns;
use crate::scope::Scope;
use crate::xdp::{stub, trunk};

/// Builds what is wanted.
pub(super) fn assemble(wanted: &LabBuilder) -> Result<Lab> {
    let (wiring, routes, members) = (wanted.wiring(), wanted.routes(), wanted.plan().members());
    let scope = Scope::claim()?;
    let mut names = vec!["sw", "trunk"];
    names.extend(members.iter().map(|member| member.name.as_str()));
    // A trunk is there only to carry tags.
    names.retain(|name| *name != "trunk" || !wanted.tags.is_empty());
    let mut namespaces = scope.namespaces(&names)?;
    let mut infrastructure = namespaces.drain(..names.len() - members.len());
    let switch = infrastructure.next().context("a lab without a switch")?;
    let trunk = infrastructure.next();
    drop(infrastructure);
    let hosts = members.iter().zip(namespaces);
    let hosts: Vec<Host> = hosts
        .map(|(member, ns)| host(&scope, member, ns))
        .collect::<Result<_>>()?;

    let spaces = hosts.iter().map(|host| &host.ns);
    for ns in spaces.chain([&switch]).chain(&trunk) {
        wiring
            .quiet(ns)
            .with_context(|| format!("set kernel parameters in {}", ns.name()))?;
    }
    let plugs = plugs(&members, &hosts);
    wiring.switch(&switch, &plugs, trunk.as_ref())?;
    if let Some(trunk) = &trunk {
        wiring.trunk(trunk, &plugs)?;
    }
    for (member, host) in members.iter().zip(&hosts) {
        configure(wanted, (&wiring, &routes), &members, (member, host))
            .with_context(|| format!("configure {}", host.name))?;
    }
    if wanted.mode.answers_directly() {
        wiring.forwarding(&switch, true)?;
        switch
            .ip_batch(&routes.of_switch())
            .context("make the switch a router")?;
    }
    if !wanted.checksum_offload {
        Wiring::finish_checksums(&plugs)?;
    }
    if wanted.generic {
        Wiring::finish_in_switch(&switch, &plugs)?;
    }
    Wiring::wait_running(&switch, &plugs)?;
    let ports = plugs.iter().filter(|plug| plug.role == Role::Balancer);
    let ports: Vec<&str> = ports.map(|plug| plug.port).collect();
    let stubs = stub::attach(&switch, if wanted.sends_from_xdp { &ports } else { &[] })?;
    let trunks = trunk
        .iter()
        .flat_map(|ns| ports.iter().map(move |port| (ns, port)));
    let trunks =
        trunks.map(|(ns, port)| trunk::join(ns, &format!("{port}-in"), &format!("{port}-out"), &wanted.tags));
    let trunks = trunks.collect::<Result<_>>()?;
    drop(plugs);

    let interfaces: Vec<Interface> = members.iter().take(1).flat_map(interfaces).collect();
    let (front, back) = interfaces
        .split_first()
        .context("a balancer without an interface")?;
    let of = |role| {
        let hosts = members.iter().zip(&hosts);
        hosts
            .filter(move |(member, _)| member.role == role)
            .map(|(_, host)| host.clone())
    };
    Ok(Lab {
        client: of(Role::Client).next().context("a lab without a client")?,
        more_clients: of(Role::Client).skip(1).collect(),
        backends: of(Role::Backend).collect(),
        lb: of(Role::Balancer).next().context("a lab without a balancer")?,
        router: of(Role::Router).next(),
        front: front.clone(),
        back: back.first().unwrap_or(front).clone(),
        generic: wanted.generic,
        switch,
        _stubs: stubs,
        _trunks: trunks,
        scope,
    })
}

/// Gives a host its addresses, its routes, and what else its role asks for.
fn configure(
    wanted: &LabBuilder,
    (wiring, routes): (&Wiring, &Routes),
    members: &[Member],
    (member, host): (&Member, &Host),
) -> Result<()> {
    let mut lines = wiring.addresses(&member.seats);
    lines.extend(match member.role {
        Role::Balancer => routes.of_balancer(),
        Role::Router => routes.of_router("eth0"),
        Role::Client => routes.of_client(),
        Role::Backend => routes.of_backend(),
    });
    if !wanted.tags.is_empty() {
        lines.extend(neighbours(wiring, members, member));
    }
    match member.role {
        Role::Balancer => wiring.forwarding(&host.ns, wanted.forwarding)?,
        Role::Router => wiring.forwarding(&host.ns, true)?,
        // The VIP on lo is not to be told to neighbours (ip-sysctl: arp_ignore, arp_announce).
        Role::Backend if wanted.mode.answers_directly() => host.ns.sysctl(&[
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
        ])?,
        Role::Backend | Role::Client => {}
    }
    host.ns.ip_batch(&lines)
}

/// The balancer's neighbours for it, and it for all others, as lines for `ip`.
fn neighbours(wiring: &Wiring, members: &[Member], member: &Member) -> Vec<String> {
    let is_balancer = |member: &Member| member.role == Role::Balancer;
    let others = members
        .iter()
        .filter(|other| is_balancer(other) != is_balancer(member));
    let seats = others.flat_map(|other| {
        other
            .seats
            .iter()
            .enumerate()
            .map(move |(at, seat)| (seat, mac(other, at)))
    });
    let mut lines = Vec::new();
    for (theirs, mac) in seats {
        for ours in member.seats.iter().filter(|ours| ours.net == theirs.net) {
            lines.extend(wiring.neighbour(ours.device, theirs, mac));
        }
    }
    lines
}

fn plugs<'a>(members: &'a [Member], hosts: &'a [Host]) -> Vec<Plug<'a>> {
    let mut plugs = Vec::new();
    for (member, host) in members.iter().zip(hosts) {
        for seat in &member.seats {
            let Some(port) = &seat.port else { continue };
            plugs.push(Plug {
                ns: &host.ns,
                port,
                role: member.role,
                seat,
            });
        }
    }
    plugs
}

/// The balancer's interfaces.
fn interfaces(balancer: &Member) -> Vec<Interface> {
    let seats = balancer.seats.iter().enumerate();
    let interfaces = seats.map(|(at, seat)| Interface {
        device: seat.device.to_owned(),
        addr: seat.net.v4(seat.number),
        addr6: seat.net.v6(seat.number),
        mac: mac(balancer, at),
    });
    interfaces.collect()
}

/// The MAC address at a host's seat; one without a cable of its own is on the first one's device.
fn mac(member: &Member, at: usize) -> Mac {
    let seat = &member.seats[at];
    let seat = if seat.port.is_some() {
        seat
    } else {
        &member.seats[0]
    };
    seat.net.mac(seat.number)
}

fn host(scope: &Scope, member: &Member, ns: Netns) -> Result<Host> {
    let seat = member.seats.first().context("a host without an address")?;
    let dir = scope.dir().join(&member.name);
    fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(Host {
        name: member.name.clone(),
        ns,
        addr: seat.net.v4(seat.number),
        addr6: seat.net.v6(seat.number),
        mac: seat.net.mac(seat.number),
        dir,
    })
}
