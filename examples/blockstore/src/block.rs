//! A block: what it is called, how long it is, and what is in it.

use std::fmt;

use crate::{hash::Hash, name::FileName};

/// One block of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub file: FileName,
    /// Counted from 0.
    pub number: u64,
    pub length: u64,
    pub hash: Hash,
}

impl Block {
    /// What its place follows from, and its path on a server behind the prefix.
    #[must_use]
    pub fn key(&self) -> Key {
        let last = format!("{:08}-{}", self.number, self.hash);
        Key::new(&self.file, &last)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of {}", self.number, self.file)
    }
}

/// The name of a block or manifest among all that servers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As its place follows from it.
    pub name: String,
    /// As it stands in a URL.
    pub path: String,
}

impl Key {
    fn new(file: &FileName, last: &str) -> Self {
        Self {
            name: format!("{file}/{last}"),
            path: format!("{}/{last}", file.in_url()),
        }
    }

    /// Of a file's manifest, which has to be found by the file's name alone.
    #[must_use]
    pub fn of_manifest(file: &FileName) -> Self {
        Self::new(file, "manifest.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_file_number_and_content() {
        let block = Block {
            file: "a b".parse().unwrap(),
            number: 7,
            length: 3,
            hash: Hash::of(b"abc"),
        };
        let key = block.key();
        assert_eq!(key.name, format!("a b/00000007-{}", block.hash));
        assert_eq!(key.path, format!("a%20b/00000007-{}", block.hash));
        assert_eq!(Key::of_manifest(&block.file).path, "a%20b/manifest.json");
    }
}
