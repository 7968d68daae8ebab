//! A shell script with its reasons.

use crate::output;

/// Columns that comments take.
const WIDTH: usize = 100;

/// Lines of a script for `sh`.
#[derive(Clone, Debug, Default)]
pub struct Script(String);

impl Script {
    pub fn run(&mut self, command: &str) {
        self.0.push_str(command);
        self.0.push('\n');
    }

    pub fn gap(&mut self) {
        self.0.push('\n');
    }

    /// A comment in as many lines as it takes.
    pub fn why(&mut self, text: &str) {
        let text = output::one_line(text);
        let mut line = "#".to_owned();
        for word in text.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
                self.run(&line);
                line = "#".to_owned();
            }
            line.push(' ');
            line.push_str(word);
        }
        self.run(&line);
    }

    /// A command that is shown and not run.
    pub fn example(&mut self, command: &str) {
        self.run(&format!("#   {}", output::one_line(command)));
    }

    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A word that the shell takes as it is.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_to_the_shell() {
        assert_eq!(quoted("eth0.10"), "eth0.10");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("$(rm)'"), r"'$(rm)'\'''");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_comment_stays_one() {
        let mut script = Script::default();
        script.why(&format!("one\nrm -rf {}", "word ".repeat(30)));
        let text = script.into_text();
        assert!(text.lines().count() > 1);
        assert!(
            text.lines()
                .all(|line| line.starts_with("# ") && line.len() <= WIDTH)
        );
    }
}
