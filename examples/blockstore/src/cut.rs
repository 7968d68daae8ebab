//! Cutting: which bytes of a file are which block's.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Longest block. It is in memory while it is on its way.
pub const MAX_BLOCK: u64 = 64 << 20;

/// A file of `length` bytes in blocks of `size`, the last one shorter unless it comes out even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    length: u64,
    size: u64,
}

/// A size that no block can have.
#[derive(Debug, thiserror::Error)]
#[error("blocks of {0} bytes: they have 1 to {MAX_BLOCK}")]
pub struct BadSize(u64);

impl Cut {
    pub fn new(length: u64, size: u64) -> Result<Self, BadSize> {
        if (1..=MAX_BLOCK).contains(&size) {
            Ok(Self { length, size })
        } else {
            Err(BadSize(size))
        }
    }

    #[must_use]
    pub fn length(self) -> u64 {
        self.length
    }

    /// How many blocks.
    #[must_use]
    pub fn count(self) -> u64 {
        self.length.div_ceil(self.size)
    }

    /// Where a block begins, and how long it is.
    #[must_use]
    pub fn span(self, number: u64) -> (u64, u64) {
        let begin = number.saturating_mul(self.size).min(self.length);
        (begin, self.size.min(self.length - begin))
    }

    /// The bytes of a block.
    pub fn read(self, file: &File, number: u64) -> io::Result<Vec<u8>> {
        let (begin, length) = self.span(number);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, begin)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_block_is_what_is_left() {
        let spans = |length, size| -> Vec<_> {
            let cut = Cut::new(length, size).unwrap();
            (0..cut.count()).map(|number| cut.span(number)).collect()
        };
        assert_eq!(spans(0, 4), []);
        assert_eq!(spans(3, 4), [(0, 3)]);
        assert_eq!(spans(4, 4), [(0, 4)]);
        assert_eq!(spans(9, 4), [(0, 4), (4, 4), (8, 1)]);
    }

    #[test]
    fn blocks_of_nothing_and_of_too_much_are_refused() {
        assert!(Cut::new(1, 0).is_err() && Cut::new(1, MAX_BLOCK + 1).is_err());
        assert!(Cut::new(u64::MAX, MAX_BLOCK).is_ok());
    }

    proptest! {
        #[test]
        fn blocks_in_order_are_the_file(bytes: Vec<u8>, size in 1u64..40) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let cut = Cut::new(bytes.len() as u64, size).unwrap();
            let read: Vec<u8> = (0..cut.count()).flat_map(|number| cut.read(&file, number).unwrap()).collect();
            prop_assert_eq!(read, bytes);
        }
    }
}
