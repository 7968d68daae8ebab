//! What a backend's agent wishes, as HAProxy's agent-check writes it (HAProxy 2.8, configuration manual, `agent-check`).

use std::str::FromStr;

use crate::{config::Admin, output::excerpt};

/// Most percent of its weight that count, as in HAProxy: what comes of them is bounded elsewhere.
const PERCENT_MAX: u16 = 25_600;

/// What a backend wishes for itself. What it does not say stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Wish {
    /// Whether it wants traffic.
    pub stand: Option<Stand>,
    /// `ready`, `drain` or `maint`: what it wants of the administrator's settings.
    pub admin: Option<Admin>,
    /// Percent of its weight.
    pub weight: Option<u16>,
    pub max_connections: Option<u32>,
    /// What it gives as a reason, behind a `#`.
    pub reason: Option<String>,
}

/// How it says it feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    Up,
    Down,
}

/// Words between spaces, tabs and commas, in any case; of two that contradict each other the later one. Behind a `#` comes the reason, and
/// behind a word for down also what is no word.
impl FromStr for Wish {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut wish = Self::default();
        let mut rest = line.trim_start_matches(is_between);
        if rest.is_empty() {
            return Err(
                "it says nothing: an agent answers with words like up, down, drain or 75%".to_owned(),
            );
        }
        while !rest.is_empty() {
            if let Some(reason) = rest.strip_prefix('#') {
                wish.reason = reason_in(reason);
                break;
            }
            let end = rest
                .find(|char| is_between(char) || char == '#')
                .unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            match wish.take(word) {
                Ok(()) => {}
                Err(_) if wish.stand == Some(Stand::Down) => {
                    wish.reason = reason_in(rest);
                    break;
                }
                Err(problem) => return Err(problem),
            }
            rest = behind.trim_start_matches(is_between);
        }
        Ok(wish)
    }
}

impl Wish {
    fn take(&mut self, word: &str) -> Result<(), String> {
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "up" => self.stand = Some(Stand::Up),
            "down" | "stopped" | "fail" | "failed" => self.stand = Some(Stand::Down),
            "ready" => self.admin = Some(Admin::Ready),
            "drain" => self.admin = Some(Admin::Drain),
            "maint" => self.admin = Some(Admin::Maintenance),
            word => {
                if let Some(percent) = word.strip_suffix('%') {
                    self.weight = Some(percent_of(percent)?);
                } else if let Some(limit) = word.strip_prefix("maxconn:") {
                    self.max_connections = Some(number(limit).ok_or_else(|| {
                        format!("{:?} is no limit: use maxconn: and a whole number", shown(word))
                    })?);
                } else {
                    return Err(format!(
                        "{:?} is no word of an agent: use up, down, ready, drain, maint, 75% or maxconn:100",
                        shown(word)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// However much more it is than what counts.
fn percent_of(percent: &str) -> Result<u16, String> {
    if !is_number(percent) {
        let percent = shown(percent);
        return Err(format!(
            "\"{percent}%\" is no weight: use a whole number and %, like 75%"
        ));
    }
    Ok(percent
        .parse()
        .map_or(PERCENT_MAX, |percent| PERCENT_MAX.min(percent)))
}

fn number<T: FromStr>(digits: &str) -> Option<T> {
    is_number(digits).then(|| digits.parse().ok()).flatten()
}

/// Digits alone: without a sign, which the standard library would take.
fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_between(char: char) -> bool {
    matches!(char, ' ' | '\t' | ',' | '\r' | '\n')
}

fn reason_in(text: &str) -> Option<String> {
    Some(excerpt(text)).filter(|reason| !reason.is_empty())
}

fn shown(word: &str) -> String {
    excerpt(word)
}

impl std::fmt::Display for Wish {
    /// As its agent would write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stand = self.stand.map(|stand| match stand {
            Stand::Up => "up".to_owned(),
            Stand::Down => "down".to_owned(),
        });
        let words = [
            stand,
            self.admin.map(|admin| admin.name().to_owned()),
            self.weight.map(|percent| format!("{percent}%")),
            self.max_connections.map(|limit| format!("maxconn:{limit}")),
            self.reason.as_ref().map(|reason| format!("#{reason}")),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(line: &str) -> Wish {
        line.parse().unwrap()
    }

    #[test]
    fn each_word_wishes_one_thing() {
        let nothing = Wish::default();
        for (line, wanted) in [
            (
                "up",
                Wish {
                    stand: Some(Stand::Up),
                    ..nothing.clone()
                },
            ),
            (
                "DOWN",
                Wish {
                    stand: Some(Stand::Down),
                    ..nothing.clone()
                },
            ),
            (
                "stopped",
                Wish {
                    stand: Some(Stand::Down),
                    ..nothing.clone()
                },
            ),
            (
                "failed\r",
                Wish {
                    stand: Some(Stand::Down),
                    ..nothing.clone()
                },
            ),
            (
                "ready",
                Wish {
                    admin: Some(Admin::Ready),
                    ..nothing.clone()
                },
            ),
            (
                "drain",
                Wish {
                    admin: Some(Admin::Drain),
                    ..nothing.clone()
                },
            ),
            (
                " Maint ",
                Wish {
                    admin: Some(Admin::Maintenance),
                    ..nothing.clone()
                },
            ),
            (
                "0%",
                Wish {
                    weight: Some(0),
                    ..nothing.clone()
                },
            ),
            (
                "256%",
                Wish {
                    weight: Some(256),
                    ..nothing.clone()
                },
            ),
            (
                "maxconn:100",
                Wish {
                    max_connections: Some(100),
                    ..nothing
                },
            ),
        ] {
            assert_eq!(wish(line), wanted, "{line}");
        }
    }

    #[test]
    fn words_add_up_and_the_later_one_holds() {
        let all = wish("ready, up,\t75%,maxconn:30 # all is well ");
        assert_eq!(
            all,
            Wish {
                stand: Some(Stand::Up),
                admin: Some(Admin::Ready),
                weight: Some(75),
                max_connections: Some(30),
                reason: Some("all is well".into()),
            }
        );
        assert_eq!(wish("down up").stand, Some(Stand::Up));
    }

    #[test]
    fn a_percentage_may_be_as_large_as_its_agent_likes() {
        for (line, percent) in [
            ("300%", 300),
            ("25600%", 25_600),
            ("25601%", 25_600),
            ("65536%", 25_600),
            ("99999999999999999999% up", 25_600),
        ] {
            assert_eq!(wish(line).weight, Some(percent), "{line}");
        }
    }

    #[test]
    fn a_reason_stands_behind_a_sharp_or_behind_down() {
        for line in [
            "down#disk full",
            "down # disk full",
            "failed disk full",
            "stopped 0% disk full",
        ] {
            let wish = wish(line);
            assert_eq!(wish.stand, Some(Stand::Down), "{line}");
            assert_eq!(wish.reason.as_deref(), Some("disk full"), "{line}");
        }
        assert_eq!(wish("down #").reason, None);
        assert_eq!(wish("down\t#\x1b[2J").reason.as_deref(), Some("\\u{1b}[2J"));
    }

    #[test]
    fn what_is_no_word_is_named() {
        for (line, named) in [
            ("sideways", "\"sideways\""),
            ("up sideways", "\"sideways\""),
            ("-5%", "\"-5%\""),
            ("+5%", "\"+5%\""),
            ("%", "\"%\""),
            ("maxconn:", "\"maxconn:\""),
            ("maxconn:-1", "\"maxconn:-1\""),
            ("maxconn: 5", "\"maxconn:\""),
            ("", "says nothing"),
            (" ,\t\r", "says nothing"),
        ] {
            let error = line.parse::<Wish>().unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".*") {
            let _: Result<Wish, String> = line.parse();
        }

        #[test]
        fn words_in_any_order_never_panic(words in prop::collection::vec(
            prop::sample::select(vec!["up", "down", "#", "%", "5%", "maxconn:", "maxconn:7", "é", ",", " "]), 0..12)) {
            let _: Result<Wish, String> = words.concat().parse();
        }
    }
}
