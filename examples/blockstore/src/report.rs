//! What a command has done.

use std::{collections::BTreeSet, fmt};

use crate::store::Attempts;

/// Most shortfalls that are told one by one.
const TOLD: usize = 10;

/// What a command has done, and what is not as it should be.
#[derive(Debug)]
pub struct Report {
    pub done: Done,
    /// Replicas that could not be written or looked at; the content is safe with the others.
    pub short: Vec<Attempts>,
    /// Blocks that nobody has.
    pub lost: Vec<Attempts>,
}

/// The numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Put {
        name: String,
        bytes: u64,
        blocks: u64,
        replicas: u16,
    },
    Get {
        name: String,
        bytes: u64,
        blocks: u64,
        /// Blocks that came from another replica than their first.
        elsewhere: u64,
    },
    Count {
        name: String,
        words: u64,
    },
    Repair {
        name: String,
        blocks: u64,
        /// Replicas that were looked at, the manifest's too.
        looked_at: u64,
        /// Replicas of blocks that were written.
        written: u64,
        /// Blocks that these belong to.
        of_blocks: u64,
        /// Replicas of the manifest that were written.
        manifests: u64,
    },
}

impl Report {
    #[must_use]
    pub fn new(done: Done) -> Self {
        Self {
            done,
            short: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// What is not as it should be, a line each, and what to do about it.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut lines = told("lost", &self.lost);
        lines.extend(told("short of a replica", &self.short));
        let remedies = self.lost.iter().chain(&self.short).filter_map(Attempts::remedy);
        lines.extend(remedies.collect::<BTreeSet<_>>().into_iter().map(str::to_owned));
        if !self.short.is_empty() {
            lines.push("when the servers are well again, 'repair' writes what is missing".to_owned());
        }
        lines
    }
}

fn told(what: &str, all: &[Attempts]) -> Vec<String> {
    let first = all.iter().take(TOLD);
    let mut lines: Vec<_> = first
        .map(|attempts| format!("{what}: {}", attempts.told()))
        .collect();
    if all.len() > TOLD {
        lines.push(format!("{what}: {} more", all.len() - TOLD));
    }
    lines
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put {
                name,
                bytes,
                blocks,
                replicas,
            } => write!(
                f,
                "put {name}: {bytes} bytes in {blocks} blocks, {replicas} replicas each"
            ),
            Self::Get {
                name,
                bytes,
                blocks,
                elsewhere,
            } => write!(
                f,
                "got {name}: {bytes} bytes in {blocks} blocks, {elsewhere} of them not from their first replica"
            ),
            Self::Count { name, words } => write!(f, "{words} {name}"),
            Self::Repair {
                name,
                blocks,
                looked_at,
                written,
                of_blocks,
                manifests,
            } => write!(
                f,
                "repaired {name}: {blocks} blocks, {looked_at} replicas looked at, {written} written of {of_blocks} blocks and \
                 {manifests} of the manifest"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_shortfalls_is_cut() {
        let count = Done::Count {
            name: "a".to_owned(),
            words: 3,
        };
        assert_eq!(count.to_string(), "3 a");
        let mut report = Report::new(count);
        assert!(report.notes().is_empty());
        report.short = (0..12).map(|number| Attempts::new(number, Vec::new())).collect();
        let notes = report.notes();
        assert_eq!(notes.len(), 12);
        assert_eq!(notes[10], "short of a replica: 2 more");
    }
}
