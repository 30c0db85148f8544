//! When to try again: at once after a long life, later and later after short ones.

use std::time::{Duration, Instant};

/// A life shorter than this is a sign of trouble.
const SHORT_LIFE: Duration = Duration::from_secs(10);

const DELAYS_MS: [u64; 7] = [0, 100, 200, 500, 1_000, 2_000, 5_000];

/// So many short lives in a row, none of which got ready, and the node counts as failed.
const HOPELESS: usize = 5;

/// Counts short lives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    short_lives: usize,
    never_ready: usize,
}

/// Whether a process had come so far as to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    Ready,
    Starting,
}

impl Backoff {
    /// A life that began at `born` has ended; returns how long to wait before the next.
    pub(crate) fn died(&mut self, born: Instant, now: Instant, reached: Reached) -> Duration {
        self.never_ready = if reached == Reached::Ready { 0 } else { self.never_ready + 1 };
        if SHORT_LIFE <= now.saturating_duration_since(born) {
            self.short_lives = 0;
        }
        let delay = DELAYS_MS[self.short_lives.min(DELAYS_MS.len() - 1)];
        self.short_lives += 1;
        Duration::from_millis(delay)
    }

    /// Whether it looks as if it would never work.
    pub(crate) fn is_hopeless(self) -> bool {
        HOPELESS <= self.never_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lives_are_waited_for_longer_and_longer() {
        let (born, mut backoff) = (Instant::now(), Backoff::default());
        let delays: Vec<_> = (0..8).map(|_| backoff.died(born, born, Reached::Ready).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 500, 1000, 2000, 5000, 5000]);
        assert_eq!(backoff.died(born, born + SHORT_LIFE, Reached::Ready), Duration::ZERO);
        assert!(!backoff.is_hopeless());
        for _ in 0..HOPELESS {
            backoff.died(born, born, Reached::Starting);
        }
        assert!(backoff.is_hopeless());
        backoff.died(born, born, Reached::Ready);
        assert!(!backoff.is_hopeless());
    }
}
