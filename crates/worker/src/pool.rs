//! The inbox and the threads that serve it; `policy::Turns` says who of them has the next turn.
//!
//! Threads that have nothing to do park without the GIL, the last one to park on top. Greenlets take turns just as threads
//! do, where [`crate::greenlets`] are wanted; for the GIL read: their thread. Invariant: while a request waits in
//! the inbox, a candidate is on its way, or a young request is running, or all `limit` threads are running requests. No
//! method waits, except [`Pool::wait`], which needs no GIL.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use link::{State as Claim, Verdict, Vitals};
use policy::{Came, Gil, Leave, Start, Turns};

use crate::{io::Bell, pace::Pace, request::Job, watch::Watch};

/// How long a thread stays idle before it ends, and how many stay for ever.
const RETIRE: Duration = Duration::from_secs(30);
const STAY: usize = 4;

/// So many threads a worker may have however scarce memory is.
const MODEST: usize = 8;

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
    turns: Turns,
    /// Who runs the request that started last.
    youngest: Option<Arc<Seat>>,
    pace: Pace,
    memory: Memory,
    verdict: Verdict,
    stage: Stage,
}

/// Whether there is memory for more threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Enough,
    Scarce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Draining,
    Stopped,
}

/// Where a thread parks, or a greenlet.
#[derive(Debug)]
pub(crate) struct Seat {
    whose: Whose,
    called: AtomicBool,
    watch: Watch,
}

#[derive(Debug)]
enum Whose {
    Thread(Thread),
    Greenlet(Bell),
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

/// What a thread that holds the GIL does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Send what must leave first, call the successor, set the switch interval, run this.
    Run { job: Job, start: Start, interval: Option<Duration>, leave: Leave, call: Call },
    /// Send everything, then park; `drained` when that was the last request ever.
    Park { drained: bool },
    /// End the thread.
    End,
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
    pub(crate) fn new(limit: usize, pace: Pace) -> Self {
        let state = State {
            inbox: VecDeque::new(),
            idle: Vec::new(),
            threads: 0,
            turns: Turns::new(Instant::now()),
            youngest: None,
            pace,
            memory: Memory::Enough,
            verdict: Verdict::Enough,
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
        state.call_if_wanted(self.limit)
    }

    /// The next turn of the thread of `seat`, which holds the GIL.
    pub(crate) fn take(&self, came: Came, seat: &Arc<Seat>, now: Instant) -> Turn {
        let mut state = self.state();
        let interval = state.pace.interval();
        let next = if state.turns.arrive(came, interval, now) == Gil::Keep { state.next_started() } else { None };
        let Some(job) = next else {
            if state.stage == Stage::Stopped {
                return Turn::End;
            }
            state.turns.park();
            state.idle.push(Arc::clone(seat));
            return Turn::Park { drained: state.is_drained() };
        };
        state.youngest = Some(Arc::clone(seat));
        let waiting = state.inbox.len();
        let (start, leave) = state.turns.start(came, waiting, now);
        let wanted = 0 < waiting && state.turns.wants_candidate_at_start();
        let call = if wanted { state.call_anyone(self.limit) } else { Call::Nobody };
        let (running, gil_wait) = (state.turns.running(), state.turns.gil_wait());
        Turn::Run { job, start, interval: state.pace.follow(running, gil_wait), leave, call }
    }

    /// I/O thread, when [`Pool::needs_tick`] says so: what nobody else looks after.
    pub(crate) fn tick(&self) -> Call {
        let mut state = self.state();
        state.turns.tick();
        state.call_if_wanted(self.limit)
    }

    /// When a thread last took a turn.
    pub(crate) fn turned(&self) -> Instant {
        self.state().turns.turned()
    }

    /// When [`Pool::tick`] has something to look after, if it has.
    pub(crate) fn needs_tick(&self) -> Option<Duration> {
        let state = self.state();
        state.turns.next_tick(state.inbox.len())
    }

    /// Has the thread of `seat` `park`, for so long at most, until it is called.
    pub(crate) fn wait(&self, seat: &Arc<Seat>, park: impl Fn(Duration)) -> Waited {
        let mut until = Instant::now() + RETIRE;
        loop {
            if seat.called.swap(false, SeqCst) {
                return Waited::Called;
            }
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                park(left);
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
        state.turns.call_failed();
        state.verdict = Verdict::NoThread;
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

    /// Whether there is memory for more threads.
    pub(crate) fn note_memory(&self, memory: Memory) {
        self.state().memory = memory;
    }

    /// What there is to tell of it.
    pub(crate) fn vitals(&self) -> Vitals {
        let state = self.state();
        let threads = u32::try_from(state.threads).unwrap_or(u32::MAX);
        let (gil_wait, switch_interval) = (state.turns.gil_wait(), state.pace.interval());
        Vitals { gil_wait, switch_interval, threads, verdict: state.verdict }
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

    /// Calls a candidate, unless the thread that runs is about to come back.
    fn call_if_wanted(&mut self, limit: usize) -> Call {
        if self.inbox.is_empty() {
            return Call::Nobody;
        }
        let youngest = self.youngest.as_deref();
        let wanted = self.turns.wants_candidate(Instant::now(), || youngest.is_some_and(Seat::is_blocked));
        if wanted { self.call_anyone(limit) } else { Call::Nobody }
    }

    fn call_anyone(&mut self, limit: usize) -> Call {
        if let Some(seat) = self.idle.pop() {
            self.turns.called();
            return Call::Wake(seat);
        }
        self.verdict = match self.memory {
            _ if limit <= self.threads => Verdict::AtThreads,
            Memory::Scarce if MODEST <= self.threads => Verdict::NoMemory,
            _ => Verdict::Grows,
        };
        if self.verdict != Verdict::Grows {
            return Call::Nobody;
        }
        self.turns.called();
        self.threads += 1;
        Call::Spawn
    }

    fn is_drained(&self) -> bool {
        self.stage == Stage::Draining && self.turns.running() == 0 && self.inbox.is_empty()
    }
}

impl Seat {
    /// A seat for the thread that calls this.
    pub(crate) fn new() -> Arc<Self> {
        Self::of(Whose::Thread(std::thread::current()))
    }

    /// A seat for the greenlet that calls this; who calls it rings.
    pub(crate) fn of_greenlet(bell: Bell) -> Arc<Self> {
        Self::of(Whose::Greenlet(bell))
    }

    fn of(whose: Whose) -> Arc<Self> {
        Arc::new(Self { whose, called: AtomicBool::new(false), watch: Watch::this_thread() })
    }

    /// What rings when a greenlet is called.
    pub(crate) fn bell(&self) -> Option<&Bell> {
        match &self.whose {
            Whose::Thread(_) => None,
            Whose::Greenlet(bell) => Some(bell),
        }
    }

    /// Whether its thread waits for anything: the GIL, a lock, a timer, a peer.
    fn is_blocked(&self) -> bool {
        self.watch.is_blocked()
    }

    /// Calls its thread.
    pub(crate) fn wake(&self) {
        self.called.store(true, SeqCst);
        match &self.whose {
            Whose::Thread(thread) => thread.unpark(),
            Whose::Greenlet(bell) => bell.ring(),
        }
    }
}

impl Job {
    /// Whether the edge still waits for it to start.
    fn is_offered(&self) -> bool {
        self.exchange.wire.ledger().state(self.exchange.id) == Claim::Offered
    }
}
