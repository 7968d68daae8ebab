//! `count`: words are counted in each block as it comes from its server, and the counts merged; the file is nowhere as a whole.

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    name::FileName,
    progress::Progress,
    report::{Done, Report},
    store::Store,
    words::Words,
};

/// Counts a file's words, `jobs` blocks at once.
pub async fn count(store: &Store, name: &FileName, jobs: usize) -> Result<Report> {
    let manifest = store.manifest(name).await?;
    let blocks = manifest.blocks(name);
    let progress = Progress::new(format!("count {name}"), blocks.len() as u64);
    let counts = stream::iter(blocks).map(async |block| {
        let read = store.read::<Words>(&block, &[]).await?;
        progress.step(block.length);
        anyhow::Ok(read.value)
    });
    // In order: merging is associative, not commutative.
    let words = counts
        .buffered(jobs)
        .try_fold(Words::default(), async |words, next| Ok(words.then(next)));
    Ok(Report::new(Done::Count {
        name: name.to_string(),
        words: words.await?.count(),
    }))
}
