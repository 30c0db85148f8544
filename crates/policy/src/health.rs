//! Whether an upstream gets requests, by what probes and requests have met there; the breaker of each upstream.
//!
//! | state     | gets requests | until                                                                      |
//! |-----------|---------------|----------------------------------------------------------------------------|
//! | starting  | no            | the first probe passes                                                     |
//! | ready     | yes           | `fall` probes fail in a row; [`FAILURES`] requests in a row or half of the last [`RECENT`] |
//! | unhealthy | no            | `rise` probes pass in a row                                                |
//! | ejected   | no            | its time is over: 1 s, twice as long each time up to 30 s                  |
//! | trial     | one           | that one is answered, or fails; another after [`TRIAL_EVERY`]              |
//!
//! In the words of breakers: ready is closed, ejected open, trial half-open.
//!
//! Invariant: what an application says is not its death. Of answers, only 502, 503 and 504 are faults: by them a server says
//! that what it asks in its turn has not answered.

use std::time::{Duration, Instant};

/// So many failures in a row eject.
const FAILURES: u32 = 5;

/// Half of so many, in any order, do so too.
const RECENT: u32 = u32::BITS;

const EJECTED_FIRST: Duration = Duration::from_secs(1);
const EJECTED_MOST: Duration = Duration::from_secs(30);

/// So often a request is tried while the one before has not shown anything.
const TRIAL_EVERY: Duration = Duration::from_secs(1);

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
        /// What was the last that failed.
        fault: Fault,
    },
    /// It gets one request, to see how it is.
    Trial {
        /// When it gets another.
        until: Instant,
    },
}

/// How a request has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It could not be brought there, or its connection ended without an answer, or with what is none.
    Connection,
    /// It was answered 502, 503 or 504, or not in time. All may be so at once for the same reason, as they ask the same
    /// database: then it would be wrong to leave the last of them alone with all requests.
    Answer,
}

impl Fault {
    /// What an answer with this status says of the upstream.
    pub fn of_status(status: u16) -> Option<Self> {
        matches!(status, 502..=504).then_some(Self::Answer)
    }
}

/// What follows from something that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// It gets requests from now on.
    Up,
    /// It gets none, as probes fail.
    Down,
    /// It gets none for so long, as requests have failed; unless it is one of the last: then [`Health::spare`].
    Eject(Duration),
    /// It gets one request.
    Try,
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
    /// How the last [`RECENT`] requests have ended, the latest first; a bit for each that has failed.
    recent: u32,
    /// Answers in a row.
    answers: u32,
    ejections: u32,
}

impl Health {
    /// Of an upstream of which nothing is known.
    pub fn new(rules: HealthRules) -> Self {
        Self { rules, state: HealthState::Starting, against: 0, failures: 0, recent: 0, answers: 0, ejections: 0 }
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
            HealthState::Ready | HealthState::Ejected { .. } | HealthState::Trial { .. } => self.rules.fall,
        };
        if self.against < enough {
            return None;
        }
        self.against = 0;
        (self.failures, self.recent) = (0, 0);
        self.state = if passed { HealthState::Ready } else { HealthState::Unhealthy };
        Some(if passed { HealthChange::Up } else { HealthChange::Down })
    }

    /// A request has failed.
    pub fn failed(&mut self, now: Instant, fault: Fault) -> Option<HealthChange> {
        self.failures = self.failures.saturating_add(1);
        self.recent = (self.recent << 1) | 1;
        self.answers = 0;
        let enough = match self.state {
            HealthState::Ready => FAILURES <= self.failures || RECENT / 2 <= self.recent.count_ones(),
            HealthState::Trial { .. } => true,
            HealthState::Starting | HealthState::Unhealthy | HealthState::Ejected { .. } => false,
        };
        if !enough {
            return None;
        }
        let lasts = EJECTED_FIRST.saturating_mul(1 << self.ejections.min(5)).min(EJECTED_MOST);
        self.ejections += 1;
        self.state = HealthState::Ejected { until: now + lasts, fault };
        Some(HealthChange::Eject(lasts))
    }

    /// A request was answered.
    pub fn answered(&mut self) -> Option<HealthChange> {
        self.failures = 0;
        self.recent <<= 1;
        self.answers = self.answers.saturating_add(1);
        if RECENT <= self.answers {
            self.ejections = 0;
        }
        if let HealthState::Trial { .. } = self.state {
            self.state = HealthState::Ready;
            self.recent = 0;
            return Some(HealthChange::Up);
        }
        None
    }

    /// Whether nothing has failed of late: another answer changes nothing then.
    pub fn is_clean(&self) -> bool {
        self.recent == 0 && self.ejections == 0 && self.state == HealthState::Ready
    }

    /// Whether the last request was answered.
    pub fn has_answered(&self) -> bool {
        0 < self.answers
    }

    /// It is one of the last: it is not ejected after all.
    pub fn spare(&mut self) {
        if matches!(self.state, HealthState::Ejected { .. }) {
            self.state = HealthState::Ready;
            self.ejections = self.ejections.saturating_sub(1);
            (self.failures, self.recent) = (0, 0);
        }
    }

    /// Looks whether an ejection is over.
    pub fn look(&mut self, now: Instant) -> Option<HealthChange> {
        match self.state {
            HealthState::Ejected { until, .. } | HealthState::Trial { until } if until <= now => {
                self.state = HealthState::Trial { until: now + TRIAL_EVERY };
                Some(HealthChange::Try)
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

    fn ready() -> (Health, Instant) {
        let mut health = Health::new(RULES);
        health.probed(true);
        (health, Instant::now())
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time_and_one_request_shows_whether_it_is_well() {
        let (mut health, mut now) = ready();
        for _ in 1..FAILURES {
            assert_eq!(health.failed(now, Fault::Connection), None);
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let lasts = Duration::from_secs(seconds);
            assert_eq!(health.failed(now, Fault::Connection), Some(HealthChange::Eject(lasts)));
            assert_eq!(health.failed(now, Fault::Connection), None, "what was on its way says nothing new");
            assert_eq!(health.look(now + lasts - Duration::from_millis(1)), None);
            now += lasts;
            assert_eq!(health.look(now), Some(HealthChange::Try));
            assert_eq!(health.look(now), None, "one");
        }
        // A client that leaves shows nothing: another one is tried.
        now += TRIAL_EVERY;
        assert_eq!(health.look(now), Some(HealthChange::Try));
        assert_eq!((health.answered(), health.state()), (Some(HealthChange::Up), HealthState::Ready));
        for _ in 1..FAILURES {
            assert_eq!(health.failed(now, Fault::Connection), None);
        }
        assert_eq!(health.failed(now, Fault::Answer), Some(HealthChange::Eject(Duration::from_secs(30))));
        now += Duration::from_secs(30);
        assert_eq!((health.look(now), health.answered()), (Some(HealthChange::Try), Some(HealthChange::Up)));
        (0..RECENT).for_each(|_| assert_eq!(health.answered(), None));
        assert!(health.is_clean());
        let ejected = (0..FAILURES).find_map(|_| health.failed(now, Fault::Connection));
        assert_eq!(ejected, Some(HealthChange::Eject(Duration::from_secs(1))), "that was long ago");
    }

    #[test]
    fn half_of_the_last_requests_eject_too_and_a_third_does_not() {
        for (every, ejected) in [(2, true), (3, false)] {
            let (mut health, now) = ready();
            let met = (0..300).find_map(|number| match number % every {
                0 => health.failed(now, Fault::Answer),
                _ => health.answered(),
            });
            assert_eq!(met.is_some(), ejected, "one of {every}");
        }
    }

    #[test]
    fn only_gateways_answers_are_faults() {
        let faults = (100..600).filter(|status| Fault::of_status(*status).is_some());
        assert_eq!(faults.collect::<Vec<_>>(), [502, 503, 504]);
    }

    #[test]
    fn the_last_one_is_spared() {
        let (mut health, now) = ready();
        (1..FAILURES).for_each(|_| assert_eq!(health.failed(now, Fault::Connection), None));
        assert!(health.failed(now, Fault::Connection).is_some());
        health.spare();
        assert_eq!((health.state(), health.failed(now, Fault::Connection)), (HealthState::Ready, None));
    }
}
