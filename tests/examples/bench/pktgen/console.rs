//! What the guest says on its console, and how the host understands it.

use std::io::BufRead;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// Begins the guest's first line, behind which is the kernel's version. `cargo xtask` knows it, too.
pub const FIRST: &str = "guest: Linux ";
/// Begins the guest's last line.
pub const LAST: &str = "guest: end: ";
/// The whole of it when all went well.
pub const DONE: &str = "guest: end: done";

/// What a lane takes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub lane: String,
    /// Instructions per packet, one figure for each round.
    pub rounds: Vec<f64>,
}

/// All that a guest has said.
pub struct Told {
    /// The version of its kernel.
    pub kernel: String,
    pub measured: Vec<Measured>,
}

/// Reads a console between its first and its last line.
pub fn read(console: impl BufRead) -> Result<Told> {
    let mut told = Told {
        kernel: String::new(),
        measured: Vec::new(),
    };
    for line in console.lines() {
        let line = line.context("read the guest's console")?;
        if let Some(kernel) = line.strip_prefix(FIRST) {
            kernel.clone_into(&mut told.kernel);
        } else if line.starts_with(LAST) && line != DONE {
            bail!("the guest says: {}", line.trim_start_matches(LAST));
        } else if line.starts_with('{') {
            let measured = serde_json::from_str(&line).with_context(|| format!("the guest's line {line}"))?;
            told.measured.push(measured);
        }
    }
    if told.kernel.is_empty() || told.measured.is_empty() {
        bail!("no figures on the guest's console");
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_what_else_is_on_the_console() {
        let lane = Measured {
            lane: "xlb/dsr".to_owned(),
            rounds: vec![5012.5, 5013.0],
        };
        let text = format!(
            "{FIRST}6.12.1\n[    2.1] noise\n{}\n",
            serde_json::to_string(&lane).unwrap()
        );
        let told = read(text.as_bytes()).unwrap();
        assert_eq!(told.kernel, "6.12.1");
        assert_eq!(told.measured, [lane]);
        assert!(read(&b"guest: Linux 6.12.1\n"[..]).is_err());
        assert!(read(&b"guest: Linux 6.12.1\n{half a line\n"[..]).is_err());
    }
}
