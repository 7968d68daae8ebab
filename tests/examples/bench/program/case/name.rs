//! What cases are called.

use std::fmt;

use super::{Case, Kind, PORT, Subject};
use crate::frame::Message;

/// `ipip/tcp4/settled`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, family) = (self.protocol.name(), if self.is_v4 { 4 } else { 6 });
        match self.subject {
            Subject::Client { mode, kind } => {
                let kind = match kind {
                    Kind::Settled => "settled",
                    Kind::Written => "written",
                    Kind::New => "new",
                    Kind::NewWritten => "new-written",
                };
                write!(f, "{}/{protocol}{family}/{kind}", mode.name())
            }
            Subject::Pass { translates: false } => write!(f, "pass/{protocol}{family}"),
            Subject::Pass { translates: true } => write!(f, "pass/{protocol}{family}/maybe-reply"),
            Subject::Error { mode, message } => {
                let message = match message {
                    Message::TooBig => "too-big",
                    Message::Unreachable => "unreachable",
                };
                write!(f, "error/icmp{family}/{}/{message}", mode.name())
            }
            Subject::TooBig => write!(f, "answer/{protocol}{family}/too-big"),
            Subject::All => write!(f, "all-features/{protocol}{family}"),
        }
    }
}

impl Case {
    /// A line about the packets, for people.
    pub fn packets(self, flows: u32) -> String {
        let vip = self.vip();
        let clients = if self.is_v4 {
            "10.1.0.0/16"
        } else {
            "2001:db8:1::/112"
        };
        format!(
            "{:<36} {flows:>9} flows of {clients} to {vip}, port {PORT}/{}",
            self.to_string(),
            self.protocol.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cases_have_a_name() {
        let mut names: Vec<String> = Case::all().iter().map(Case::to_string).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.contains(&"ipip/tcp4/settled".to_owned()));
    }
}
