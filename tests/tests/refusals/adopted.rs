//! Starts over the pins of an earlier agent: one that is refused leaves those as they were, and packets flow on.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::preflight;

use crate::{
    refused::{bounded, ensure_says},
    running::Running,
    traces::Traces,
};

/// What the first agent runs with, and what a later one would.
struct Stopped {
    running: Running,
    good: String,
    before: Traces,
}

impl Stopped {
    fn new() -> Result<Self> {
        let mut running = Running::start()?;
        running.lab.lb.ns.ip_batch(&[
            "link add spare0 type veth peer name spare1".to_owned(),
            "link add bridge0 type bridge".to_owned(),
        ])?;
        running.agent.ok(&["backend", "weight", "web/b2", "50"])?;
        running.agent.stop()?;
        let good = fs::read_to_string(running.agent.config())?;
        let before = Traces::of(&running.lab)?;
        Ok(Self {
            running,
            good,
            before,
        })
    }

    fn state(&self, file: &str) -> PathBuf {
        self.running.agent.config().with_file_name("state").join(file)
    }

    /// A start with `from` of the configuration replaced says `words`; the data plane is as before and serves.
    fn refused(&self, from: &str, to: &str, words: &[&str]) -> Result<()> {
        let agent = &self.running.agent;
        ensure!(self.good.contains(from), "no {from:?} in {}", self.good);
        fs::write(agent.config(), self.good.replacen(from, to, 1))?;
        let mut run = bounded(&self.running.lab.lb.ns, &[], agent.binary());
        ensure_says(
            &run.arg("run").arg("--config").arg(agent.config()).output()?,
            words,
        )?;
        fs::write(agent.config(), &self.good)?;
        let stands = self
            .before
            .ensure_stand_as(&self.running.lab, Traces::without_ids);
        stands
            .and_then(|()| self.running.ensure_serves())
            .with_context(|| format!("after {to:?}"))
    }

    /// The good file is taken as if nothing had been tried.
    fn end(mut self) -> Result<()> {
        self.running.agent.start()?;
        self.running.wait_until_it_serves()?;
        let status = self.running.agent.status()?;
        let weight = &status["services"][0]["backends"][1]["weight"];
        ensure!(*weight == 50, "the change made at run time is lost: {status}");
        ensure!(
            status["services"]
                .as_array()
                .is_some_and(|services| services.len() == 1),
            "{status}"
        );
        Ok(())
    }
}

#[test]
fn a_refused_start_over_pins_leaves_them_serving() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut stopped = Stopped::new()?;
    let eth0 = "[[interface]]\nname = \"eth0\"";
    let room = "run 'xlb detach' first (that ends the remembered flows), or set the limit back";
    for (from, to, words) in [
        (
            "flows = 4096",
            "flows = 2048",
            ["limits.flows: ", "FLOWS was made for 4096, not 2048: "],
        ),
        (
            "backends = 3",
            "backends = 7",
            ["QUIC_SERVERS was made for 3, not 7: ", room],
        ),
        (
            "services = 2",
            "services = 7",
            ["SERVICES was made for 2, not 7: ", room],
        ),
        (
            eth0,
            "[[interface]]\nname = \"eth9\"",
            ["interface eth9: ", "there is none of that name"],
        ),
        (
            eth0,
            &format!("[[interface]]\nname = \"spare0\"\n[[interface]]\nname = \"bridge0\"\n{eth0}"),
            ["interface bridge0: ", "native mode"],
        ),
    ] {
        stopped.refused(from, to, &words)?;
    }
    // The old VIP is served still: of a file that is refused, no service is taken over.
    let good = stopped.good.clone();
    let moved = good.replace(&stopped.running.lab.vip().to_string(), "192.0.2.98");
    let moved = moved.replacen(eth0, &format!("{eth0}\n[[interface]]\nname = \"bridge0\""), 1);
    stopped.refused(&good, &moved, &["interface bridge0: ", "native mode"])?;
    damaged_state(&mut stopped)?;
    stopped.end()
}

fn damaged_state(stopped: &mut Stopped) -> Result<()> {
    let eth0 = "[[interface]]\nname = \"eth0\"";
    let more = format!("[[interface]]\nname = \"spare0\"\n{eth0}");
    for (file, said) in [
        (
            "hash.key",
            "hash.key: not a key of 32 hexadecimal digits: mend or remove the file",
        ),
        (
            "changes.json",
            "changes.json: not the changes that xlb wrote: mend or remove the file",
        ),
    ] {
        let path = stopped.state(file);
        let good = fs::read(&path)?;
        fs::write(&path, &good[..good.len() / 2])?;
        stopped.before = Traces::of(&stopped.running.lab)?;
        stopped.refused(eth0, &more, &[said])?;
        fs::write(&path, &good)?;
    }
    Ok(())
}
