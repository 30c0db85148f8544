//! Who runs the next request, and when finished answers leave.
//!
//! Threads that have nothing to do park without the GIL, the last one to park on top. When a request waits, one of
//! them, the *candidate*, is called and waits for the GIL; whoever holds the GIL takes the next request. So a handler
//! that gives the GIL up (it sleeps, it asks a database) is followed at once, and a handler that does not is never
//! disturbed. Calling a candidate costs two context switches; while requests take less than [`YOUNG`] each, the thread
//! that runs is trusted to come back for the next one, and [`Pool::tick`] looks after it.
//!
//! Invariant: while a request waits in the inbox, a candidate is on its way, or a young request is running, or all
//! `limit` threads are running requests. No method waits, except [`Pool::wait`], which needs no GIL.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use link::State as Claim;

use crate::{exchange::Exchange, request::Job};

/// A request that has run for less than this is likely to end before a candidate could take over.
const YOUNG: Duration = Duration::from_micros(200);

/// How long a finished answer may wait for others to leave with it.
pub(crate) const BATCH: Duration = Duration::from_micros(500);

/// How long a thread stays idle before it ends, and how many stay for ever.
const RETIRE: Duration = Duration::from_secs(30);
const STAY: usize = 4;

/// Past so many waiting requests, those that the edge has taken back are dropped at once, not when their turn comes.
const PURGE: usize = 4096;

/// The inbox and the threads that serve it.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    inbox: VecDeque<Job>,
    idle: Vec<Arc<Seat>>,
    threads: usize,
    candidate: Candidate,
    running: usize,
    /// When the request that was started last started; none when it has ended.
    latest: Option<Ticket>,
    /// How many requests have started.
    started: u64,
    /// Running requests of which the edge has not been told.
    unannounced: Vec<(Arc<Exchange>, Ticket)>,
    /// Since when finished answers wait to leave.
    unflushed: Option<Instant>,
    /// How long a request takes, as a moving average.
    expected: Duration,
    started_since_tick: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    Nobody,
    OnItsWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Draining,
    Stopped,
}

/// Where a thread parks.
#[derive(Debug)]
pub(crate) struct Seat {
    thread: Thread,
    called: AtomicBool,
}

/// Who has to be called to be the candidate; to be obeyed after the pool's lock is free.
#[derive(Debug)]
#[must_use]
pub(crate) enum Call {
    Nobody,
    Wake(Arc<Seat>),
    /// Start a thread, and report to [`Pool::spawn_failed`] when there is none to be had.
    Spawn,
}

/// Where a thread comes from when it asks for work.
#[derive(Debug)]
pub(crate) enum Came {
    /// It was called.
    Call,
    /// It has just run this request.
    Run(Ticket),
}

/// A started request: its number in this worker, and when it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    number: u64,
    pub(crate) since: Instant,
}

/// What a thread that holds the GIL does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Send what must leave first, call the successor, run this.
    Run { job: Job, ticket: Ticket, running: usize, leave: Leave, call: Call },
    /// Send everything, then park; `drained` when that was the last request ever.
    Park { drained: bool },
    /// End the thread.
    End,
}

/// What has to leave now.
#[derive(Debug)]
#[must_use]
pub(crate) enum Leave {
    Nothing,
    /// Started frames for these, and everything that was appended before.
    All(Vec<Arc<Exchange>>),
}

/// Why [`Pool::wait`] returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Called,
    /// Nothing to do for a long time: end the thread.
    Retired,
}

impl Pool {
    /// A pool of at most `limit` threads.
    pub(crate) fn new(limit: usize) -> Self {
        let state = State {
            inbox: VecDeque::new(),
            idle: Vec::new(),
            threads: 0,
            candidate: Candidate::Nobody,
            running: 0,
            latest: None,
            started: 0,
            unannounced: Vec::new(),
            unflushed: None,
            expected: Duration::ZERO,
            started_since_tick: false,
            stage: Stage::Open,
        };
        Self { limit: limit.max(1), state: Mutex::new(state) }
    }

    /// I/O thread: requests have come.
    pub(crate) fn push(&self, jobs: &mut Vec<Job>) -> Call {
        let mut state = self.state();
        if PURGE < state.inbox.len() + jobs.len() {
            state.inbox.retain(Job::is_offered);
        }
        state.inbox.extend(jobs.drain(..));
        let trusts = state.trusts(Instant::now());
        if trusts { Call::Nobody } else { state.call(self.limit) }
    }

    /// The next turn of the thread of `seat`, which holds the GIL.
    pub(crate) fn take(&self, came: &Came, seat: &Arc<Seat>, now: Instant) -> Turn {
        let mut state = self.state();
        let announce = state.arrive(came, now);
        let Some(job) = state.next_started() else {
            if state.stage == Stage::Stopped {
                return Turn::End;
            }
            state.unflushed = None;
            state.idle.push(Arc::clone(seat));
            return Turn::Park { drained: state.is_drained() };
        };
        state.running += 1;
        state.started_since_tick = true;
        state.started += 1;
        let ticket = Ticket { number: state.started, since: now };
        state.latest = Some(ticket);
        state.unannounced.push((Arc::clone(&job.exchange), ticket));
        let due = |since| state.inbox.is_empty() || BATCH < now.duration_since(since) + state.expected;
        let leave = if !announce.is_empty() || state.unflushed.is_some_and(due) {
            state.unflushed = None;
            Leave::All(announce)
        } else {
            Leave::Nothing
        };
        let call = if state.expected < YOUNG { Call::Nobody } else { state.call(self.limit) };
        Turn::Run { job, ticket, running: state.running, leave, call }
    }

    /// I/O thread, every millisecond or so while [`Pool::needs_tick`]: what nobody else looks after.
    pub(crate) fn tick(&self) -> (Leave, Call) {
        let now = Instant::now();
        let mut state = self.state();
        state.started_since_tick = false;
        let old = |since: Instant| BATCH <= now.duration_since(since);
        let announce: Vec<_> =
            state.unannounced.extract_if(.., |(_, ticket)| old(ticket.since)).map(|(exchange, _)| exchange).collect();
        let leave = if !announce.is_empty() || state.unflushed.is_some_and(old) {
            Leave::All(announce)
        } else {
            Leave::Nothing
        };
        let call = if state.trusts(now) { Call::Nobody } else { state.call(self.limit) };
        (leave, call)
    }

    /// Whether [`Pool::tick`] has something to look after.
    pub(crate) fn needs_tick(&self) -> bool {
        let state = self.state();
        state.started_since_tick || !state.inbox.is_empty() || !state.unannounced.is_empty()
    }

    /// Parks the thread of `seat` until it is called.
    pub(crate) fn wait(&self, seat: &Arc<Seat>) -> Waited {
        let mut until = Instant::now() + RETIRE;
        loop {
            if seat.called.swap(false, SeqCst) {
                return Waited::Called;
            }
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::park_timeout(left);
                continue;
            }
            until = Instant::now() + RETIRE;
            let mut state = self.state();
            if STAY < state.idle.len()
                && let Some(place) = state.idle.iter().position(|other| Arc::ptr_eq(other, seat))
            {
                state.idle.remove(place);
                return Waited::Retired;
            }
        }
    }

    /// The thread that was asked for could not be had: those that run go on, and the next tick asks again.
    pub(crate) fn spawn_failed(&self) {
        let mut state = self.state();
        state.threads -= 1;
        state.candidate = Candidate::Nobody;
    }

    /// A thread ends. It holds the GIL until it is gone, so that Python does not exit under it.
    pub(crate) fn leave(&self) {
        self.state().threads -= 1;
    }

    /// The first thread, so that the worker is ready before the first request.
    pub(crate) fn open(&self) -> Call {
        self.state().call_anyone(self.limit)
    }

    /// No more requests will come. True: nothing is left to be done.
    pub(crate) fn drain(&self) -> bool {
        let mut state = self.state();
        if state.stage == Stage::Open {
            state.stage = Stage::Draining;
        }
        state.inbox.retain(Job::is_offered);
        state.is_drained()
    }

    /// Ends all threads; those that park are returned to be woken.
    pub(crate) fn stop(&self) -> Vec<Call> {
        let mut state = self.state();
        state.stage = Stage::Stopped;
        state.idle.drain(..).map(Call::Wake).collect()
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.state().threads
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what the arriving thread tells by its arrival, and returns what the edge has to be told.
    fn arrive(&mut self, came: &Came, now: Instant) -> Vec<Arc<Exchange>> {
        match came {
            Came::Run(ticket) => {
                self.running -= 1;
                self.latest = self.latest.filter(|latest| latest.number != ticket.number);
                if let Some(place) = self.unannounced.iter().rposition(|(_, other)| other.number == ticket.number) {
                    self.unannounced.swap_remove(place);
                }
                self.unflushed.get_or_insert(now);
                self.expected = (self.expected * 7 + now.duration_since(ticket.since)) / 8;
            }
            Came::Call => {
                self.candidate = Candidate::Nobody;
                if !self.unannounced.is_empty() {
                    self.expected = self.expected.max(YOUNG);
                }
            }
        }
        // Whatever is still running has given the GIL up.
        self.unannounced.drain(..).map(|(exchange, _)| exchange).collect()
    }

    /// The first waiting request that the edge has not taken back; it has started now.
    fn next_started(&mut self) -> Option<Job> {
        while let Some(job) = self.inbox.pop_front() {
            let exchange = &job.exchange;
            if exchange.wire.ledger().start(exchange.id) {
                return Some(job);
            }
            exchange.wire.close_exchange(exchange.id);
        }
        None
    }

    /// Whether the thread that runs is about to come back.
    fn trusts(&self, now: Instant) -> bool {
        self.expected < YOUNG && self.latest.is_some_and(|latest| now.duration_since(latest.since) < YOUNG)
    }

    fn call(&mut self, limit: usize) -> Call {
        if self.inbox.is_empty() || self.candidate == Candidate::OnItsWay {
            return Call::Nobody;
        }
        self.call_anyone(limit)
    }

    fn call_anyone(&mut self, limit: usize) -> Call {
        if let Some(seat) = self.idle.pop() {
            self.candidate = Candidate::OnItsWay;
            Call::Wake(seat)
        } else if self.threads < limit {
            self.candidate = Candidate::OnItsWay;
            self.threads += 1;
            Call::Spawn
        } else {
            Call::Nobody
        }
    }

    fn is_drained(&self) -> bool {
        self.stage == Stage::Draining && self.running == 0 && self.inbox.is_empty()
    }
}

impl Seat {
    /// A seat for the thread that calls this.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { thread: std::thread::current(), called: AtomicBool::new(false) })
    }

    /// Calls its thread.
    pub(crate) fn wake(&self) {
        self.called.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Job {
    /// Whether the edge still waits for it to start.
    fn is_offered(&self) -> bool {
        self.exchange.wire.ledger().state(self.exchange.id) == Claim::Offered
    }
}
