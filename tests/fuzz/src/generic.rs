//! In place of the program's own: which interfaces are in generic mode.

use std::cell::Cell;

thread_local!(static IS_GENERIC: Cell<bool> = const { Cell::new(false) });

/// All are or none is, on this thread.
pub fn set_all(is_generic: bool) {
    IS_GENERIC.set(is_generic);
}

pub fn has(_ifindex: u32) -> bool {
    IS_GENERIC.get()
}
