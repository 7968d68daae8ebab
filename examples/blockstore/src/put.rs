//! `put`: blocks are cut, hashed and written at the same time, so many at once; the manifest comes last, so that a name never leads
//! to blocks that are not there.

use std::{
    fs::{File, Metadata},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper::body::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    block::{Block, Key},
    cut::Cut,
    hash::Hash,
    manifest::{MAX_BLOCKS, Manifest},
    name::FileName,
    progress::Progress,
    report::{Done, Report},
    store::{Attempts, Store},
};

/// Stores a file under a name, `jobs` blocks at once.
pub async fn put(store: &Store, path: &Path, name: &FileName, size: u64, jobs: usize) -> Result<Report> {
    let at = || path.display();
    let file = File::open(path).with_context(|| format!("open {}", at()))?;
    let before = file.metadata().with_context(|| format!("look at {}", at()))?;
    ensure!(
        before.is_file(),
        "{} is no regular file: its bytes have to be in one first",
        at()
    );
    let cut = Cut::new(before.len(), size)?;
    ensure!(
        cut.count() <= MAX_BLOCKS,
        "{} would be {} blocks, and a manifest takes {MAX_BLOCKS}: choose a larger --block-size",
        at(),
        cut.count()
    );

    let file = Arc::new(file);
    let progress = Progress::new(format!("put {name}"), cut.count());
    let blocks = stream::iter(0..cut.count()).map(async |number| {
        let reader = file.clone();
        let read = spawn_blocking(move || {
            let bytes = cut.read(&reader, number)?;
            Ok::<_, std::io::Error>((Hash::of(&bytes), bytes))
        });
        let (hash, bytes) = read
            .await?
            .with_context(|| format!("read block {number} of {}", path.display()))?;
        let block = Block {
            file: name.clone(),
            number,
            length: bytes.len() as u64,
            hash,
        };
        let short = write(store, &block.key(), &Bytes::from(bytes), &block).await?;
        progress.step(block.length);
        anyhow::Ok((hash, short))
    });
    let (hashes, short): (Vec<_>, Vec<_>) = blocks
        .buffered(jobs)
        .try_collect::<Vec<_>>()
        .await?
        .into_iter()
        .unzip();
    let after = file.metadata().with_context(|| format!("look at {}", at()))?;
    ensure!(
        is_same(&before, &after),
        "{} was changed while it was read: nothing is stored under {name}, put it again",
        at()
    );

    let manifest = Manifest::new(name, cut.length(), size, hashes, SystemTime::now());
    let body = Bytes::from(manifest.encode().context("write the manifest")?);
    let what = format!("the manifest of {name}");
    let of_manifest = write(store, &Key::of_manifest(name), &body, &what).await?;
    let mut report = Report::new(Done::Put {
        name: name.to_string(),
        bytes: cut.length(),
        blocks: cut.count(),
        replicas: store.places.count(),
    });
    report.short = short.into_iter().chain([of_manifest]).flatten().collect();
    Ok(report)
}

/// Writes all replicas; those that could not be written, or an error when that is all.
async fn write(
    store: &Store,
    key: &Key,
    body: &Bytes,
    what: &impl std::fmt::Display,
) -> Result<Option<Attempts>, Attempts> {
    let replicas = store.places.replicas(&key.name);
    let all = replicas.len();
    let failures = store.write(key, body, replicas).await;
    if failures.len() == all {
        return Err(Attempts::new(
            format_args!("{what} could not be written"),
            failures,
        ));
    }
    let is_short = !failures.is_empty();
    Ok(is_short.then(|| Attempts::new(what, failures)))
}

fn is_same(before: &Metadata, after: &Metadata) -> bool {
    before.len() == after.len() && before.modified().ok() == after.modified().ok()
}
