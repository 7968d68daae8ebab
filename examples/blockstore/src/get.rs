//! `get`: blocks are read at the same time, so many at once, and put together in order.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    name::FileName,
    progress::Progress,
    report::{Done, Report},
    store::Store,
};

/// Reads a file, `jobs` blocks at once, and writes it out in order.
pub async fn get(store: &Store, name: &FileName, out: &mut impl Write, jobs: usize) -> Result<Report> {
    let manifest = store.manifest(name).await?;
    let blocks = manifest.blocks(name);
    let count = blocks.len() as u64;
    let progress = Progress::new(format!("get {name}"), count);
    let mut reads = stream::iter(blocks)
        .map(async |block| store.read::<Vec<u8>>(&block, &[]).await)
        .buffered(jobs);
    let mut elsewhere = 0;
    while let Some(read) = reads.try_next().await? {
        out.write_all(&read.value).context("write what was read")?;
        elsewhere += u64::from(read.replica > 0);
        progress.step(read.value.len() as u64);
    }
    out.flush().context("write what was read")?;
    Ok(Report::new(Done::Get {
        name: name.to_string(),
        bytes: manifest.length(),
        blocks: count,
        elsewhere,
    }))
}

/// The same into a file, which is there when all of it is.
pub async fn get_file(store: &Store, name: &FileName, path: &Path, jobs: usize) -> Result<Report> {
    let wanted = || format!("write {}", path.display());
    // What is no file cannot be put in place of another.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let mut device = File::options().write(true).open(path).with_context(wanted)?;
        return get(store, name, &mut device, jobs).await;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut file = tempfile::Builder::new()
        .prefix(".xlb-blockstore-")
        // As any new file: less what the umask takes.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(&directory)
        .with_context(|| format!("make a file in {}", directory.display()))?;
    let report = get(store, name, &mut BufWriter::new(file.as_file_mut()), jobs).await?;
    file.persist(path).map_err(io::Error::from).with_context(wanted)?;
    Ok(report)
}
