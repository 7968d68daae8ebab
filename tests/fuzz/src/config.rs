//! In place of the program's own: load-time settings.

/// Senders leave checksums unfinished.
pub const fn has_partial_checksums() -> bool {
    true
}

/// Frames fit one buffer.
pub const fn is_multi_buffer() -> bool {
    false
}
