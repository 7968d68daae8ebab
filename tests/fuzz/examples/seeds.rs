//! Writes the frames that mutations start from into a directory, one file each: `seeds DIRECTORY`.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let dir = env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .context("usage: seeds DIRECTORY")?;
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    for (number, frame) in xlb_fuzz::corpus::frames()
        .context("read the fixtures")?
        .iter()
        .enumerate()
    {
        let path = dir.join(format!("seed-{number}"));
        fs::write(&path, frame).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
