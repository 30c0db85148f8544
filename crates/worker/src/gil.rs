//! How long somebody of ours has waited for the GIL, to tell when it is stuck.
//!
//! Invariant: one waiter at a time notes itself here; it is told of once for each wait.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The GIL is said to be stuck when it was not to be had for so long. CPython takes it away from Python code after
/// milliseconds, so whoever holds it is inside C.
const STUCK: Duration = Duration::from_secs(1);

/// One waiter.
#[derive(Debug, Default)]
pub(crate) struct GilWait(Mutex<Option<Instant>>);

impl GilWait {
    /// It waits from now on.
    pub(crate) fn begin(&self) {
        *self.since() = Some(Instant::now());
    }

    /// It has the GIL.
    pub(crate) fn end(&self) {
        *self.since() = None;
    }

    /// Whether it waits, and that has not been told yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.since().is_some()
    }

    /// True once when it has waited for very long at `now`, and nobody else has had a turn meanwhile: among hundreds of
    /// threads one can be unlucky.
    pub(crate) fn is_stuck(&self, now: Instant, turned: Instant) -> bool {
        let long_ago = |then| STUCK <= now.saturating_duration_since(then);
        self.since().take_if(|since| long_ago(*since) && long_ago(turned)).is_some()
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
