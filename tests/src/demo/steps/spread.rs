//! Requests by curl, and who answers them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::demo::screen::Screen;
use crate::demo::stage::{Pace, Stage};
use crate::demo::{signals, status};

/// Of the even share of a backend, the least that it gets: less would be a chance of one in millions.
const LEAST: usize = 4;

pub(in crate::demo) fn spread(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let requests = match stage.pace {
        Pace::Normal => 60,
        Pace::Fast => 48,
    };
    let url = stage.url("/");
    screen.text(&format!(
        "The client runs 'curl {url}' {requests} times, and each backend answers with its own name. xlb \
         picks a backend by a hash of the connection's addresses and ports, so that all packets of one \
         connection go to the same."
    ))?;
    let before = stage.agent.status()?;
    let mut names = Vec::new();
    for _ in 0..requests {
        signals::check()?;
        let reply = stage.lab.client.curl(&url)?;
        ensure!(reply.status == 200, "{url} answered with status {}", reply.status);
        names.push(reply.text());
    }
    let after = stage.agent.status()?;

    let mut served = BTreeMap::<&str, usize>::new();
    for name in &names {
        *served.entry(name).or_default() += 1;
    }
    let first: Vec<&str> = names.iter().take(15).map(String::as_str).collect();
    screen.fact("the first answers", first.join(" "))?;
    screen.fact("answered", format_args!("{} of {requests}", names.len()))?;
    screen.bars(stage.names(), &served)?;
    let even = requests / stage.lab.backends.len();
    for name in stage.names() {
        let served = served.get(name).copied().unwrap_or(0);
        ensure!(
            served >= even / LEAST,
            "{name} got {served} of {requests} requests"
        );
        let flows = status::grown(&before, &after, name, "flows_opened");
        ensure!(
            flows == served as u64,
            "xlb counts {flows} connections to {name}, which answered {served}"
        );
    }
    screen.text("xlb's own counters agree: as many connections were opened to each backend as it answered.")
}
