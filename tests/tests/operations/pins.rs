//! What an agent has left in the kernel.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::{
    LAYOUT_VERSION,
    backend::{Backend, BackendState, BackendWord},
    maps,
};
use serde_json::Value;
use xlb_tests::{agent::Agent, netns::Netns};

/// Address, service and generation of each backend that the data plane holds, by id.
pub fn backends(agent: &Agent) -> Result<BTreeMap<u32, (IpAddr, u32, u32)>> {
    let backends: Array<MapData, Backend> = open(agent, maps::BACKENDS)?;
    let words: Array<MapData, u64> = open(agent, maps::BACKEND_WORDS)?;
    let mut held = BTreeMap::new();
    for id in 1..words.len() {
        let word = BackendWord(words.get(&id, 0)?);
        if word.state() != BackendState::Free {
            let backend = backends.get(&id, 0)?;
            held.insert(id, (backend.addr.into(), backend.service, word.generation()));
        }
    }
    Ok(held)
}

/// The path of a pin.
pub fn path(agent: &Agent, name: &str) -> PathBuf {
    agent.pin_dir().join(format!("v{LAYOUT_VERSION}")).join(name)
}

/// Names of the interfaces in a namespace that have an XDP program.
pub fn with_xdp(ns: &Netns) -> Result<Vec<String>> {
    let links: Vec<Value> = serde_json::from_str(&ns.ip(&["-d", "-j", "link"])?).context("what ip shows")?;
    let names = links.iter().filter(|link| !link["xdp"].is_null());
    Ok(names
        .filter_map(|link| link["ifname"].as_str().map(str::to_owned))
        .collect())
}

fn open<M: TryFrom<Map, Error = aya::maps::MapError>>(agent: &Agent, name: &str) -> Result<M> {
    let data = MapData::from_pin(path(agent, name)).with_context(|| format!("open the pinned {name}"))?;
    let map = Map::from_map_data(data).with_context(|| format!("the kind of {name}"))?;
    M::try_from(map).with_context(|| format!("the shape of {name}"))
}
