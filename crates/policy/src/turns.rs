//! Who runs the next request in a worker, and when finished answers leave.
//!
//! Threads that have nothing to do park without the GIL. When a request waits, one of them, the *candidate*, is called
//! and waits for the GIL; whoever holds the GIL takes the next request. So a handler that gives the GIL up (it sleeps, it
//! asks a database) is followed at once, and a handler that does not is never disturbed. Calling a candidate costs two
//! context switches; while requests take less than [`YOUNG`] each, the thread that runs is trusted to come back for the next
//! one, and a tick looks after it.
//!
//! Invariant: while a request waits, and a thread is to be had, a candidate is on its way or a young request is running, as
//! long as [`Turns::wants_candidate`] is asked when requests come, when one is started and at every tick.

use std::time::{Duration, Instant};

/// A request that has run for less than this is likely to end before a candidate could take over.
const YOUNG: Duration = Duration::from_micros(200);

/// For so long after its last turn. Longer than [`YOUNG`], as the kernel may have let others run meanwhile.
const TRUST: Duration = Duration::from_millis(2);

/// A thread for which another was preempted goes on with new requests for so long, before that one has its turn again.
const QUANTUM: Duration = Duration::from_micros(1000);

/// How long a finished answer may wait for others to leave with it.
pub const BATCH: Duration = Duration::from_micros(500);

/// How often the turns are looked after while requests run, and while some wait.
const TICK: Duration = Duration::from_millis(1);
const TICK_WAITING: Duration = Duration::from_micros(300);

/// Where a thread comes from when it asks for work.
#[derive(Clone, Copy, Debug)]
pub enum Came {
    /// It was called, and then waited so long for the GIL.
    Call(Duration),
    /// It has just run this request.
    Run(Start),
}

/// A started request: its number in this worker, and when it started.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    number: u64,
    /// When it started.
    pub since: Instant,
}

/// Whether a thread goes on or leaves the GIL to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gil {
    /// It takes the next request, if there is one.
    Keep,
    /// It parks.
    Leave,
}

/// What has to leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Leave {
    /// Nothing.
    Nothing,
    /// Everything that was appended before.
    All,
}

/// What the turns of one worker's threads have shown so far.
#[derive(Debug)]
pub struct Turns {
    running: usize,
    started: u64,
    started_since_tick: bool,
    /// The request that started last runs, and nobody has had the GIL since.
    youngest_runs: bool,
    candidate: bool,
    /// When a thread last took a turn.
    turned: Instant,
    /// When the last candidate came.
    came: Instant,
    /// Threads that could run and wait for the GIL, which was taken from them or from others for their sake.
    surplus: usize,
    /// How long a candidate waits for the GIL, as a moving average.
    gil_wait: Duration,
    /// How long a request takes, as a moving average.
    expected: Duration,
    /// Since when finished answers wait to leave.
    unflushed: Option<Instant>,
}

impl Turns {
    /// Nobody has had a turn.
    pub fn new(now: Instant) -> Self {
        Self {
            running: 0,
            started: 0,
            started_since_tick: false,
            youngest_runs: false,
            candidate: false,
            turned: now,
            came: now,
            surplus: 0,
            gil_wait: Duration::ZERO,
            expected: Duration::ZERO,
            unflushed: None,
        }
    }

    /// A thread holds the GIL and asks for work. `interval`: after which CPython takes the GIL away from whoever holds it.
    pub fn arrive(&mut self, came: Came, interval: Duration, now: Instant) -> Gil {
        self.turned = now;
        match came {
            Came::Run(start) => self.has_run(start, now),
            Came::Call(waited) => {
                self.was_called(waited, interval, now);
                Gil::Keep
            }
        }
    }

    fn has_run(&mut self, start: Start, now: Instant) -> Gil {
        self.running -= 1;
        self.unflushed.get_or_insert(now);
        // If others have started since, it has waited for them too, which says nothing of how long it takes.
        if start.number == self.started {
            self.youngest_runs = false;
            self.expected = (self.expected * 7 + now.duration_since(start.since)) / 8;
        }
        // Another one has begun since and was interrupted for the end of this: it goes on first.
        if self.youngest_runs && self.expected < YOUNG {
            return Gil::Leave;
        }
        // Somebody was made to wait in the middle of a request: that one goes on first.
        self.surplus = self.surplus.min(self.running);
        if 0 < self.surplus && QUANTUM <= now.duration_since(self.came) { Gil::Leave } else { Gil::Keep }
    }

    fn was_called(&mut self, waited: Duration, interval: Duration, now: Instant) {
        self.gil_wait = (self.gil_wait * 7 + waited) / 8;
        self.candidate = false;
        self.came = now;
        self.youngest_runs = false;
        // CPython takes the GIL away after the interval: a shorter wait means that its holder gave it up.
        if interval * 4 / 5 <= waited {
            self.surplus += 1;
        } else if 0 < self.running {
            // Whoever is still running has given the GIL up: it is no quick one.
            self.expected = self.expected.max(YOUNG);
        }
    }

    /// The thread that has just arrived starts a request, with `waiting` more behind it; and what has to leave before.
    pub fn start(&mut self, came: Came, waiting: usize, now: Instant) -> (Start, Leave) {
        self.running += 1;
        self.started += 1;
        self.started_since_tick = true;
        self.youngest_runs = true;
        let due = |since| waiting == 0 || BATCH < now.duration_since(since) + self.expected;
        let leave = if self.unflushed.is_some_and(due) || matches!(came, Came::Call(_)) {
            self.unflushed = None;
            Leave::All
        } else {
            Leave::Nothing
        };
        (Start { number: self.started, since: now }, leave)
    }

    /// The thread that has just arrived parks, and everything leaves before.
    pub fn park(&mut self) {
        self.surplus = self.surplus.saturating_sub(1);
        self.unflushed = None;
    }

    /// Whether the requests that wait need a candidate, though one has just been started.
    pub fn wants_candidate_at_start(&self) -> bool {
        YOUNG <= self.expected && !self.candidate
    }

    /// Whether the requests that wait need a candidate. `is_blocked`: whether the thread of the youngest request waits for
    /// something; asked only where it counts.
    pub fn wants_candidate(&self, now: Instant, is_blocked: impl FnOnce() -> bool) -> bool {
        if self.candidate {
            return false;
        }
        let age = now.saturating_duration_since(self.turned);
        let trusted = self.youngest_runs && self.expected < YOUNG && age < TRUST && (age < YOUNG || !is_blocked());
        !trusted
    }

    /// A candidate has been called.
    pub fn called(&mut self) {
        self.candidate = true;
    }

    /// There was no thread to be had.
    pub fn call_failed(&mut self) {
        self.candidate = false;
    }

    /// When to tick next, with so many requests waiting; `None` when nothing is to be looked after.
    pub fn next_tick(&self, waiting: usize) -> Option<Duration> {
        if 0 < waiting { Some(TICK_WAITING) } else { self.started_since_tick.then_some(TICK) }
    }

    /// It is time to look after what nobody else looks after.
    pub fn tick(&mut self) {
        self.started_since_tick = false;
    }

    /// How many requests run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// When a thread last took a turn.
    pub fn turned(&self) -> Instant {
        self.turned
    }

    /// How long a candidate waits for the GIL, as a moving average.
    pub fn gil_wait(&self) -> Duration {
        self.gil_wait
    }
}

#[cfg(test)]
mod tests;
