//! Others' words, fit for one line of an error.

/// How many characters of them are repeated.
const LENGTH: usize = 120;

/// `text` on one line, without control characters, and not too long.
#[must_use]
pub fn line(text: &str) -> String {
    let shown = |char: char| if char.is_control() { ' ' } else { char };
    let mut chars = text.trim().chars();
    let mut line: String = chars.by_ref().take(LENGTH).map(shown).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_on_one_line_and_are_short() {
        assert_eq!(line(" down\r\nfor \x1b[31mgood\n"), "down  for  [31mgood");
        let long = line(&"é".repeat(5000));
        assert_eq!(long.chars().count(), LENGTH + 1);
    }
}
