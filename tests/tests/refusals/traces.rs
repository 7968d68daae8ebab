//! What an agent can leave on a host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileTypeExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, netns::Netns};

/// Pins, XDP programs, sockets and state files of a lab, with what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(BTreeMap<String, String>);

impl Traces {
    pub fn of(lab: &Lab) -> Result<Self> {
        let mut found = BTreeMap::new();
        collect(&lab.pin_dir(), true, &mut found)?;
        collect(&lab.lb.dir, false, &mut found)?;
        for (name, id, mode) in xdp(&lab.lb.ns)? {
            found.insert(format!("XDP on {name}"), format!("program {id}, mode {mode}"));
        }
        Ok(Self(found))
    }

    /// The lab has these traces and no others. The kernel lets a link go some time after its last file.
    pub fn ensure_stand(&self, lab: &Lab) -> Result<()> {
        self.ensure_stand_as(lab, |traces| traces)
    }

    /// The same of what `part` leaves of them.
    pub fn ensure_stand_as(&self, lab: &Lab, part: fn(Self) -> Self) -> Result<()> {
        let before = part(self.clone());
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let changed = part(Self::of(lab)?).since(&before);
            if changed.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "changed: {changed:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Each trace that is new, gone or other than `before`.
    fn since(&self, before: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.0.keys().chain(before.0.keys()).collect();
        let other = names
            .into_iter()
            .filter(|name| self.0.get(*name) != before.0.get(*name));
        other
            .map(|name| format!("{name}: {:?}, was {:?}", self.0.get(name), before.0.get(name)))
            .collect()
    }

    /// Without the ids of programs, which the next agent replaces.
    pub fn without_ids(mut self) -> Self {
        for held in self.0.values_mut() {
            if let Some((_, mode)) = held.split_once(", mode ") {
                *held = mode.to_owned();
            }
        }
        self
    }
}

/// Name, program id and mode (`1` native, `2` generic) of each XDP program in a namespace.
pub fn xdp(ns: &Netns) -> Result<Vec<(String, u64, u64)>> {
    let text = ns.exec(&["ip", "-d", "-j", "link"])?;
    let links: Vec<Value> = serde_json::from_str(&text).context("what ip shows")?;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let carriers = links.iter().filter(|link| !link["xdp"].is_null());
    let found = carriers.map(|link| {
        let name = link["ifname"].as_str().unwrap_or("?").to_owned();
        (
            name,
            number(&link["xdp"]["prog"]["id"]),
            number(&link["xdp"]["mode"]),
        )
    });
    Ok(found.collect())
}

/// Everything below a directory. An empty directory is a trace among pins only; the configuration and the log are ours.
fn collect(dir: &Path, pins: bool, found: &mut BTreeMap<String, String>) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let kind = path.symlink_metadata()?.file_type();
        let ours = path.extension().is_some_and(|end| end == "toml" || end == "log");
        let name = path.display().to_string();
        if kind.is_dir() {
            if pins {
                found.insert(name, "directory".to_owned());
            }
            collect(&path, pins, found)?;
        } else if kind.is_socket() {
            found.insert(name, "socket".to_owned());
        } else if pins {
            found.insert(name, "pin".to_owned());
        } else if !ours {
            let held = fs::read(&path).unwrap_or_default();
            found.insert(name, String::from_utf8_lossy(&held).into_owned());
        }
    }
    Ok(())
}
