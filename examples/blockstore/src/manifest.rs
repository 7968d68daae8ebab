//! The manifest: what a file's blocks are. Stored like a block, under a name that follows from the file's.
//!
//! A block is known to be right by its hash; the manifest, which nobody has the hash of, carries one of itself.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{block::Block, cut::Cut, hash::Hash, name::FileName};

/// Most bytes of a manifest, in its place.
pub const MAX_BYTES: u64 = 64 << 20;
/// Most blocks of a file: so many hashes fit into a manifest.
pub const MAX_BLOCKS: u64 = 900_000;
const VERSION: u32 = 1;

/// What a file's blocks are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    name: String,
    length: u64,
    block_size: u64,
    /// Milliseconds since 1970: of two manifests of one name the later one counts.
    written: u64,
    hashes: Vec<Hash>,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Sealed<M> {
    sha256: Hash,
    manifest: M,
}

/// Bytes that are no manifest, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    #[error("no manifest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a manifest of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    #[error("a manifest that has been changed: its hash is {0}, not {1}")]
    Seal(Hash, Hash),
    #[error("the manifest of {0:?}")]
    Name(String),
    #[error("a manifest with blocks of {0} bytes")]
    BlockSize(u64),
    #[error("a manifest with {has} hashes for {needs} blocks")]
    Hashes { has: usize, needs: u64 },
}

impl Manifest {
    /// Of a file whose blocks have these hashes.
    #[must_use]
    pub fn new(
        file: &FileName,
        length: u64,
        block_size: u64,
        hashes: Vec<Hash>,
        written: SystemTime,
    ) -> Self {
        let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            name: file.to_string(),
            length,
            block_size,
            written: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            hashes,
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let sha256 = Hash::of(&serde_json::to_vec(self)?);
        serde_json::to_vec(&Sealed {
            sha256,
            manifest: self,
        })
    }

    /// The manifest of `file`, if these bytes are that.
    pub fn decode(file: &FileName, bytes: &[u8]) -> Result<Self, BadManifest> {
        let Sealed::<Self> { sha256, manifest } = serde_json::from_slice(bytes)?;
        if manifest.version != VERSION {
            return Err(BadManifest::Version(manifest.version));
        }
        let found = Hash::of(&serde_json::to_vec(&manifest)?);
        if found != sha256 {
            return Err(BadManifest::Seal(found, sha256));
        }
        if manifest.name != file.as_str() {
            return Err(BadManifest::Name(manifest.name));
        }
        let cut = Cut::new(manifest.length, manifest.block_size)
            .map_err(|_| BadManifest::BlockSize(manifest.block_size))?;
        if manifest.hashes.len() as u64 != cut.count() {
            return Err(BadManifest::Hashes {
                has: manifest.hashes.len(),
                needs: cut.count(),
            });
        }
        Ok(manifest)
    }

    /// The file's blocks, in order.
    pub fn blocks(&self, file: &FileName) -> impl ExactSizeIterator<Item = Block> {
        let mut left = self.length;
        let (file, size) = (file.clone(), self.block_size);
        self.hashes.iter().enumerate().map(move |(number, &hash)| {
            let length = size.min(left);
            left -= length;
            Block {
                file: file.clone(),
                number: number as u64,
                length,
                hash,
            }
        })
    }

    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> FileName {
        "a".parse().unwrap()
    }

    fn manifest() -> Manifest {
        let hashes = ["one", "two", "three"].map(|text| Hash::of(text.as_bytes()));
        Manifest::new(&file(), 9, 4, hashes.to_vec(), UNIX_EPOCH)
    }

    /// As it would be stored with other values in it, its own hash put right.
    fn stored_with(change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
        let mut manifest = manifest();
        change(&mut manifest);
        manifest.encode().unwrap()
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let bytes = manifest().encode().unwrap();
        assert_eq!(Manifest::decode(&file(), &bytes).unwrap(), manifest());
        let empty = Manifest::new(&file(), 0, 4, Vec::new(), UNIX_EPOCH);
        assert_eq!(
            Manifest::decode(&file(), &empty.encode().unwrap()).unwrap(),
            empty
        );
    }

    #[test]
    fn its_blocks_are_numbered_and_as_long_as_they_were_cut() {
        let blocks: Vec<_> = manifest().blocks(&file()).collect();
        let lengths: Vec<_> = blocks.iter().map(|block| (block.number, block.length)).collect();
        assert_eq!(lengths, [(0, 4), (1, 4), (2, 1)]);
        assert_eq!(blocks[1].hash, Hash::of(b"two"));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let good = manifest().encode().unwrap();
        for bad in [
            &b""[..],
            b"{}",
            b"null",
            b"<html>404</html>",
            &good[..good.len() - 1],
            &[0xff; 64],
        ] {
            assert!(matches!(
                Manifest::decode(&file(), bad),
                Err(BadManifest::Json(_))
            ));
        }
    }

    #[test]
    fn every_change_is_noticed() {
        let good = String::from_utf8(manifest().encode().unwrap()).unwrap();
        let changed = good.replace("\"length\":9", "\"length\":8");
        assert_ne!(good, changed);
        let error = Manifest::decode(&file(), changed.as_bytes()).unwrap_err();
        assert!(matches!(error, BadManifest::Seal(..)), "{error}");
    }

    #[test]
    fn one_that_contradicts_itself_is_refused() {
        type Change = fn(&mut Manifest);
        type Expected = fn(&BadManifest) -> bool;
        let cases: [(Change, Expected); 6] = [
            (|m| m.version = 2, |e| matches!(e, BadManifest::Version(2))),
            (|m| m.name = "b".to_owned(), |e| matches!(e, BadManifest::Name(_))),
            (|m| m.block_size = 0, |e| matches!(e, BadManifest::BlockSize(0))),
            (
                |m| m.block_size = u64::MAX,
                |e| matches!(e, BadManifest::BlockSize(_)),
            ),
            (
                |m| m.length = 13,
                |e| matches!(e, BadManifest::Hashes { has: 3, needs: 4 }),
            ),
            (
                |m| m.hashes.clear(),
                |e| matches!(e, BadManifest::Hashes { has: 0, .. }),
            ),
        ];
        for (change, is_expected) in cases {
            let error = Manifest::decode(&file(), &stored_with(change)).unwrap_err();
            assert!(is_expected(&error), "{error}");
        }
    }

    #[test]
    fn the_longest_fits() {
        let hash = Hash::of(b"").to_string().len() as u64 + 3;
        assert!(MAX_BLOCKS * hash + 1_000 < MAX_BYTES);
    }
}
