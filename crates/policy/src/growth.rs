//! How many requests an application may have in flight, once more of them only add latency.
//!
//! A database that can answer 20 queries at a time answers no sooner when 500 requests ask it; they only hold threads and
//! connections. That cannot be read from latency alone (a handler may simply wait for something slow), so it is tried.
//! Latency here is that of the quicker requests ([`QUICK`]): slow handlers that join quick ones raise the mean, and holding
//! requests back would only make the quick ones wait for the slow.
//!
//! | phase    | goes on when                                                                  | to       |
//! |----------|-------------------------------------------------------------------------------|----------|
//! | Free     | half the concurrency has had the same throughput, and latency is [`WORSE`]     | Lowering |
//! | Lowering | throughput holds with fewer in flight (and lower is worth trying)              | Lowering |
//! | Lowering | throughput holds, and latency is about what it was at its best                 | Held     |
//! | Lowering | throughput falls: the last bound that held counts, or none                     | Held, Free |
//! | Held     | from time to time                                                              | Raising  |
//! | Held     | few requests are wanted                                                        | Free     |
//! | Raising  | throughput rises                                                               | Raising  |
//! | Raising  | throughput does not rise: back to the bound before                             | Held     |
//!
//! Invariants: a bound that costs throughput is taken back after one window; what was tried in vain is tried again later
//! and later. It counts, and is told the time; it neither waits nor measures by itself.

use std::time::{Duration, Instant};

/// Latency that is so many times the best is reason enough to try.
const WORSE: f64 = 4.0;

/// The latency that this part of the requests does not exceed is what counts.
const QUICK: f64 = 0.1;

/// Below so many in flight there is nothing worth saving.
const FEW: f64 = 32.0;

/// A window is at least so long, has at least so many ends of requests to judge by, and holds whole requests (it is not
/// shorter than their latency), or it is given up.
const WINDOW: Duration = Duration::from_secs(1);
const ENDS: f64 = 20.0;
const WINDOW_MOST: Duration = Duration::from_secs(15);

/// Each step down and up.
const DOWN: f64 = 0.7;
const UP: f64 = 1.4;

/// Throughput has fallen or risen when it differs by so much, and by what chance does not explain.
const DIFFERENCE: f64 = 0.05;
const DEVIATIONS: f64 = 2.0;

/// The concurrency of two windows is about the same.
const STEADY: f64 = 0.25;

/// How long after something that did not help it is tried again; doubled each time.
const PAUSE: Duration = Duration::from_secs(15);
const PAUSE_MOST: Duration = Duration::from_secs(600);

/// What was seen of an application at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Requests that workers have.
    pub in_flight: u32,
    /// Requests that wait in the queue.
    pub queued: u32,
}

/// A decision, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowthChange {
    /// From now on at most so many in flight: more had only added latency.
    Bounded(u32),
    /// The bound is gone.
    Freed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Free,
    /// `before` is the bound that held, and its throughput.
    Lowering {
        before: Option<f64>,
        throughput: Throughput,
    },
    Held,
    Raising {
        before: f64,
        throughput: Throughput,
    },
}

/// A stretch of time over which is judged.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    /// Not judged until then: what was in flight before ends first.
    settled: Instant,
    in_flight: f64,
    wanted: f64,
    sights: u32,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug)]
struct Finding {
    in_flight: f64,
    wanted: f64,
    throughput: Throughput,
    /// How long a request was in flight on average (Little's law), in seconds.
    mean: f64,
    /// The latency of the quicker requests, in seconds.
    latency: f64,
}

/// Ends a second, as counted over so many seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Throughput {
    rate: f64,
    seconds: f64,
}

impl Throughput {
    fn is_below(self, other: Self) -> bool {
        // A count varies by its square root.
        let chance = (self.rate / self.seconds + other.rate / other.seconds).sqrt();
        self.rate < other.rate * (1.0 - DIFFERENCE) - DEVIATIONS * chance
    }
}

/// The bound of one application.
#[derive(Clone, Debug)]
pub struct Growth {
    phase: Phase,
    bound: Option<f64>,
    window: Option<Window>,
    durations: Durations,
    /// The concurrency of the window before.
    before: f64,
    /// The best latency of late.
    best: Option<f64>,
    /// The throughput when it was last seen, by the binary logarithm of the concurrency.
    by_level: [f64; 16],
    not_before: Option<Instant>,
    pause: Duration,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            phase: Phase::Free,
            bound: None,
            window: None,
            durations: Durations::default(),
            before: 0.0,
            best: None,
            by_level: [0.0; 16],
            not_before: None,
            pause: PAUSE,
        }
    }
}

impl Growth {
    /// How many may be in flight, if that is bounded.
    pub fn bound(&self) -> Option<u32> {
        self.bound.map(whole)
    }

    /// A request has ended that ran for so long.
    pub fn ended(&mut self, took: Duration) {
        self.durations.count(took);
    }

    /// To be called a few times a second. What has been decided, when that changes anything for long.
    pub fn look(&mut self, now: Instant, sight: Sight) -> Option<GrowthChange> {
        let finding = self.observe(now, sight)?;
        let (bound, held) = (self.bound, self.phase);
        self.judge(now, finding);
        if self.bound != bound {
            // What is in flight under the old bound comes to its end first.
            let settle = WINDOW.max(Duration::from_secs_f64(finding.mean.min(10.0)));
            self.window = Some(Window::new(now, now + settle));
        }
        match (held, self.phase) {
            (Phase::Lowering { .. } | Phase::Raising { .. }, Phase::Held) => self.bound().map(GrowthChange::Bounded),
            (Phase::Lowering { before: Some(_), .. } | Phase::Held | Phase::Raising { .. }, Phase::Free) => {
                Some(GrowthChange::Freed)
            }
            _ => None,
        }
    }

    fn observe(&mut self, now: Instant, sight: Sight) -> Option<Finding> {
        let window = self.window.get_or_insert_with(|| {
            self.durations = Durations::default();
            Window::new(now, now)
        });
        if now < window.settled {
            window.began = now;
            self.durations = Durations::default();
            return None;
        }
        window.sights += 1;
        window.in_flight += f64::from(sight.in_flight);
        window.wanted += f64::from(sight.in_flight + sight.queued);
        let (age, ends) = (now.saturating_duration_since(window.began), self.durations.total());
        let (seconds, sights) = (age.as_secs_f64(), f64::from(window.sights));
        let throughput = Throughput { rate: ends / seconds, seconds };
        let in_flight = window.in_flight / sights;
        let mean = if ends < ENDS { f64::INFINITY } else { in_flight / throughput.rate };
        if age < WINDOW || (seconds < mean && age < WINDOW_MOST) {
            return None;
        }
        let window = *window;
        self.window = Some(Window::new(now, now));
        let latency = std::mem::take(&mut self.durations).quantile(QUICK);
        Some(Finding { in_flight, wanted: window.wanted / sights, throughput, mean, latency })
    }

    fn judge(&mut self, now: Instant, finding: Finding) {
        if finding.mean.is_infinite() {
            // Too little has ended to tell anything: nothing is tried, and what was being tried is taken back.
            self.give_up_trial(now);
            return;
        }
        match self.phase {
            Phase::Free => {
                let due = self.not_before.is_none_or(|at| at <= now);
                let steady = (finding.in_flight - self.before).abs() <= self.before * STEADY;
                if due && steady && self.adds_only_latency(finding) {
                    self.phase = Phase::Lowering { before: None, throughput: finding.throughput };
                    self.bound = Some(finding.in_flight * DOWN);
                }
                self.before = finding.in_flight;
                self.remember(finding);
            }
            Phase::Lowering { before, throughput } => self.lowered(now, finding, before, throughput),
            Phase::Held => self.held(now, finding),
            Phase::Raising { before, throughput } => {
                if !throughput.is_below(finding.throughput) {
                    self.bound = Some(before);
                    self.hold(now);
                } else if self.is_wanted(finding) {
                    self.raise(finding);
                } else {
                    self.hold(now);
                }
            }
        }
    }

    /// Less than what is in flight has had the same throughput of late, at a fraction of the latency.
    fn adds_only_latency(&self, finding: Finding) -> bool {
        let worse = self.best.is_some_and(|best| best * WORSE <= finding.latency);
        let lower = &self.by_level[..level(finding.in_flight)];
        worse
            && FEW <= finding.in_flight
            && lower.iter().any(|known| finding.throughput.rate * (1.0 - DIFFERENCE) <= *known)
    }

    fn lowered(&mut self, now: Instant, finding: Finding, before: Option<f64>, throughput: Throughput) {
        let bound = self.bound.unwrap_or(f64::INFINITY);
        if finding.throughput.is_below(throughput) && self.is_wanted(finding) {
            // What is slow is slow for another reason. Once nothing was gained, this latency is the usual one.
            self.bound = before;
            match before {
                Some(_) => self.hold(now),
                None => {
                    self.best = None;
                    self.by_level = [0.0; 16];
                    self.free(now);
                }
            }
        } else if FEW < bound && self.best.is_some_and(|best| 2.0 * best < finding.latency) {
            self.phase = Phase::Lowering { before: Some(bound), throughput };
            self.bound = Some(bound * DOWN);
        } else {
            self.pause = PAUSE;
            self.hold(now);
        }
    }

    fn held(&mut self, now: Instant, finding: Finding) {
        if !self.is_wanted(finding) {
            // Nothing is held back by it; if it is ever wanted again it will be found again.
            self.bound = None;
            self.pause = PAUSE;
            self.free(now);
        } else if self.not_before.is_none_or(|at| at <= now) {
            self.raise(finding);
        }
    }

    fn raise(&mut self, finding: Finding) {
        let before = self.bound.unwrap_or(finding.in_flight);
        self.phase = Phase::Raising { before, throughput: finding.throughput };
        self.bound = Some(before * UP);
    }

    fn hold(&mut self, now: Instant) {
        self.phase = Phase::Held;
        self.wait(now);
    }

    fn free(&mut self, now: Instant) {
        self.phase = Phase::Free;
        self.wait(now);
    }

    fn wait(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MOST);
    }

    fn give_up_trial(&mut self, now: Instant) {
        match self.phase {
            Phase::Free | Phase::Held => {}
            Phase::Lowering { before: None, .. } => {
                self.bound = None;
                self.free(now);
            }
            Phase::Lowering { before: Some(before), .. } | Phase::Raising { before, .. } => {
                self.bound = Some(before);
                self.hold(now);
            }
        }
    }

    /// More requests are there than the bound lets through.
    fn is_wanted(&self, finding: Finding) -> bool {
        self.bound.is_some_and(|bound| bound * 0.8 <= finding.wanted)
    }

    fn remember(&mut self, finding: Finding) {
        // Applications change: the best is forgotten in time. What is remembered wrongly costs one trial.
        self.best = Some(self.best.map_or(finding.latency, |best| finding.latency.min(best * 1.01)));
        let known = &mut self.by_level[level(finding.in_flight)];
        *known = if *known == 0.0 { finding.throughput.rate } else { (*known + finding.throughput.rate) / 2.0 };
    }
}

impl Window {
    fn new(now: Instant, settled: Instant) -> Self {
        Self { began: now, settled, in_flight: 0.0, wanted: 0.0, sights: 0 }
    }
}

/// How long requests ran, counted by half powers of two of microseconds.
#[derive(Clone, Debug)]
struct Durations {
    counts: [u32; Self::PLACES],
}

impl Durations {
    /// Enough for twelve days.
    const PLACES: usize = 80;

    fn count(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(2);
        let power = micros.ilog2();
        let upper_half = micros >> (power - 1) & 1;
        let place = (2 * power as usize + usize::from(upper_half == 1)).min(Self::PLACES - 1);
        self.counts[place] = self.counts[place].saturating_add(1);
    }

    fn total(&self) -> f64 {
        self.counts.iter().map(|count| f64::from(*count)).sum()
    }

    /// What this part of them does not exceed, in seconds; 0 when there are none.
    fn quantile(&self, part: f64) -> f64 {
        let mut left = self.total() * part;
        for (place, count) in (0u32..).zip(&self.counts) {
            left -= f64::from(*count);
            if left <= 0.0 && 0 < *count {
                let end = if place % 2 == 0 { 1.5 } else { 2.0 };
                return end * f64::from(1 << (place / 2).min(30)) / 1e6;
            }
        }
        0.0
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: [0; Self::PLACES] }
    }
}

/// The binary logarithm, at most 15.
fn level(in_flight: f64) -> usize {
    let whole = whole(in_flight).max(1);
    (whole.ilog2() as usize).min(15)
}

/// At least one.
fn whole(bound: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a conversion of a float saturates")]
    let whole = bound.round() as u32;
    whole.max(1)
}

#[cfg(test)]
mod tests;
