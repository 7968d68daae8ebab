//! The state directory: what must outlive a reboot.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

const HASH_KEY: &str = "hash.key";

/// The key of the flow hash: read, or made at the first start. Whoever knows it can aim flows at one backend, so it is for the
/// owner only; balancers that shall choose alike share a copy.
///
/// # Errors
/// When the directory or the file cannot be made, or the file is not a key.
pub fn hash_key(directory: &Path) -> Result<[u64; 2]> {
    let path = directory.join(HASH_KEY);
    match fs::read_to_string(&path) {
        Ok(text) => parse(text.trim()).with_context(|| {
            format!(
                "{}: not a key of 32 hexadecimal digits: mend or remove the file",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(directory, &path).with_context(|| format!("make the hash key {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn make(directory: &Path, path: &Path) -> Result<[u64; 2]> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text = format!("{:032x}", u128::from_be_bytes(bytes));
    // Whole or not at all: a half-written key would keep the agent from ever starting again.
    let next = path.with_extension("next");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    parse(&text).context("read back the key")
}

fn parse(text: &str) -> Option<[u64; 2]> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let half = |range| u64::from_str_radix(text.get(range)?, 16).ok();
    digits.then_some(())?;
    Some([half(0..16)?, half(16..32)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_secret() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("xlb");
        let key = hash_key(&state).unwrap();
        assert_eq!(hash_key(&state).unwrap(), key);
        assert_ne!(key, [0, 0]);
        assert_eq!(
            fs::metadata(state.join(HASH_KEY)).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_is_no_key_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "zz", "+123456789012345+123456789012345", "00"] {
            fs::write(directory.path().join(HASH_KEY), text).unwrap();
            assert!(
                hash_key(directory.path())
                    .unwrap_err()
                    .to_string()
                    .contains("hash.key"),
                "{text}"
            );
            assert_eq!(fs::read_to_string(directory.path().join(HASH_KEY)).unwrap(), text);
        }
    }
}
