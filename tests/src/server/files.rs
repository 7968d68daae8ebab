//! Files to be served.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Writes `size` bytes that do not repeat and differ from seed to seed; returns their SHA-256 in hex.
pub fn random(path: &Path, size: u64, seed: u64) -> Result<String> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = seed;
    let mut left = size;
    while left > 0 {
        let word = splitmix(&mut state).to_le_bytes();
        let take = usize::try_from(left).map_or(word.len(), |left| left.min(word.len()));
        out.write_all(&word[..take])
            .with_context(|| format!("write {}", path.display()))?;
        left -= take as u64;
    }
    out.flush().with_context(|| format!("write {}", path.display()))?;
    sha256(path)
}

/// The SHA-256 of a file in hex.
pub fn sha256(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let output = Command::new("sha256sum")
        .stdin(Stdio::from(file))
        .output()
        .context("start sha256sum")?;
    ensure!(output.status.success(), "sha256sum: {}", output.status);
    digest(&output.stdout)
}

/// The digest in what sha256sum prints.
pub(crate) fn digest(printed: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(printed).context("sha256sum printed no text")?;
    Ok(text
        .split_whitespace()
        .next()
        .context("sha256sum printed nothing")?
        .to_owned())
}

/// SplitMix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
