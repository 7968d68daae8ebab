//! A few words of what a backend has sent, fit for a line of a log and for a terminal.

/// Longest excerpt.
const CHARS: usize = 100;

/// The first line that has anything on it, without what a terminal would take for more than text.
pub fn excerpt(bytes: &[u8]) -> String {
    let line = bytes
        .split(|&byte| byte == b'\n' || byte == b'\r')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    // A character has four bytes at most; what is behind them needs no look.
    let line = String::from_utf8_lossy(&line[..line.len().min(4 * (CHARS + 1))]);
    let mut chars = line.chars();
    let mut words = String::new();
    for char in chars.by_ref().take(CHARS) {
        // Escapes of terminals, and marks that turn the direction of text.
        if char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            words.extend(char.escape_default());
        } else {
            words.push(char);
        }
    }
    if chars.next().is_some() {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line_without_control_characters() {
        assert_eq!(excerpt(b""), "");
        assert_eq!(excerpt(b"\r\n  \n disk full \nand more"), "disk full");
        assert_eq!(excerpt(b"\x1b[2Jgone\xff"), "\\u{1b}[2Jgone\u{fffd}");
        assert_eq!(excerpt("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert_eq!(
            excerpt("ü".repeat(1000).as_bytes()),
            format!("{}…", "ü".repeat(CHARS))
        );
        assert_eq!(excerpt("a".repeat(CHARS).as_bytes()), "a".repeat(CHARS));
    }
}
