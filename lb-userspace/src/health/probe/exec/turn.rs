//! Whose turn it is: commands that take their time must not take the host, so that only some run at once.

use std::{sync::LazyLock, thread, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::super::ProbeError;
use crate::config::CheckKind;

/// Who has no turn for so long is told so.
const PATIENCE: Duration = Duration::from_secs(10);

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Turns::new((2 * cores).max(4))
});

/// How many commands may run at once.
struct Turns {
    all: usize,
    free: Semaphore,
}

impl Turns {
    fn new(all: usize) -> Self {
        let free = Semaphore::new(all);
        Self { all, free }
    }

    async fn next(&'static self) -> Permit {
        // Nobody closes it.
        let turn = self.free.acquire().await.ok();
        Permit { _turn: turn }
    }

    /// The same each time: what changes would be news.
    fn none(&self) -> ProbeError {
        let all = self.all;
        ProbeError::ours(format!(
            "no turn: {all} commands run already, which is the most: raise the interval of exec checks, or lower their timeout"
        ))
    }
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

    #[tokio::test]
    async fn what_is_no_command_waits_for_nobody() {
        let permit = Permit::within(Duration::ZERO, Permit::of(&CheckKind::TCP)).await;
        assert!(permit.unwrap()._turn.is_none());
    }
}
