//! What an answer has to contain: a text, or what a regular expression matches.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::super::value::quoted;

/// Memory that a compiled expression may take: far more than any sensible one.
const COMPILED: usize = 1 << 20;

/// What an answer has to contain.
#[derive(Clone, Debug)]
pub enum Pattern {
    Text(String),
    Regex(Regex),
}

impl Pattern {
    /// # Errors
    /// When it is no regular expression, or one that would take too much memory.
    pub fn regex(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).size_limit(COMPILED).build();
        built.map(Self::Regex).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("{} is too large when compiled: ask for less", quoted(text))
            }
            error => format!("{} is no regular expression: {}", quoted(text), reason(&error)),
        })
    }

    /// Whether `answer` contains it.
    #[must_use]
    pub fn is_in(&self, answer: &[u8]) -> bool {
        match self {
            Self::Text(text) if text.is_empty() => true,
            Self::Text(text) => answer.windows(text.len()).any(|window| window == text.as_bytes()),
            Self::Regex(regex) => regex.is_match(answer),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Regex(regex) => regex.as_str(),
        }
    }
}

/// The last line of the library's drawing of where the error is.
fn reason(error: &regex::Error) -> String {
    let drawn = error.to_string();
    let last = drawn.lines().last().unwrap_or_default();
    let last = last.trim().trim_start_matches("error: ");
    format!("{last}: mend it, or escape what is meant literally with \\")
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        let is_regex = |pattern: &Self| matches!(pattern, Self::Regex(_));
        is_regex(self) == is_regex(other) && self.text() == other.text()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Regex(regex) => write!(f, "/{}/", regex.as_str().escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_expressions_are_found_anywhere() {
        let text = Pattern::Text("is up".into());
        assert!(text.is_in(b"all is up\n") && !text.is_in(b"all is"));
        let regex = Pattern::regex("^load: [0-9]+$").unwrap();
        assert!(regex.is_in(b"load: 12") && !regex.is_in(b"load: high"));
        assert!(Pattern::regex("(?-u)\\xff").unwrap().is_in(b"a\xffb"));
        assert_ne!(text, Pattern::regex("is up").unwrap());
    }

    #[test]
    fn a_wrong_expression_is_told_in_a_line() {
        let error = Pattern::regex("(up").unwrap_err();
        assert_eq!(
            error,
            r#""(up" is no regular expression: unclosed group: mend it, or escape what is meant literally with \"#
        );
        let error = Pattern::regex("(\\w{900}){900}").unwrap_err();
        assert!(error.contains("too large"), "{error}");
    }
}
