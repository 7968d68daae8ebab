//! Copies between maps, word by word.
//!
//! Where the code generator cannot tell that two places do not overlap it calls `memmove`, and for zeros `memset`; for this target both go
//! byte by byte, some nine instructions each.

use lb_common::plain::Plain;

/// Copies a value of whole words.
#[inline(always)]
pub fn value<T: Plain>(to: &mut T, from: &T) {
    const {
        assert!(
            size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8,
            "whole words"
        );
    };
    let (to, from) = ((&raw mut *to).cast::<u64>(), (&raw const *from).cast::<u64>());
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: inside `from`, whose type is plain and aligned to words.
        let from = unsafe { from.add(word) };
        // SAFETY: the same of `to`.
        let to = unsafe { to.add(word) };
        // SAFETY: as above. Volatile, so that the words are not put together again.
        let bits = unsafe { from.read_volatile() };
        // SAFETY: as above; any bits are a value.
        unsafe { to.write_volatile(bits) };
    }
}

/// Sets a value of whole words to zeros.
#[inline(always)]
pub fn zeros<T: Plain>(to: &mut T) {
    const {
        assert!(
            size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8,
            "whole words"
        );
    };
    let to = (&raw mut *to).cast::<u64>();
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: inside `to`, whose type is aligned to words.
        let to = unsafe { to.add(word) };
        // SAFETY: as above; zero is a value of what is plain. Volatile, as in `value`.
        unsafe { to.write_volatile(0) };
    }
}
