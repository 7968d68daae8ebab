//! Flows that are listed and forgotten in the kernel's tables.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_common::outcome::Outcome;
use xlb::{
    api::protocol::{By, PacketKind, Probe, Table, Target},
    config::{Algorithm, BackendSpec, Protocol, ServiceChange},
    control::change::Change,
    datapath::records::{Forgotten, Select},
};

use crate::{rig::Rig, story};

/// Service ids are given in the order of the configuration, backend ids in that of their making.
const NAT: u32 = 0;
const DSR: u32 = 2;
const CLIENTS: u32 = 40;

fn probe(client: u32, vip: [u8; 4]) -> Probe {
    let client = Ipv4Addr::from(0x0a01_0000 + client);
    Probe {
        from: SocketAddr::new(client.into(), 4000),
        to: Target {
            socket: SocketAddr::new(Ipv4Addr::from(vip).into(), 80),
            protocol: Protocol::Tcp,
        },
        packet: None,
    }
}

fn start() -> Result<Rig> {
    let mut rig = Rig::new(story::CONFIG)?;
    for (service, address) in [
        ("nat", [10, 20, 0, 1]),
        ("nat", [10, 20, 0, 2]),
        ("dsr", [10, 20, 2, 1]),
        ("dsr", [10, 20, 2, 2]),
    ] {
        let port = (service == "nat").then_some(8080);
        let backend = BackendSpec::new(Ipv4Addr::from(address).into(), port);
        let service = service.to_owned();
        rig.act(|controller| controller.change(Change::AddBackend { service, backend }))?;
        rig.resolve(address.into())?;
    }
    let set = ServiceChange {
        algorithm: Some(Algorithm::RoundRobin),
        ..ServiceChange::default()
    };
    let service = "dsr".to_owned();
    rig.act(|controller| controller.change(Change::SetService { service, set }))?;
    for client in 0..CLIENTS {
        for vip in [[192, 0, 2, 1], [192, 0, 2, 3]] {
            let (outcome, _) = rig.run(&story::frame(&probe(client, vip), |tcp| tcp.syn())?)?;
            ensure!(outcome == Outcome::Forwarded, "{outcome:?}");
        }
    }
    Ok(rig)
}

pub fn forgets_what_is_meant() -> Result<()> {
    let mut rig = start()?;
    let of = |service| Select {
        service: Some(service),
        ..Select::default()
    };
    let found = rig.records.find(&of(NAT), 10)?;
    ensure!(
        found.translated_total == u64::from(CLIENTS)
            && found.translated.len() == 10
            && found.written_total == 0
    );
    let one = found.translated[0];
    let answer = one.backend.context("no backend's five-tuple")?;
    ensure!(answer.destination == one.client.source && answer.source_port == 8080_u16.to_be());
    let found = rig.records.find(&of(DSR), 100)?;
    ensure!(found.written.len() == CLIENTS as usize && found.translated_total == 0);
    ensure!(rig.service_load(NAT) == u64::from(CLIENTS) && rig.service_load(DSR) == u64::from(CLIENTS));

    let meant = probe(7, [192, 0, 2, 1]);
    let known = rig.controller.lookup(&rig.node, &meant, PacketKind::Data)?;
    ensure!(known.by == Some(By::Flow) && known.remembered.is_some_and(|known| known.table == Table::Flows));
    let flow = Select {
        flow: Some((meant.flow(), 0)),
        ..Select::default()
    };
    let gone = Forgotten {
        translated: 1,
        ..Forgotten::default()
    };
    ensure!(rig.records.forget(&flow)? == gone);
    ensure!(
        rig.records.forget(&flow)? == Forgotten::default(),
        "forgotten twice"
    );
    ensure!(rig.service_load(NAT) == u64::from(CLIENTS) - 1);
    let known = rig.controller.lookup(&rig.node, &meant, PacketKind::Syn)?;
    ensure!(
        known.by == Some(By::Owner) && known.remembered.is_none(),
        "{known:#?}"
    );

    let backend = rig.records.find(&of(DSR), 1)?.written[0].entry.backend();
    let of_backend = Select {
        service: Some(DSR),
        backend: Some((backend, 1)),
        ..Select::default()
    };
    let gone = rig.records.forget(&of_backend)?;
    ensure!(
        gone.written == half() && rig.service_load(DSR) == half(),
        "{gone:?}"
    );
    ensure!(rig.records.forget(&of(DSR))?.written == half() && rig.service_load(DSR) == 0);
    ensure!(rig.records.forget(&of(NAT))?.translated == u64::from(CLIENTS) - 1 && rig.service_load(NAT) == 0);
    ensure!(rig.replies()? == 0, "reply entries are left");
    Ok(())
}

/// Turns share evenly.
fn half() -> u64 {
    u64::from(CLIENTS) / 2
}
