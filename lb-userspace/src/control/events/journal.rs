//! The last events, in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;

use super::{Event, Listener, News, written};

/// Events that are kept.
const KEPT: usize = 10_000;

/// The events so far; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// The next event's number, for those who wait for it.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    events: VecDeque<(SystemTime, Arc<Event>)>,
    next: u64,
}

/// Which events are meant: all, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub service: Option<String>,
    pub backend: Option<String>,
    pub since: Option<SystemTime>,
}

impl Journal {
    /// Takes an event in.
    pub fn note(&self, news: News<'_>, at: SystemTime) {
        let next = self.kept().push(news, at);
        self.0.next.send_replace(next);
    }

    /// The events that are meant and still kept, the oldest first; only those behind `after`, if it is given.
    #[must_use]
    pub fn recent(&self, filter: &Filter, after: Option<u64>) -> Vec<Arc<Event>> {
        let from = after.map_or(0, |id| id.saturating_add(1));
        self.kept().read(filter, from, usize::MAX).0
    }

    /// Whether there has been any event of them, whenever that was.
    #[must_use]
    pub fn has_heard_of(&self, filter: &Filter) -> bool {
        let ever = Filter {
            since: None,
            ..filter.clone()
        };
        !self.kept().read(&ever, 0, 1).0.is_empty()
    }

    /// The same as [`recent`](Self::recent), and all that will follow, without a gap between.
    #[must_use]
    pub fn follow(&self, filter: Filter) -> Listener {
        Listener::new(self.clone(), filter, self.0.next.subscribe())
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, news: News<'_>, at: SystemTime) -> u64 {
        let event = Event {
            id: self.next,
            time: written(at),
            event: news.event,
            service: news.service.map(str::to_owned),
            backend: news.backend.map(str::to_owned),
            check: news.check.map(str::to_owned),
            reason: news.reason,
        };
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back((at, Arc::new(event)));
        self.next += 1;
        self.next
    }

    /// Number of the oldest one that is kept.
    pub(super) fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// Number of the next one.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Those from this number on that are meant, so many at most; and the number to read on from.
    pub(super) fn read(&self, filter: &Filter, from: u64, most: usize) -> (Vec<Arc<Event>>, u64) {
        let skipped = usize::try_from(from.saturating_sub(self.first())).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for (at, event) in self.events.iter().skip(skipped) {
            if found.len() == most {
                return (found, event.id);
            }
            if filter.takes(event, *at) {
                found.push(event.clone());
            }
        }
        (found, self.next)
    }
}

impl Filter {
    fn takes(&self, event: &Event, at: SystemTime) -> bool {
        let is_of = |wanted: &Option<String>, name: &Option<String>| wanted.is_none() || wanted == name;
        is_of(&self.service, &event.service)
            && is_of(&self.backend, &event.backend)
            && self.since.is_none_or(|since| at >= since)
    }
}

#[cfg(test)]
pub(in crate::control) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::control::events::What;

    pub fn note(journal: &Journal, second: u64, service: &str, backend: Option<&str>) {
        let news = News {
            event: What::Up,
            service: Some(service),
            backend,
            check: Some("http"),
            reason: format!("second {second}"),
        };
        journal.note(news, UNIX_EPOCH + Duration::from_secs(second));
    }

    fn ids(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.id).collect()
    }

    fn of(service: &str, backend: Option<&str>) -> Filter {
        Filter {
            service: Some(service.into()),
            backend: backend.map(Into::into),
            since: None,
        }
    }

    #[test]
    fn events_are_found_by_whom_they_are_about_and_by_time() {
        let journal = Journal::default();
        note(&journal, 1, "web", Some("b1"));
        note(&journal, 2, "web", Some("b2"));
        note(&journal, 3, "dns", Some("b1"));
        note(&journal, 4, "web", None);
        let found = |filter: &Filter| ids(&journal.recent(filter, None));
        assert_eq!(found(&Filter::default()), [0, 1, 2, 3]);
        assert_eq!(found(&of("web", None)), [0, 1, 3]);
        assert_eq!(found(&of("web", Some("b1"))), [0]);
        let since = Some(UNIX_EPOCH + Duration::from_secs(3));
        let late = Filter {
            since,
            ..Filter::default()
        };
        assert_eq!(found(&late), [2, 3]);
        assert_eq!(ids(&journal.recent(&of("web", None), Some(0))), [1, 3]);
        assert!(journal.recent(&Filter::default(), Some(u64::MAX)).is_empty());
        let late = Filter {
            since,
            ..of("web", Some("b1"))
        };
        assert!(found(&late).is_empty() && journal.has_heard_of(&late));
        assert!(!journal.has_heard_of(&of("web", Some("b3"))));
    }

    #[test]
    fn an_event_in_json() {
        let journal = Journal::default();
        note(&journal, 90, "web", Some("b1"));
        let event = &journal.recent(&Filter::default(), None)[0];
        let expected = serde_json::json!({
            "id": 0, "time": "1970-01-01T00:01:30.000Z", "event": "up", "service": "web", "backend": "b1", "check": "http",
            "reason": "second 90",
        });
        assert_eq!(serde_json::to_value(&**event).unwrap(), expected);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let journal = Journal::default();
        for second in 0..KEPT as u64 + 5 {
            note(&journal, second, "web", Some("b1"));
        }
        let all = ids(&journal.recent(&Filter::default(), None));
        assert_eq!((all.len(), all[0], all[KEPT - 1]), (KEPT, 5, KEPT as u64 + 4));
        assert_eq!(ids(&journal.recent(&Filter::default(), Some(1)))[0], 5);
        assert_eq!(
            ids(&journal.recent(&Filter::default(), Some(KEPT as u64 + 2))),
            [KEPT as u64 + 3, KEPT as u64 + 4]
        );
    }
}
