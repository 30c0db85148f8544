//! When a container that is told to stop does what: it goes on accepting for a while, as whoever sends it requests learns of
//! the stop a little later than the container; then it finishes what it has.
//!
//! | step    | until                                                                                            |
//! |---------|--------------------------------------------------------------------------------------------------|
//! | notice  | every edge that is attached has said that it sends nothing more; at the latest, `notice` after the word to stop |
//! | drain   | all is finished; at the latest, `drain` after the notice, and [`Farewell::RESERVE`] before the platform kills    |
//!
//! Invariant: a notice that edges end early has lasted [`Farewell::LEAST`], as there may be balancers that are none of ours.

use std::time::{Duration, Instant};

/// A stop under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// When it was told to stop.
    pub began: Instant,
    /// How long it goes on accepting at most.
    pub notice: Duration,
    /// How long what it has may take after that.
    pub drain: Duration,
    /// When the platform kills it, counted from the beginning.
    pub grace: Duration,
}

/// The edges that send requests over links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// How many there are.
    pub attached: u32,
    /// How many of them have said that they send nothing more.
    pub acknowledged: u32,
}

impl Farewell {
    /// A notice lasts so long, whoever has acknowledged it.
    pub const LEAST: Duration = Duration::from_millis(200);
    /// What ending takes after the last request: workers go, the log is written.
    pub const RESERVE: Duration = Duration::from_secs(1);

    /// When it stops accepting, as things are with the edges.
    pub fn notice_ends(&self, edges: Edges) -> Instant {
        let all = 0 < edges.attached && edges.attached <= edges.acknowledged;
        self.began + if all { Self::LEAST.min(self.notice) } else { self.notice }
    }

    /// How long what it has may take from `now` on.
    pub fn drain_limit(&self, now: Instant) -> Duration {
        let left = self.grace.saturating_sub(Self::RESERVE).saturating_sub(now.saturating_duration_since(self.began));
        // Nobody wants to read of microseconds.
        let left = Duration::from_millis(u64::try_from(left.as_millis() / 100 * 100).unwrap_or(u64::MAX));
        self.drain.min(left)
    }

    /// What is left for the drain after the whole notice, where that is less than wanted.
    pub fn shortened(&self) -> Option<Duration> {
        let left = self.drain_limit(self.began + self.notice);
        (left < self.drain).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell(notice: u64, drain: u64, grace: u64) -> Farewell {
        let seconds = Duration::from_secs;
        Farewell { began: Instant::now(), notice: seconds(notice), drain: seconds(drain), grace: seconds(grace) }
    }

    #[test]
    fn a_notice_ends_when_every_edge_knows_and_not_at_once() {
        let usual = farewell(2, 30, 10);
        let short = Farewell { notice: Duration::from_millis(100), ..usual };
        for (farewell, attached, acknowledged, expected) in [
            (usual, 0, 0, 2000),
            (usual, 1, 0, 2000),
            (usual, 2, 1, 2000),
            (usual, 1, 1, 200),
            (usual, 2, 2, 200),
            // One that has acknowledged it and gone.
            (usual, 1, 2, 200),
            (usual, 0, 1, 2000),
            (short, 1, 1, 100),
        ] {
            let ends = farewell.notice_ends(Edges { attached, acknowledged });
            assert_eq!(ends - farewell.began, Duration::from_millis(expected), "{attached} {acknowledged}");
        }
    }

    #[test]
    fn the_drain_ends_before_the_platform_kills() {
        for (notice, drain, grace, at, expected) in [
            (2, 30, 10, 2000, 7000),
            (2, 30, 10, 2001, 6900),
            (2, 30, 60, 2000, 30_000),
            (2, 5, 10, 2000, 5000),
            (2, 5, 10, 0, 5000),
            (2, 30, 10, 200, 8800),
            (2, 30, 3, 2000, 0),
            (2, 30, 10, 60_000, 0),
            (2, 0, 10, 2000, 0),
        ] {
            let farewell = farewell(notice, drain, grace);
            let limit = farewell.drain_limit(farewell.began + Duration::from_millis(at));
            assert_eq!(limit, Duration::from_millis(expected), "{farewell:?} at {at}");
        }
    }

    #[test]
    fn a_drain_that_has_less_than_is_wanted_is_known_before() {
        assert_eq!(farewell(2, 30, 10).shortened(), Some(Duration::from_secs(7)));
        assert_eq!(farewell(2, 7, 10).shortened(), None);
        assert_eq!(farewell(2, 30, 33).shortened(), None);
        assert_eq!(farewell(2, 30, 32).shortened(), Some(Duration::from_secs(29)));
    }
}
