//! The controller's voice: what has happened is told when words are written, for packets wait for those and not for a log.

use std::time::{Duration, SystemTime};

use log::Level;

use super::Controller;
use crate::{
    control::{
        events::{Journal, News, What},
        precedence::give_way_for,
    },
    datapath::Datapath,
    health::Who,
};

/// How long one takes to tell: most of that is the line of the log.
const EACH: Duration = Duration::from_micros(10);

/// What has happened, in order, and nobody has been told.
#[derive(Debug, Default)]
pub(super) struct Untold(Vec<Happening>);

#[derive(Debug)]
struct Happening {
    at: SystemTime,
    level: Level,
    /// For the log.
    line: String,
    event: What,
    service: Option<String>,
    backend: Option<String>,
    check: Option<String>,
    reason: String,
}

impl Untold {
    /// Takes in one more, with its line for the log.
    pub(super) fn add(&mut self, level: Level, line: String, news: &News<'_>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        self.0.push(Happening {
            at: SystemTime::now(),
            level,
            line,
            event: news.event,
            service: owned(news.service),
            backend: owned(news.backend),
            check: owned(news.check),
            reason: news.reason.clone(),
        });
    }

    /// Takes in what has happened to a backend, by which type of check: its line says so before the reason.
    pub(super) fn of_backend(
        &mut self,
        level: Level,
        who: &Who,
        (event, said): (What, &str),
        check: Option<&str>,
        reason: String,
    ) {
        let Who { service, backend } = who;
        let line = format!("backend {service}/{backend} {said} {reason}");
        let news = News {
            event,
            service: Some(service),
            backend: Some(backend),
            check,
            reason,
        };
        self.add(level, line, &news);
    }

    fn tell(&mut self, journal: &Journal) {
        let _others_first = give_way_for(self.0.len(), EACH);
        for one in self.0.drain(..) {
            log::log!(one.level, "{}", one.line);
            let news = News {
                event: one.event,
                service: one.service.as_deref(),
                backend: one.backend.as_deref(),
                check: one.check.as_deref(),
                reason: one.reason,
            };
            journal.note(news, one.at);
        }
    }
}

impl<D: Datapath> Controller<D> {
    /// Tells what has happened.
    pub(super) fn tell(&mut self) {
        self.untold.tell(&self.journal);
    }
}
