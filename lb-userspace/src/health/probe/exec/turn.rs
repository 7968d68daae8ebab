//! Whose turn it is: commands that take their time must not take the host, so that only some run at once.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::super::ProbeError;
use crate::config::CheckKind;

/// Who has no turn for so long is told so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who has its turn so late is probed more seldom than it should be, and how long that is remembered.
const LATE: Duration = Duration::from_secs(1);
const MEMORY: Duration = Duration::from_secs(60);

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Turns::new((2 * cores).max(4))
});

/// How many commands may run at once.
struct Turns {
    all: usize,
    free: Semaphore,
    late: Mutex<Option<Late>>,
}

/// How long commands have lately had to wait for their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Late {
    at: Instant,
    waited: Duration,
}

impl Late {
    /// With one more that has waited for so long.
    fn with(before: Option<Self>, waited: Duration, now: Instant) -> Option<Self> {
        let before = before.filter(|late| late.is_of(now));
        match before {
            Some(late) if late.waited > waited => before,
            before if waited < LATE => before,
            _ => Some(Self { at: now, waited }),
        }
    }

    /// Whether it is remembered still.
    fn is_of(self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < MEMORY
    }
}

/// What there is to say of the last minute, if commands had to wait for long.
#[must_use]
pub fn late_turns(now: Instant) -> Option<String> {
    let late = *TURNS.late.lock().unwrap_or_else(PoisonError::into_inner);
    late.filter(|late| late.is_of(now))
        .map(|late| told(late.waited, TURNS.all))
}

impl Turns {
    fn new(all: usize) -> Self {
        Self {
            all,
            free: Semaphore::new(all),
            late: Mutex::new(None),
        }
    }

    async fn next(&'static self) -> Permit {
        let asked = Instant::now();
        // Nobody closes it.
        let turn = self.free.acquire().await.ok();
        self.note(asked.elapsed(), Instant::now());
        Permit { _turn: turn }
    }

    fn note(&self, waited: Duration, now: Instant) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let before = late.filter(|late| late.is_of(now));
        *late = Late::with(before, waited, now);
        if before.is_none() && late.is_some() {
            log::warn!("{}", told(waited, self.all));
        }
    }

    /// The same each time: what changes would be news.
    fn none(&self) -> ProbeError {
        let all = self.all;
        ProbeError::ours(format!(
            "no turn: {all} commands run already, which is the most: raise the interval of exec checks, or lower their timeout"
        ))
    }
}

/// What it means that commands wait so long, of which so many may run at once.
fn told(waited: Duration, all: usize) -> String {
    let waited = waited.as_secs_f64();
    format!(
        "commands of exec checks have waited {waited:.1} s for their turn, as {all} run at once at most: their backends are probed more seldom than they should be: raise the interval of exec checks, or lower their timeout"
    )
}

/// That a probe may begin. Over when dropped.
#[derive(Debug)]
pub struct Permit {
    _turn: Option<SemaphorePermit<'static>>,
}

impl Permit {
    /// Commands have theirs in the order in which they ask, and each ends with its timeout; any other probe has its own at once.
    pub fn of(kind: &CheckKind) -> impl Future<Output = Self> + use<> {
        let is_command = matches!(kind, CheckKind::Exec { .. });
        async move {
            if is_command {
                TURNS.next().await
            } else {
                Self { _turn: None }
            }
        }
    }

    /// The same, if it comes within ten seconds. Who has not had it by then may wait on, and keeps its place.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn soon(permit: impl Future<Output = Self>) -> Result<Self, ProbeError> {
        Self::within(PATIENCE, permit).await
    }

    async fn within(limit: Duration, permit: impl Future<Output = Self>) -> Result<Self, ProbeError> {
        timeout(limit, permit).await.map_err(|_| TURNS.none())
    }
}

#[cfg(test)]
pub mod tests {
    use std::pin::pin;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    /// How many commands may run at once.
    pub fn all() -> usize {
        TURNS.all
    }

    #[tokio::test]
    async fn turns_come_in_order_and_who_has_none_keeps_its_place() {
        let turns: &'static Turns = Box::leak(Box::new(Turns::new(1)));
        let taken = turns.next().await;
        let (mut first, mut second) = (pin!(turns.next()), pin!(turns.next()));
        let none = Permit::within(MOMENT, &mut first).await.unwrap_err();
        Permit::within(MOMENT, &mut second).await.unwrap_err();
        assert!(none.is_ours());
        assert!(none.to_string().starts_with("no turn: "), "{none}");
        // Another reason would be another event.
        let again = Permit::within(2 * MOMENT, &mut first).await.unwrap_err();
        assert_eq!(again, none);
        drop(taken);
        Permit::within(MOMENT, &mut second).await.unwrap_err();
        let taken = Permit::soon(first).await.unwrap();
        drop(taken);
        Permit::soon(second).await.unwrap();
    }

    #[test]
    fn the_longest_wait_of_the_last_minute_is_remembered() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(Late::with(None, second / 2, now), None);
        let long = Late::with(None, 18 * second, now);
        assert_eq!(long.map(|late| late.waited), Some(18 * second));
        assert_eq!(Late::with(long, 2 * second, now + second), long);
        assert_eq!(Late::with(long, Duration::ZERO, now + second), long);
        let later = now + MEMORY;
        assert_eq!(Late::with(long, Duration::ZERO, later), None);
        assert_eq!(
            Late::with(long, 2 * second, later),
            Some(Late {
                at: later,
                waited: 2 * second
            })
        );
    }

    #[tokio::test]
    async fn what_is_no_command_waits_for_nobody() {
        let permit = Permit::within(Duration::ZERO, Permit::of(&CheckKind::TCP)).await;
        assert!(permit.unwrap()._turn.is_none());
    }
}
