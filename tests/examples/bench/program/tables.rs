//! What a change of a pool costs: the table alone, and the way from the change to the first packet on it.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::{Result, ensure};
use lb_common::{flow::Protocol, service::ForwardMode};
use xlb::{
    config::Algorithm,
    datapath::load::Capacity,
    schedule::{self, Member},
};

use crate::{
    balancer::{Balancer, Features, Ports, Remembered, Served},
    frame,
    report::{Row, Samples},
    sys::action,
    wrapper::{Flows, Wrapper},
};

/// Backends of the pool.
const BACKENDS: u32 = 1000;
/// Slots of its table: the most there are.
const SLOTS: usize = 65_536;
const ROUNDS: u32 = 40;
const SERVICE: u32 = 1;
/// What the names of the rows begin with.
pub const NAME: &str = "table/";

/// Measures both, by turns.
pub fn measure() -> Result<Vec<Row>> {
    let served = Served {
        vip: Ipv4Addr::new(192, 0, 2, 1).into(),
        protocol: Protocol::Tcp,
        ports: Ports::One(80),
        mode: ForwardMode::Ipip,
        flows: Remembered::Settled,
        backends: BACKENDS,
    };
    let capacity = Capacity {
        flows: 4096,
        backends: 2048,
        services: 16,
        written: 1024,
    };
    let mut balancer = Balancer::load(capacity, Features::Plain)?;
    let ids = balancer.serve(SERVICE, &served)?;
    let frame = frame::tcp((served.vip, 80), frame::ACK, 0);
    let wrapper = Wrapper::new(&frame, Flows::One, &balancer.target()?)?;
    let keys: Vec<String> = ids.iter().map(|id| format!("10.0.0.{id} 80")).collect();
    let (mut build, mut change) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        // Another backend is missing each time, so that no table is as the one before.
        let pool = |missing: u32| -> Vec<Member<'_>> {
            let members = ids.iter().zip(&keys).filter(|(id, _)| **id % ROUNDS != missing);
            members
                .map(|(&id, key)| Member {
                    key,
                    id,
                    weight: 100,
                    priority: 0,
                })
                .collect()
        };
        let scheduler = schedule::of(Algorithm::Maglev);
        let start = Instant::now();
        let owners = scheduler.fill(SLOTS, &pool(round));
        build.push(start.elapsed().as_secs_f64() * 1e6);
        ensure!(owners.len() == SLOTS, "a table of {} slots", owners.len());

        let start = Instant::now();
        let owners = scheduler.fill(SLOTS, &pool(ROUNDS - 1 - round));
        balancer.pass(SERVICE, &owners, Vec::new())?;
        let run = wrapper.run(1)?;
        change.push(start.elapsed().as_secs_f64() * 1e6);
        ensure!(
            run.action == action::TX,
            "the first packet had action {}",
            run.action
        );
    }
    Ok(vec![
        Row::new(
            "table/build",
            BACKENDS.into(),
            "us",
            &build,
            "table/build",
            &build,
        ),
        Row::new(
            "table/change-to-packet",
            BACKENDS.into(),
            "us",
            &change,
            "table/build",
            &build,
        ),
    ])
}
