//! Others' words, fit for a line of a log and for a terminal.

/// Longest excerpt, in characters.
const EXCERPT: usize = 120;

/// What came from elsewhere as one line that leaves the terminal alone.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(printable).collect();
    words.join(" ")
}

/// The beginning of it.
#[must_use]
pub fn excerpt(text: &str) -> String {
    cut(one_line(text), EXCERPT)
}

/// The same of the first line that has anything on it.
#[must_use]
pub fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().map(excerpt);
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

/// Without what a terminal would take for more than text: its escapes, and marks that turn the direction of text.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() || is_mark(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// At most so many characters of it, and a mark where that is not all.
#[must_use]
pub fn cut(mut text: String, chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The marks of Unicode's bidirectional algorithm (UAX #9, §2), and its line ends.
const fn is_mark(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_has_no_line_ends_and_nothing_for_a_terminal() {
        assert_eq!(one_line("a\r\n\tb\u{1b}[2J\0"), "a b\\u{1b}[2J\\u{0}");
        assert_eq!(
            one_line("\u{202e}x \u{2069}\u{61c}"),
            "\\u{202e}x \\u{2069}\\u{61c}"
        );
        assert_eq!(one_line(" \n "), "");
        // What is escaped once stays as it is.
        assert_eq!(one_line(&one_line("\u{1b}")), "\\u{1b}");
    }

    #[test]
    fn an_excerpt_is_short() {
        assert_eq!(excerpt(" down\r\nfor \x1b[31mgood\n"), "down for \\u{1b}[31mgood");
        assert_eq!(excerpt(&"ü".repeat(1000)), format!("{}…", "ü".repeat(EXCERPT)));
        assert_eq!(excerpt(&"a".repeat(EXCERPT)), "a".repeat(EXCERPT));
    }

    #[test]
    fn the_first_line_is_one_with_something_on_it() {
        assert_eq!(first_line(b""), "");
        assert_eq!(first_line(b"\r\n  \n disk full \nand more"), "disk full");
        assert_eq!(first_line(b"\x1b[2Jgone\xff"), "\\u{1b}[2Jgone\u{fffd}");
        assert_eq!(first_line("\u{202e}x".as_bytes()), "\\u{202e}x");
    }
}
