//! Whether an upstream gets requests, by what probes and requests have met there.
//!
//! | state     | gets requests | until                                                                      |
//! |-----------|---------------|----------------------------------------------------------------------------|
//! | starting  | no            | the first probe passes                                                     |
//! | ready     | yes           | `fall` probes fail in a row, or [`FAILURES`] requests in a row             |
//! | unhealthy | no            | `rise` probes pass in a row                                                |
//! | ejected   | no            | its time is over: 1 s, twice as long each time up to 30 s; then it is tried |
//!
//! Invariant: an answer of the upstream, whatever its status, is no failure: what an application says is not its death.

use std::time::{Duration, Instant};

/// So many failures in a row eject.
const FAILURES: u32 = 5;

const EJECTED_FIRST: Duration = Duration::from_secs(1);
const EJECTED_MOST: Duration = Duration::from_secs(30);

/// How probes are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// So many in a row have to fail.
    pub fall: u32,
    /// So many in a row have to pass, the very first time one.
    pub rise: u32,
}

/// What an upstream is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// No probe has passed yet.
    Starting,
    /// It gets requests.
    Ready,
    /// Probes fail.
    Unhealthy,
    /// Requests have failed.
    Ejected {
        /// When it is tried again.
        until: Instant,
    },
}

/// What follows from something that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// It gets requests from now on.
    Up,
    /// It gets none, as probes fail.
    Down,
    /// It gets none for so long, as requests have failed; unless it is the last: then [`Health::spare`].
    Eject(Duration),
}

/// The health of one upstream.
#[derive(Clone, Debug)]
pub struct Health {
    rules: HealthRules,
    state: HealthState,
    /// Probes in a row that speak against the state.
    against: u32,
    /// Requests in a row that have failed.
    failures: u32,
    ejections: u32,
}

impl Health {
    /// Of an upstream of which nothing is known.
    pub fn new(rules: HealthRules) -> Self {
        Self { rules, state: HealthState::Starting, against: 0, failures: 0, ejections: 0 }
    }

    /// Its state.
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// A probe has passed or failed.
    pub fn probed(&mut self, passed: bool) -> Option<HealthChange> {
        let speaks_for_it = !matches!(self.state, HealthState::Starting | HealthState::Unhealthy);
        if passed == speaks_for_it {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = match self.state {
            HealthState::Starting => 1,
            HealthState::Unhealthy => self.rules.rise,
            HealthState::Ready | HealthState::Ejected { .. } => self.rules.fall,
        };
        if self.against < enough {
            return None;
        }
        self.against = 0;
        self.failures = 0;
        self.state = if passed { HealthState::Ready } else { HealthState::Unhealthy };
        Some(if passed { HealthChange::Up } else { HealthChange::Down })
    }

    /// A request could not be brought there, or its connection ended without an answer.
    pub fn failed(&mut self, now: Instant) -> Option<HealthChange> {
        self.failures = self.failures.saturating_add(1);
        if self.state != HealthState::Ready || self.failures < FAILURES {
            return None;
        }
        let lasts = EJECTED_FIRST.saturating_mul(1 << self.ejections.min(5)).min(EJECTED_MOST);
        self.ejections += 1;
        self.state = HealthState::Ejected { until: now + lasts };
        Some(HealthChange::Eject(lasts))
    }

    /// A request was answered.
    pub fn answered(&mut self) {
        (self.failures, self.ejections) = (0, 0);
    }

    /// It is the last one: it is not ejected after all.
    pub fn spare(&mut self) {
        if matches!(self.state, HealthState::Ejected { .. }) {
            self.state = HealthState::Ready;
            self.ejections = self.ejections.saturating_sub(1);
            self.failures = 0;
        }
    }

    /// Looks whether an ejection is over. One more failure is enough then for the next.
    pub fn look(&mut self, now: Instant) -> Option<HealthChange> {
        match self.state {
            HealthState::Ejected { until } if until <= now => {
                self.state = HealthState::Ready;
                self.failures = FAILURES - 1;
                Some(HealthChange::Up)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HealthRules = HealthRules { fall: 3, rise: 2 };

    #[test]
    fn probes_in_a_row_decide() {
        use HealthChange::{Down, Up};
        let mut health = Health::new(RULES);
        for (nth, (passed, expected)) in [
            (false, None),
            (true, Some(Up)),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(Down)),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(Up)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(health.probed(passed), expected, "{nth}");
        }
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time_until_one_is_answered() {
        let (mut health, mut now) = (Health::new(RULES), Instant::now());
        health.probed(true);
        for _ in 1..FAILURES {
            assert_eq!(health.failed(now), None);
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let lasts = Duration::from_secs(seconds);
            assert_eq!(health.failed(now), Some(HealthChange::Eject(lasts)));
            assert_eq!(health.look(now + lasts - Duration::from_millis(1)), None);
            now += lasts;
            assert_eq!(health.look(now), Some(HealthChange::Up));
        }
        health.answered();
        assert_eq!(health.failed(now), None);
    }

    #[test]
    fn the_last_one_is_spared() {
        let (mut health, now) = (Health::new(RULES), Instant::now());
        health.probed(true);
        (1..FAILURES).for_each(|_| assert_eq!(health.failed(now), None));
        assert!(health.failed(now).is_some());
        health.spare();
        assert_eq!((health.state(), health.failed(now)), (HealthState::Ready, None));
    }
}
