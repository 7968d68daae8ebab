//! One task for each check of a backend: it probes at the interval, or faster while things change, and at once when asked to.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, sleep_until},
};

use super::{
    Answer, Health, Monitor, ProbeError, Question, Who,
    probe::{Course, Door, Held, Permit, SHORT_LIFE, Target, probe},
    results::{Gone, Sender},
    stall::Stalls,
};
use crate::config::{CheckKind, CheckSpec};

/// Over how long the first probes of many backends are spread.
const SPREAD: Duration = Duration::from_millis(100);
/// Who is asked again because something speaks against it: not more often than this.
const AT_ONCE: Duration = Duration::from_millis(10);

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation<K> {
    pub key: K,
    /// Which of the service's checks it was.
    pub check: usize,
    /// The run that it is of: a check that goes another way, or by other settings, is another run.
    pub run: u64,
    pub result: Result<Answer, ProbeError>,
    pub took: Duration,
    /// When the result was there.
    pub at: Instant,
}

/// A check to be made again and again.
#[derive(Clone, Debug)]
pub struct Job<K> {
    pub key: K,
    pub check: usize,
    /// No other run has this number.
    pub run: u64,
    pub spec: CheckSpec,
    pub target: SocketAddr,
    pub who: Who,
    pub course: Course,
    pub stalls: Stalls,
}

/// A running check; ends when dropped.
#[derive(Debug)]
pub struct Handle {
    run: u64,
    task: JoinHandle<()>,
    pace: Arc<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    hurries: AtomicBool,
    /// Known to be up: another pass says nothing new.
    is_up: AtomicBool,
    at_once: AtomicBool,
    now: Notify,
}

impl Handle {
    /// The number of its run: what has another one was found by a check that it has taken the place of.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.run
    }

    /// Goes by what its results have come to: who is up, and whose newest results say so, is probed at the usual interval, and its passes
    /// are no news.
    pub fn follow(&self, monitor: &Monitor) {
        self.pace
            .is_up
            .store(monitor.health() == Health::Up, Ordering::Relaxed);
        self.hurry(monitor.is_changing());
    }

    /// Whether to probe at the fast interval from now on.
    pub fn hurry(&self, hurries: bool) {
        let before = self.pace.hurries.swap(hurries, Ordering::Relaxed);
        if hurries != before {
            // It may be waiting for the end of an interval that is not the one to wait for any more.
            self.pace.now.notify_one();
        }
    }

    /// Probes as soon as the probe that runs has ended.
    pub fn now(&self) {
        self.pace.at_once.store(true, Ordering::Relaxed);
        self.pace.now.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Probes for as long as the handle is held and somebody receives. Must be called inside a tokio runtime.
///
/// The first probe starts within 100 ms (or the interval, if that is shorter), at a moment that depends on the key, so
/// that a thousand backends do not all fire at once; the second one after a part of the interval that depends on it too, so that probes
/// then are spread over the whole of it, as they are after a standstill of this host; further ones follow at the interval from start to
/// start, a probe that takes the whole interval being followed by the next one at once.
pub fn spawn<K>(job: Job<K>, tx: Sender<K>) -> Handle
where
    K: Clone + Hash + Send + Sync + 'static,
{
    let (run, pace) = (job.run, Arc::new(Pace::default()));
    let runner = Runner {
        number: 0,
        excused: 0,
        unasked: 0,
        told_unasked: None,
        is_spread: false,
        draw: draw(&(&job.key, job.check)),
        job,
        tx,
        pace: pace.clone(),
    };
    Handle {
        run,
        task: tokio::spawn(runner.run()),
        pace,
    }
}

struct Runner<K> {
    job: Job<K>,
    tx: Sender<K>,
    pace: Arc<Pace>,
    /// Of the backend and its check: the same each time.
    draw: u64,
    /// Pauses so far.
    number: u64,
    /// The pause that is a part of the interval is over: the first one, and the first after a standstill.
    is_spread: bool,
    /// Silences in a row that were this host's own.
    excused: u32,
    /// Probes in a row that could not be made for want of something here, and for want of what that was handed on.
    unasked: u32,
    told_unasked: Option<ProbeError>,
}

impl<K: Clone> Runner<K> {
    async fn run(mut self) {
        sleep(self.job.spec.interval.min(SPREAD).mul_f64(share(self.draw))).await;
        let _gone = match self.job.spec.kind {
            CheckKind::TcpHold => self.hold().await,
            _ => self.ask().await,
        };
    }

    async fn ask(&mut self) -> Result<(), Gone> {
        loop {
            let permit = self.permit().await?;
            // Only now, so that intervals do not pile up, and a late turn is no standstill of this host.
            let start = Instant::now();
            let question = Question {
                kind: &self.job.spec.kind,
                target: self.job.target,
                timeout: self.job.spec.timeout,
                who: &self.job.who,
                course: &self.job.course,
            };
            let result = probe(question, permit).await;
            self.tell(result, start).await?;
            self.wait(start).await;
        }
    }

    /// Waits for the turn of the next probe, and keeps its place when that cannot be made for long.
    async fn permit(&mut self) -> Result<Permit, Gone> {
        let mut permit = pin!(Permit::of(&self.job.spec.kind));
        loop {
            let asked = Instant::now();
            match Permit::soon(&mut permit).await {
                Ok(permit) => return Ok(permit),
                Err(error) => self.tell(Err(error), asked).await?,
            }
        }
    }

    /// Keeps a connection. As long as it lives, it passes at each interval; its end is told at once, and followed by another one. Not
    /// to be made is a failure at once; to be made is a pass only for those that have lived for a while, since a server that dies still
    /// takes connections until the last of its processes has ended.
    async fn hold(&mut self) -> Result<(), Gone> {
        let course = self.job.course.clone();
        let hint = |error: ProbeError| match &course {
            Course::Through(way) => error.through(way.mode),
            Course::Direct | Course::Nowhere(_) => error,
        };
        loop {
            // What the connection goes by is kept for as long as the connection.
            let door = match &course {
                Course::Direct => None,
                Course::Through(way) => Some(Door::open(way).await),
                Course::Nowhere(error) => Some(Err(error.clone())),
            };
            let start = Instant::now();
            let target = match &door {
                Some(Err(error)) => Err(error.clone()),
                Some(Ok(door)) => Ok(Target::through(door)),
                None => Ok(self.job.target.into()),
            };
            let made = match target {
                Ok(target) => Held::in_time(target, self.job.spec.timeout)
                    .await
                    .map(|one| (one, target)),
                Err(error) => Err(error),
            };
            let (error, start) = match made {
                Ok((connection, target)) => match self.keep(connection, target, start).await? {
                    Some(failed) => failed,
                    None => continue,
                },
                Err(error) => (error, start),
            };
            self.tell(Err(hint(error)), start).await?;
            self.wait(start).await;
        }
    }

    /// Until its end, or until another one cannot be made: the failure of that, and when it was begun.
    async fn keep(
        &mut self,
        mut connection: Held,
        target: Target<'_>,
        start: Instant,
    ) -> Result<Option<(ProbeError, Instant)>, Gone> {
        let took = start.elapsed();
        let since = Instant::now();
        let mut told = None;
        let ended = loop {
            let next = match told {
                None => since + self.short_life(),
                Some(told) => told + self.pause(),
            };
            tokio::select! {
                () = sleep_until(next.into()) => {
                    let now = Instant::now();
                    let kept = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
                    let said = told.map_or_else(|| "connected".to_owned(), |_| format!("kept for {kept}"));
                    let asked = now.checked_sub(took).unwrap_or(now);
                    self.tell(Ok(Answer::said(said)), asked).await?;
                    if told.replace(now).is_some() {
                        self.paused();
                    }
                    continue;
                }
                // The pause may be another one from now on.
                () = self.pace.now.notified() => {}
                ended = connection.ended() => break ended,
            }
            if !self.pace.at_once.swap(false, Ordering::Relaxed) {
                continue;
            }
            // Something speaks against it. Of clients that are new the kept connection says nothing.
            let asked = Instant::now();
            let another = tokio::select! {
                another = self.connect_another(target) => another,
                ended = connection.ended() => break ended,
            };
            let result = match another {
                Err(error) if !error.is_ours() => return Ok(Some((error, asked))),
                another => another.map(|()| Answer::said("takes another connection")),
            };
            self.tell(result, asked).await?;
            told = Some(Instant::now());
        };
        self.tell(Err(ended), since).await?;
        // Whoever takes connections only to end them is not asked in a circle.
        if since.elapsed() < SHORT_LIFE {
            self.wait(start).await;
        }
        Ok(None)
    }

    /// Makes a second connection; through the data path by a port of its own, which it gives back.
    async fn connect_another(&self, target: Target<'_>) -> Result<(), ProbeError> {
        let (limit, life) = (self.job.spec.timeout, self.short_life());
        match &self.job.course {
            Course::Through(way) => {
                let door = Door::open(way).await?;
                Held::lives(Target::through(&door), limit, life).await
            }
            Course::Direct | Course::Nowhere(_) => Held::lives(target, limit, life).await,
        }
    }

    fn short_life(&self) -> Duration {
        SHORT_LIFE.min(self.job.spec.interval)
    }

    /// Hands a result on, unless it says more of us than of the backend. That it says nothing for as long as it would take to believe a
    /// failure is handed on once, and again when it is for another reason: there may be ten thousand such probes a second.
    async fn tell(&mut self, result: Result<Answer, ProbeError>, start: Instant) -> Result<(), Gone> {
        let at = Instant::now();
        let result = match result {
            Err(error) if error.is_silence() && !matches!(self.job.spec.kind, CheckKind::TcpHold) => {
                if self.is_excused(start, at) {
                    return Ok(());
                }
                Err(error)
            }
            result => {
                self.excused = 0;
                result
            }
        };
        // That it is probed again is told, too.
        let mut is_over = false;
        match &result {
            Err(error) if error.is_ours() => {
                self.unasked = self.unasked.saturating_add(1);
                let is_told = self.told_unasked.as_ref() == Some(error);
                if is_told || self.unasked < self.job.spec.fall {
                    return Ok(());
                }
                self.told_unasked = Some(error.clone());
            }
            _ => {
                self.unasked = 0;
                is_over = self.told_unasked.take().is_some();
            }
        }
        let observation = Observation {
            key: self.job.key.clone(),
            check: self.job.check,
            run: self.job.run,
            result,
            took: at.saturating_duration_since(start),
            at,
        };
        let is_news = is_over || self.is_news(&observation.result);
        self.tx.send(observation, is_news).await
    }

    /// Whether a result may change anything. While there is no doubt of a backend, what a pass says is known.
    fn is_news(&self, result: &Result<Answer, ProbeError>) -> bool {
        let is_expected =
            self.pace.is_up.load(Ordering::Relaxed) && !self.pace.hurries.load(Ordering::Relaxed);
        !is_expected || result.as_ref().map_or(true, |answer| answer.wish.is_some())
    }

    /// A silence while this host stood still is its own; but not for ever, where that is how this host is.
    fn is_excused(&mut self, start: Instant, end: Instant) -> bool {
        let stall = self.job.stalls.within(start, end, self.job.spec.timeout);
        let Some(stall) = stall.filter(|_| self.excused < 2 * self.job.spec.fall) else {
            return false;
        };
        self.excused += 1;
        // That it stood still is in the log once already.
        let Who { service, backend } = &self.job.who;
        let stall = stall.as_millis();
        log::debug!(
            "a silence of backend {service}/{backend} does not count: this host stood still for {stall} ms"
        );
        true
    }

    /// Waits for the time of the next probe.
    async fn wait(&mut self, start: Instant) {
        let (mut next, mut asleep) = (start + self.pause(), Instant::now());
        loop {
            tokio::select! {
                () = sleep_until(next.into()) => break,
                () = self.pace.now.notified() => {}
            }
            if self.pace.at_once.swap(false, Ordering::Relaxed) {
                // Something speaks against it. What the probe before has come to does not put this one off.
                sleep_until(next.min(start + AT_ONCE).into()).await;
                break;
            }
            // The newest result speaks against its state, or no longer does.
            (next, asleep) = (start + self.pause().max(AT_ONCE), Instant::now());
        }
        // A probe that took longer than the pause is followed at once, which is no standstill.
        let late = next.max(asleep).elapsed();
        let is_whole = self.is_spread && self.fast_interval().is_none();
        self.paused();
        if is_whole && late > SPREAD.max(self.job.spec.interval / 4) {
            // This host has stood still, and all probes that came due meanwhile are made at this moment: not so for ever.
            self.is_spread = false;
        }
    }

    /// From one probe to the next, as things are now.
    fn pause(&self) -> Duration {
        let CheckSpec { interval, jitter, .. } = self.job.spec;
        let fast = self.fast_interval();
        let pause = varied(fast.unwrap_or(interval), jitter, draw(&(self.draw, self.number)));
        if fast.is_none() && !self.is_spread && pause > SPREAD {
            // Of another draw than the first one's, which would only stretch what is close together.
            return pause.mul_f64(share(draw(&self.draw)));
        }
        pause
    }

    /// A pause is over.
    fn paused(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.is_spread |= self.fast_interval().is_none();
    }

    /// The fast interval, while it is the one to go by.
    fn fast_interval(&self) -> Option<Duration> {
        let hurries = self.pace.hurries.load(Ordering::Relaxed);
        self.job.spec.fast_interval.filter(|_| hurries)
    }
}

/// An interval that is longer or shorter by up to so many per cent; as often the one as the other, so that the rate stays what was
/// asked for.
fn varied(interval: Duration, jitter: u8, draw: u64) -> Duration {
    if jitter == 0 {
        return interval;
    }
    interval.mul_f64(1.0 + f64::from(jitter) / 100.0 * (2.0 * share(draw) - 1.0))
}

fn draw(key: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    // DefaultHasher's keys are fixed: the same backend has the same moment each time.
    hasher.finish()
}

/// From 0 to 1.
fn share(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
