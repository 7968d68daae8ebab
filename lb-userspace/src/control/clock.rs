//! The monotonic clock, which tests set forward.

#[must_use]
#[cfg(not(test))]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
pub use ahead::{advance, now};

#[cfg(test)]
mod ahead {
    use std::{
        cell::Cell,
        time::{Duration, Instant},
    };

    thread_local! {
        static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    #[must_use]
    pub fn now() -> Instant {
        Instant::now() + AHEAD.get()
    }

    /// Sets the clock of this thread's tests forward.
    pub fn advance(by: Duration) {
        AHEAD.set(AHEAD.get() + by);
    }
}
