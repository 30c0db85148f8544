//! How many workers there should be, between bounds: one more when requests wait for workers, fewer when fewer would do.
//!
//! | what a second has shown                                                              | then                    |
//! |--------------------------------------------------------------------------------------|-------------------------|
//! | requests waited all the time, for [`LONG`] or for workers that were busy all the time | more, unless it is vain |
//! | workers computed all the time, and each had started several requests                 | the same                |
//! | workers computed, each had started several requests, and no core was free            | as many as there are    |
//! | one worker fewer would have been busy for [`EASY`] of the time at most               | fewer, once that has held for `idle` |
//! | anything else                                                                        | as many as there are    |
//!
//! More workers are vain while something else is what requests wait for: the bound of requests in flight, cores, memory.
//! Between the busy time that brings a worker and the one that lets it go there is room for any steady load, and a worker
//! that was missed soon after it had left is kept longer the next time.
//!
//! Invariants: never beyond the bounds; nothing is judged while a worker that is wanted is not there yet, as it would be
//! wanted twice. It is told the time; it neither waits nor measures by itself.

mod reason; // why, and in which words

use std::time::{Duration, Instant};

pub use self::reason::StaffReason;

/// What is judged at a time. Requests that wait so long are worth another worker.
const WINDOW: Duration = Duration::from_secs(1);

/// The mean wait of a request for a worker that starts it. Below that nobody notices, unless the workers are at their end.
const LONG: Duration = Duration::from_millis(20);

/// The part of the time for which workers are busy that have hardly any left.
const FULL: f64 = 0.9;

/// The part of the time for which they may be busy after one has left.
const EASY: f64 = 0.6;

/// Less of a core does not help a worker that computes.
const CORE: f64 = 0.25;

/// Where others keep the cores busy, this part of them is ours all the same.
const OURS: f64 = 0.5;

/// Workers that use so much of a core compute; they may get no more of it.
const COMPUTES: f64 = 0.25;

/// So many requests of one worker share a GIL, if they compute.
const SHARED: f64 = 2.0;

/// So many, of those that there are, may come at a time: reaching 100 must not take 100 seconds.
const STEP: u32 = 4;

/// A worker that is missed so soon after another one had left was taken away too early.
const SOON: Duration = Duration::from_secs(600);

/// How often the time that has to pass before one leaves may be doubled.
const DOUBLED_MOST: u32 = 5;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaffBounds {
    /// Workers in all, at least.
    pub least: u32,
    /// Workers in all, at most.
    pub most: u32,
    /// For so long fewer must have been enough.
    pub idle: Duration,
}

/// What was seen of an application at one moment, or since the moment before.
#[derive(Clone, Copy, Debug)]
pub struct StaffSight {
    /// Workers that there are to be.
    pub workers: u32,
    /// Those of them that get requests.
    pub ready: u32,
    /// Those that run as many requests as they may.
    pub full: u32,
    /// Requests that no worker has started.
    pub waiting: u32,
    /// Requests that workers have started.
    pub started: u32,
    /// Requests that have ended since the beginning of time.
    pub ended: u64,
    /// How many workers' time was taken, by computing or by requests that fill their threads.
    pub busy: f64,
    /// How many cores they have used.
    pub computing: f64,
    /// How many cores they may use, and how many nobody used.
    pub cores: f64,
    /// See `cores`.
    pub spare: f64,
    /// What else requests may wait for.
    pub obstacle: Option<Obstacle>,
}

/// What a worker more does not help against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// As many requests are in flight as may be.
    InFlight,
    /// There is hardly any memory left.
    Memory,
}

/// A decision, to be carried out and told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StaffChange {
    /// So many workers more.
    More(u32, StaffReason),
    /// One fewer.
    Fewer(StaffReason),
}

/// A stretch of time over which is judged: sums of what was seen.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    ended: u64,
    sights: f64,
    waiting: f64,
    always: bool,
    started: f64,
    full: f64,
    busy: f64,
    computing: f64,
    spare: f64,
}

/// What a window has shown, as means.
#[derive(Clone, Copy, Debug)]
struct Finding {
    began: Instant,
    workers: u32,
    wait: Duration,
    /// Requests waited whenever it was looked.
    always: bool,
    started: f64,
    full: f64,
    busy: f64,
    computing: f64,
    cores: f64,
    spare: f64,
    obstacle: Option<Obstacle>,
}

/// The number of workers of one application.
#[derive(Clone, Debug)]
pub struct Staff {
    workers: u32,
    window: Option<Window>,
    /// Since when fewer would have been enough.
    easy_since: Option<Instant>,
    /// When one left last, unless another one was missed since.
    left: Option<Instant>,
    /// How often the time before one leaves was doubled.
    doubled: u32,
    reason: StaffReason,
}

impl Default for Staff {
    fn default() -> Self {
        let reason = StaffReason::Awaited;
        Self { workers: 0, window: None, easy_since: None, left: None, doubled: 0, reason }
    }
}

impl Staff {
    /// Why there are as many as there are.
    pub fn reason(&self) -> StaffReason {
        self.reason
    }

    /// To be called a few times a second; what is to be changed, if anything.
    pub fn look(&mut self, now: Instant, bounds: StaffBounds, sight: StaffSight) -> Option<StaffChange> {
        if self.workers != sight.workers {
            // Somebody has scaled or reloaded, or what was decided before has been done.
            self.workers = sight.workers;
            self.easy_since = None;
            self.window = None;
        }
        if sight.ready < sight.workers || sight.workers == 0 {
            self.window = None;
            self.reason = StaffReason::Awaited;
            return None;
        }
        let finding = self.observe(now, sight)?;
        let change = self.judge(now, bounds, &finding);
        self.reason = match change {
            Ok(reason) => reason,
            Err(StaffChange::More(_, reason) | StaffChange::Fewer(reason)) => reason,
        };
        change.err()
    }

    /// What is seen between two changes does not count: it is neither of the old nor of the new.
    fn observe(&mut self, now: Instant, sight: StaffSight) -> Option<Finding> {
        let Some(window) = &mut self.window else {
            self.window = Some(Window::new(now, sight.ended));
            return None;
        };
        window.note(sight);
        let age = now.saturating_duration_since(window.began);
        if age < WINDOW {
            return None;
        }
        let finding = window.finding(age, sight);
        self.window = Some(Window::new(now, sight.ended));
        Some(finding)
    }

    fn judge(&mut self, now: Instant, bounds: StaffBounds, finding: &Finding) -> Result<StaffReason, StaffChange> {
        if finding.is_pressed() {
            self.easy_since = None;
            return match finding.why_no_more(bounds) {
                Some(reason) => Ok(reason),
                None => Err(self.more(now, bounds, finding)),
            };
        }
        if finding.starves() {
            self.easy_since = None;
            return Ok(StaffReason::CoresBusy);
        }
        if !finding.is_easy() {
            self.easy_since = None;
            return Ok(StaffReason::Enough(finding.busy_share()));
        }
        if finding.workers <= bounds.least {
            return Ok(StaffReason::AtLeast);
        }
        let since = *self.easy_since.get_or_insert(finding.began);
        let (idle, patience) = (now.saturating_duration_since(since), bounds.idle * (1 << self.doubled));
        if idle < patience {
            return Ok(StaffReason::SoonFewer(patience));
        }
        self.easy_since = None;
        self.left = Some(now);
        Err(StaffChange::Fewer(StaffReason::Idle(patience)))
    }

    fn more(&mut self, now: Instant, bounds: StaffBounds, finding: &Finding) -> StaffChange {
        match self.left.take() {
            Some(left) if now.saturating_duration_since(left) < SOON => {
                self.doubled = (self.doubled + 1).min(DOUBLED_MOST);
            }
            Some(_) => self.doubled = 0,
            None => {}
        }
        let step = 1 + finding.workers / STEP;
        // Each that computes needs a core.
        let cores = if COMPUTES <= finding.computing_share() { whole(finding.spare.ceil()).max(1) } else { step };
        StaffChange::More(step.min(cores).min(bounds.most - finding.workers), finding.why_more())
    }
}

impl Window {
    fn new(began: Instant, ended: u64) -> Self {
        let (sights, waiting, started, full) = (0.0, 0.0, 0.0, 0.0);
        let (busy, computing, spare) = (0.0, 0.0, 0.0);
        Self { began, ended, sights, waiting, always: true, started, full, busy, computing, spare }
    }

    fn note(&mut self, sight: StaffSight) {
        self.sights += 1.0;
        self.waiting += f64::from(sight.waiting);
        self.always &= 0 < sight.waiting;
        self.started += f64::from(sight.started);
        self.full += f64::from(sight.full);
        self.busy += sight.busy;
        self.computing += sight.computing;
        self.spare += sight.spare;
    }

    fn finding(&self, age: Duration, sight: StaffSight) -> Finding {
        let mean = |sum: f64| sum / self.sights;
        // Little's law. When hardly any has ended, they have waited for about all that time.
        let ends = sight.ended.saturating_sub(self.ended).max(1) as f64;
        Finding {
            began: self.began,
            workers: sight.workers,
            wait: age.mul_f64((mean(self.waiting) / ends).min(1_000.0)),
            always: self.always,
            started: mean(self.started),
            full: mean(self.full),
            busy: mean(self.busy),
            computing: mean(self.computing),
            cores: sight.cores,
            spare: mean(self.spare),
            obstacle: sight.obstacle,
        }
    }
}

impl Finding {
    fn is_pressed(&self) -> bool {
        // What has been started waits as well, for its turn.
        let takes_turns = self.shares() && FULL <= self.computing_share();
        takes_turns || self.always && (LONG <= self.wait || FULL <= self.busy_share())
    }

    /// They would compute more if they were let.
    fn starves(&self) -> bool {
        self.shares() && COMPUTES <= self.computing_share() && self.spare < CORE
    }

    fn shares(&self) -> bool {
        SHARED <= self.started / f64::from(self.workers)
    }

    fn is_easy(&self) -> bool {
        self.busy <= EASY * f64::from(self.workers.saturating_sub(1)) && !(self.always && LONG <= self.wait)
            // Of one, nobody can leave; it is as easy when it has little to do.
            || self.workers == 1 && self.busy <= EASY
    }

    fn busy_share(&self) -> f64 {
        self.busy / f64::from(self.workers)
    }

    fn computing_share(&self) -> f64 {
        self.computing / f64::from(self.workers)
    }

    fn why_no_more(&self, bounds: StaffBounds) -> Option<StaffReason> {
        if bounds.most <= self.workers {
            return Some(StaffReason::AtMost);
        }
        if let Some(obstacle) = self.obstacle {
            return Some(StaffReason::Obstacle(obstacle));
        }
        (self.spare < CORE && self.cores * OURS <= self.computing).then_some(StaffReason::CoresBusy)
    }

    fn why_more(&self) -> StaffReason {
        if COMPUTES <= self.computing_share() {
            StaffReason::Computing(self.computing_share(), self.spare)
        } else if FULL <= self.full / f64::from(self.workers) {
            StaffReason::Threads(self.wait)
        } else {
            StaffReason::Unstarted(self.wait)
        }
    }
}

fn whole(number: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion of a float saturates")]
    let whole = number as u32;
    whole
}

#[cfg(test)]
mod tests;
