//! What this run has on the host: looked up, not remembered, so that "nothing is left" is an observation.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::netns::NETNS_DIR;
use crate::{Lab, remains};

/// Where to look for what belongs to a lab.
pub(super) struct Traces {
    prefix: String,
    /// Open, so that the kernel cannot give their numbers to namespaces of others meanwhile.
    namespaces: Vec<File>,
    pins: PathBuf,
    dir: PathBuf,
}

/// What was there.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) namespaces: Vec<String>,
    /// With their process ids.
    pub(super) processes: Vec<String>,
    pub(super) pins: Vec<PathBuf>,
    pub(super) files: Vec<PathBuf>,
}

impl Traces {
    pub(super) fn of(lab: &Lab) -> Result<Self> {
        let prefix = remains::prefix(lab.id());
        let open = |name: &String| {
            File::open(Path::new(NETNS_DIR).join(name)).with_context(|| format!("open namespace {name}"))
        };
        Ok(Self {
            namespaces: namespaces(&prefix)?.iter().map(open).collect::<Result<_>>()?,
            prefix,
            pins: lab.pin_dir(),
            dir: lab.dir().to_owned(),
        })
    }

    pub(super) fn look(&self) -> Result<Found> {
        let mut found = Found {
            namespaces: namespaces(&self.prefix)?,
            processes: self.processes()?,
            ..Found::default()
        };
        list(&self.pins, &mut found.pins)?;
        list(&self.dir, &mut found.files)?;
        Ok(found)
    }

    /// All processes whose network is one of the namespaces, named or not.
    fn processes(&self) -> Result<Vec<String>> {
        let inside: Vec<(u64, u64)> = self
            .namespaces
            .iter()
            .map(|file| file.metadata().map(|meta| (meta.dev(), meta.ino())))
            .collect::<std::io::Result<_>>()?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("list /proc")? {
            let process = entry?.path();
            // Fails for what is no process, and for one that has just ended.
            let Ok(network) = fs::metadata(process.join("ns/net")) else {
                continue;
            };
            if inside.contains(&(network.dev(), network.ino())) {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                let pid = process.file_name().unwrap_or_default().to_string_lossy();
                found.push(format!("{} ({pid})", name.trim()));
            }
        }
        Ok(found)
    }
}

impl Found {
    pub(super) fn counts(&self) -> [(&'static str, usize); 4] {
        [
            ("network namespaces", self.namespaces.len()),
            ("processes in them", self.processes.len()),
            ("pins of BPF objects", self.pins.len()),
            ("files and directories", self.files.len()),
        ]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == 0)
    }
}

fn namespaces(prefix: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(NETNS_DIR) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(names),
        entries => entries.with_context(|| format!("list {NETNS_DIR}"))?,
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Adds a directory and all below it; nothing when it is not there.
fn list(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let looked = || format!("look at {}", path.display());
    let meta = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        meta => meta.with_context(looked)?,
    };
    found.push(path.to_owned());
    if meta.is_dir() {
        for entry in fs::read_dir(path).with_context(looked)? {
            list(&entry?.path(), found)?;
        }
    }
    Ok(())
}
