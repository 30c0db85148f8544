//! Who runs the next request, and when finished answers leave.
//!
//! Threads that have nothing to do park without the GIL, the last one to park on top. When a request waits, one of
//! them, the *candidate*, is called and waits for the GIL; whoever holds the GIL takes the next request. So a handler
//! that gives the GIL up (it sleeps, it asks a database) is followed at once, and a handler that does not is never
//! disturbed. Calling a candidate costs two context switches; while requests take less than [`YOUNG`] each, the thread
//! that runs is trusted to come back for the next one, and [`Pool::tick`] looks after it.
//!
//! Greenlets take turns just as threads do, where [`crate::greenlets`] are wanted; for the GIL read: their thread.
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

use link::{State as Claim, Verdict, Vitals};

use crate::{io::Bell, pace::Pace, request::Job, watch::Watch};

/// A request that has run for less than this is likely to end before a candidate could take over.
const YOUNG: Duration = Duration::from_micros(200);

/// For so long after its last turn. Longer than [`YOUNG`], as the kernel may have let others run meanwhile.
const TRUST: Duration = Duration::from_millis(2);

/// A thread for which another was preempted goes on with new requests for so long, before that one has its turn again.
const QUANTUM: Duration = Duration::from_micros(1000);

/// How long a finished answer may wait for others to leave with it.
pub(crate) const BATCH: Duration = Duration::from_micros(500);

/// How often the pool is looked after while requests run, and while some wait.
const TICK: Duration = Duration::from_millis(1);
const TICK_WAITING: Duration = Duration::from_micros(300);

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
    candidate: Candidate,
    running: usize,
    /// Who runs the request that started last, while nobody has had the GIL since.
    youngest: Option<Arc<Seat>>,
    /// When a thread last took a turn.
    turned: Instant,
    /// When the last candidate came.
    came: Instant,
    /// Threads that could run and wait for the GIL, which was taken from them or from others for their sake.
    surplus: usize,
    pace: Pace,
    /// How long a candidate waits for the GIL, as a moving average.
    gil_wait: Duration,
    memory: Memory,
    verdict: Verdict,
    /// How many requests have started.
    started: u64,
    /// Since when finished answers wait to leave.
    unflushed: Option<Instant>,
    /// How long a request takes, as a moving average.
    expected: Duration,
    started_since_tick: bool,
    stage: Stage,
}

/// Whether there is memory for more threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Enough,
    Scarce,
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

/// Where a thread comes from when it asks for work.
#[derive(Debug)]
pub(crate) enum Came {
    /// It was called, and then waited so long for the GIL.
    Call(Duration),
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
    /// Send what must leave first, call the successor, set the switch interval, run this.
    Run { job: Job, ticket: Ticket, interval: Option<Duration>, leave: Leave, call: Call },
    /// Send everything, then park; `drained` when that was the last request ever.
    Park { drained: bool },
    /// End the thread.
    End,
}

/// Whether a thread goes on or leaves the GIL to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gil {
    Keep,
    Leave,
}

/// What has to leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Leave {
    Nothing,
    /// Everything that was appended before.
    All,
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
            candidate: Candidate::Nobody,
            running: 0,
            youngest: None,
            turned: Instant::now(),
            came: Instant::now(),
            surplus: 0,
            pace,
            gil_wait: Duration::ZERO,
            memory: Memory::Enough,
            verdict: Verdict::Enough,
            started: 0,
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
        let next = if state.arrive(came, now) == Gil::Keep { state.next_started() } else { None };
        let Some(job) = next else {
            if state.stage == Stage::Stopped {
                return Turn::End;
            }
            state.surplus = state.surplus.saturating_sub(1);
            state.unflushed = None;
            state.idle.push(Arc::clone(seat));
            return Turn::Park { drained: state.is_drained() };
        };
        state.running += 1;
        state.youngest = Some(Arc::clone(seat));
        state.started_since_tick = true;
        state.started += 1;
        let ticket = Ticket { number: state.started, since: now };
        let due = |since| state.inbox.is_empty() || BATCH < now.duration_since(since) + state.expected;
        let leave = if state.unflushed.is_some_and(due) || matches!(came, Came::Call(_)) {
            state.unflushed = None;
            Leave::All
        } else {
            Leave::Nothing
        };
        let call = if state.expected < YOUNG { Call::Nobody } else { state.call(self.limit) };
        let (running, gil_wait) = (state.running, state.gil_wait);
        Turn::Run { job, ticket, interval: state.pace.follow(running, gil_wait), leave, call }
    }

    /// I/O thread, when [`Pool::needs_tick`] says so: what nobody else looks after.
    pub(crate) fn tick(&self) -> Call {
        let mut state = self.state();
        state.started_since_tick = false;
        let trusts = state.trusts(Instant::now());
        if trusts { Call::Nobody } else { state.call(self.limit) }
    }

    /// When a thread last took a turn.
    pub(crate) fn turned(&self) -> Instant {
        self.state().turned
    }

    /// When [`Pool::tick`] has something to look after, if it has.
    pub(crate) fn needs_tick(&self) -> Option<Duration> {
        let state = self.state();
        match state.inbox.is_empty() {
            false => Some(TICK_WAITING),
            true => state.started_since_tick.then_some(TICK),
        }
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
        state.candidate = Candidate::Nobody;
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
        let (gil_wait, switch_interval) = (state.gil_wait, state.pace.interval());
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
    /// Notes what the arriving thread tells by its arrival.
    fn arrive(&mut self, came: &Came, now: Instant) -> Gil {
        self.turned = now;
        match came {
            Came::Run(ticket) => {
                self.running -= 1;
                self.unflushed.get_or_insert(now);
                // If others have started since, it has waited for them too, which says nothing of how long it takes.
                if ticket.number == self.started {
                    self.youngest = None;
                    self.expected = (self.expected * 7 + now.duration_since(ticket.since)) / 8;
                }
                // Another one has begun since and was interrupted for the end of this: it goes on first.
                if self.youngest.is_some() && self.expected < YOUNG {
                    return Gil::Leave;
                }
                // Somebody was made to wait in the middle of a request: that one goes on first.
                self.surplus = self.surplus.min(self.running);
                if 0 < self.surplus && QUANTUM <= now.duration_since(self.came) {
                    return Gil::Leave;
                }
            }
            Came::Call(waited) => {
                self.gil_wait = (self.gil_wait * 7 + *waited) / 8;
                // CPython takes the GIL away after the interval: a shorter wait means that its holder gave it up.
                let given = *waited < self.pace.interval() * 4 / 5;
                self.candidate = Candidate::Nobody;
                self.came = now;
                self.youngest = None;
                if 0 < self.running && given {
                    // Whoever is still running has given the GIL up: it is no quick one.
                    self.expected = self.expected.max(YOUNG);
                } else if !given {
                    self.surplus += 1;
                }
            }
        }
        Gil::Keep
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
        let age = now.saturating_duration_since(self.turned);
        let runs = |youngest: &Arc<Seat>| age < YOUNG || !youngest.is_blocked();
        self.expected < YOUNG && age < TRUST && self.youngest.as_ref().is_some_and(runs)
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
        self.candidate = Candidate::OnItsWay;
        self.threads += 1;
        Call::Spawn
    }

    fn is_drained(&self) -> bool {
        self.stage == Stage::Draining && self.running == 0 && self.inbox.is_empty()
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
