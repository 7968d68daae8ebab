//! `repair`: every replica of every block is looked at where it belongs now, and written where it is not.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, future::join_all, stream};
use hyper::body::Bytes;

use crate::{
    block::{Block, Key},
    http::Failure,
    manifest::Manifest,
    name::FileName,
    progress::Progress,
    report::{Done, Report},
    store::{Attempts, Store, latest},
};

/// How blocks are looked at.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// By their content, and not by their length.
    pub verify: bool,
    /// Servers that may have what is at none of its places.
    pub also: Vec<SocketAddr>,
}

/// What came of one block, or of the manifest.
#[derive(Default)]
struct Mended {
    written: u64,
    short: Option<Attempts>,
    lost: Option<Attempts>,
}

impl Repair {
    /// Looks after a file, `jobs` blocks at once.
    pub async fn run(&self, store: &Store, name: &FileName, jobs: usize) -> Result<Report> {
        let (manifest, of_manifest) = self.manifest(store, name).await?;
        let blocks = manifest.blocks(name);
        let count = blocks.len() as u64;
        let progress = Progress::new(format!("repair {name}"), count);
        let mended: Vec<Mended> = stream::iter(blocks)
            .map(async |block| {
                let mended = self.block(store, &block).await;
                progress.step(block.length);
                mended
            })
            .buffered(jobs)
            .collect()
            .await;
        let mut report = Report::new(Done::Repair {
            name: name.to_string(),
            blocks: count,
            looked_at: (count + 1) * u64::from(store.places.count()),
            written: mended.iter().map(|mended| mended.written).sum(),
            of_blocks: mended.iter().filter(|mended| mended.written > 0).count() as u64,
            manifests: of_manifest.written,
        });
        for mended in [of_manifest].into_iter().chain(mended) {
            report.short.extend(mended.short);
            report.lost.extend(mended.lost);
        }
        Ok(report)
    }

    /// The manifest, after all its replicas have been made the latest one.
    async fn manifest(&self, store: &Store, name: &FileName) -> Result<(Manifest, Mended)> {
        let mut found = store.manifests(name).await;
        let mut elsewhere = join_all(self.also.iter().map(|&to| store.manifest_of(to, name))).await;
        let newest = found
            .iter()
            .chain(&elsewhere)
            .filter_map(|(_, manifest)| manifest.as_ref().ok())
            .max_by_key(|manifest| manifest.written())
            .cloned();
        let Some(newest) = newest else {
            found.append(&mut elsewhere);
            return Err(latest(name, found).err().context("no manifest")?.into());
        };
        let (mut old, mut failures) = (Vec::new(), Vec::new());
        for (to, manifest) in found {
            match manifest {
                Ok(manifest) if manifest == newest => {}
                Err(failure) if !failure.is_missing() => failures.push((to, failure)),
                _ => old.push(to),
            }
        }
        let body = Bytes::from(newest.encode().context("write the manifest")?);
        let what = format!("the manifest of {name}");
        let mended = mend(store, &Key::of_manifest(name), &body, (old, failures), what).await;
        Ok((newest, mended))
    }

    async fn block(&self, store: &Store, block: &Block) -> Mended {
        let key = block.key();
        let looks = store.places.replicas(&key.name).map(async |to| {
            let look = || self.look(store, to, block, &key);
            (to, store.again(look).await)
        });
        let (mut missing, mut failures) = (Vec::new(), Vec::new());
        for (to, looked) in join_all(looks).await {
            match looked {
                Ok(()) => {}
                Err(failure) if failure.is_missing() => missing.push(to),
                Err(failure) => failures.push((to, failure)),
            }
        }
        let body = if missing.is_empty() {
            Bytes::new()
        } else {
            match store.read::<Vec<u8>>(block, &self.also).await {
                Ok(read) => read.value.into(),
                Err(attempts) => {
                    return Mended {
                        lost: Some(attempts),
                        ..Mended::default()
                    };
                }
            }
        };
        mend(store, &key, &body, (missing, failures), block.to_string()).await
    }

    async fn look(&self, store: &Store, to: SocketAddr, block: &Block, key: &Key) -> Result<(), Failure> {
        if self.verify {
            store.read_at::<()>(to, block, key).await
        } else {
            store.has(to, block, key).await
        }
    }
}

/// Writes the missing replicas; `failures` are those that could not be looked at.
async fn mend(
    store: &Store,
    key: &Key,
    body: &Bytes,
    (missing, mut failures): (Vec<SocketAddr>, Vec<(SocketAddr, Failure)>),
    what: String,
) -> Mended {
    let wanted = missing.len();
    let refused = store.write(key, body, missing.into_iter()).await;
    let written = (wanted - refused.len()) as u64;
    failures.extend(refused);
    let is_short = !failures.is_empty();
    Mended {
        written,
        short: is_short.then(|| Attempts::new(what, failures)),
        lost: None,
    }
}
