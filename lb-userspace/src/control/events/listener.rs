//! Who hears events one after the other, at its own pace. It reads the journal by number, so nothing is lost between what was and what
//! comes, and whoever is slow holds up nobody: it loses what the journal no longer has, and is told.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Event, Filter, Journal};

/// Hears the events of a journal.
#[derive(Debug)]
pub struct Listener {
    journal: Journal,
    filter: Filter,
    /// Number of the next event that it has not looked at.
    next: u64,
    grown: watch::Receiver<u64>,
}

/// What it hears at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Events, of whomever they were, that were gone before they were heard.
    pub lost: u64,
    pub events: Vec<Arc<Event>>,
}

impl Listener {
    pub(super) fn new(journal: Journal, filter: Filter, grown: watch::Receiver<u64>) -> Self {
        let next = journal.kept().first();
        Self {
            journal,
            filter,
            next,
            grown,
        }
    }

    /// The next events, so many at most; waits until there are any.
    pub async fn next(&mut self, most: usize) -> Heard {
        loop {
            // Before the journal is read: what comes meanwhile wakes it again.
            self.grown.borrow_and_update();
            let heard = self.take(most);
            if heard != Heard::default() {
                return heard;
            }
            if self.grown.changed().await.is_err() {
                // The journal lives as long as its listeners, so that this cannot be.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Number of the last event that it has passed, heard or lost.
    #[must_use]
    pub const fn passed(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// How many events wait for it.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.journal.kept().next().saturating_sub(self.next)
    }

    /// Leaves out the oldest of those that wait, so that no more than so many do; how many those are.
    pub fn skip_to_last(&mut self, most: u64) -> u64 {
        let skipped = self.waiting().saturating_sub(most);
        self.next += skipped;
        skipped
    }

    fn take(&mut self, most: usize) -> Heard {
        let kept = self.journal.kept();
        let lost = kept.first().saturating_sub(self.next);
        let (events, next) = kept.read(&self.filter, self.next, most);
        self.next = next;
        Heard { lost, events }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{super::journal::tests::note, *};

    const LONG: Duration = Duration::from_secs(30);

    async fn hear(listener: &mut Listener, most: usize) -> (u64, Vec<u64>) {
        let heard = timeout(LONG, listener.next(most)).await.unwrap();
        (heard.lost, heard.events.iter().map(|event| event.id).collect())
    }

    #[tokio::test]
    async fn what_was_and_what_comes_without_a_gap() {
        let journal = Journal::default();
        let writer = journal.clone();
        // Before, while and after somebody begins to listen.
        let writing = std::thread::spawn(move || {
            for second in 0..5000 {
                note(&writer, second, "web", Some("b1"));
            }
        });
        let mut listener = journal.follow(Filter::default());
        let mut all = Vec::new();
        while all.len() < 5000 {
            let (lost, events) = hear(&mut listener, 7).await;
            assert_eq!(lost, 0);
            all.extend(events);
        }
        writing.join().unwrap();
        assert!(all.iter().copied().eq(0..5000));
    }

    #[tokio::test]
    async fn it_waits_for_those_that_are_meant() {
        let journal = Journal::default();
        let filter = Filter {
            service: Some("web".into()),
            ..Filter::default()
        };
        let mut listener = journal.follow(filter);
        note(&journal, 1, "dns", Some("b1"));
        let nothing = timeout(Duration::from_millis(20), listener.next(9)).await;
        assert!(nothing.is_err());
        note(&journal, 2, "web", Some("b1"));
        assert_eq!(hear(&mut listener, 9).await, (0, vec![1]));
    }

    #[tokio::test]
    async fn whoever_is_too_slow_is_told_and_goes_on() {
        let journal = Journal::default();
        note(&journal, 0, "web", None);
        let mut listener = journal.follow(Filter::default());
        assert_eq!(hear(&mut listener, 9).await, (0, vec![0]));
        for second in 1..10_004 {
            note(&journal, second, "web", None);
        }
        assert_eq!(listener.waiting(), 10_003);
        assert_eq!(hear(&mut listener, 2).await, (3, vec![4, 5]));
        assert_eq!(listener.skip_to_last(1), 9_997);
        assert_eq!(hear(&mut listener, 2).await, (0, vec![10_003]));
        assert_eq!(listener.passed(), 10_003);
    }
}
