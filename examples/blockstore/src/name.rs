//! The names of files.

use std::{fmt, str::FromStr};

/// Under which a file is stored: one directory of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

/// Longest name of a directory on Linux, in bytes.
const MAX: usize = 255;

impl FileName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a URL: all but RFC 3986's unreserved characters as percent and two digits.
    #[must_use]
    pub fn in_url(&self) -> String {
        let encoded = self.0.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        });
        encoded.collect()
    }
}

/// Text that names no file.
#[derive(Debug, thiserror::Error)]
pub enum BadName {
    #[error("the name is empty: choose one with --name")]
    Empty,
    #[error("the name has {0} bytes, and servers take {MAX}: choose a shorter one with --name")]
    Long(usize),
    #[error("{0:?} names a directory: choose another name with --name")]
    Directory(String),
    #[error("{0:?} has a {1:?}, which is none for the name of a directory: choose another name with --name")]
    Character(String, char),
}

impl FromStr for FileName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > MAX {
            return Err(BadName::Long(text.len()));
        }
        if matches!(text, "." | "..") {
            return Err(BadName::Directory(text.to_owned()));
        }
        match text.chars().find(|&c| c == '/' || c.is_control()) {
            Some(wrong) => Err(BadName::Character(text.to_owned(), wrong)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_into_urls_whatever_it_has() {
        let in_url = |name: &str| name.parse::<FileName>().map(|name| name.in_url());
        assert_eq!(in_url("words-1.txt").unwrap(), "words-1.txt");
        assert_eq!(in_url("a b%?#ä").unwrap(), "a%20b%25%3F%23%C3%A4");
        assert_eq!(in_url("...").unwrap(), "...");
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for bad in ["", ".", "..", "a/b", "/", "a\nb", "\0", &"a".repeat(256)] {
            let error = bad.parse::<FileName>().unwrap_err().to_string();
            assert!(error.contains("--name"), "{error}");
        }
    }
}
