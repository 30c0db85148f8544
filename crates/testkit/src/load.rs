//! Unique POSTs at a steady rate: an open loop, so that a slow server is not spared.
//!
//! Invariant: each id is sent once and has exactly one outcome; nothing is sent a second time. It does not judge: what
//! was lost or run twice is for the test to say.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    },
    thread::{Scope, scope, sleep},
    time::{Duration, Instant},
};

use crate::{client::Client, wait::wait_for};

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Answered {
        /// Its status.
        status: u16,
        /// Its body, which names the ending when it is an error of the edge.
        body: String,
    },
    /// None, or a part of one.
    Broken(String),
}

impl Outcome {
    /// The status, if there was a whole response.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Broken(_) => None,
        }
    }
}

/// What became of each id.
pub type Outcomes = BTreeMap<u64, Outcome>;

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// One request after the other on each.
    Kept,
    /// A new one for each request.
    OneShot,
}

/// Requests in flight at most; one that finds so many is recorded as broken, never delayed.
const IN_FLIGHT_MAX: usize = 1000;

/// POSTs to `/run/ID`, so many a second, however slowly they are answered.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    /// Where to, on this machine.
    pub port: u16,
    /// Requests a second.
    pub rate: u64,
    /// How connections are used.
    pub connections: Connections,
}

/// How far a load has come.
#[derive(Debug, Default)]
pub struct Progress {
    ended: AtomicU64,
}

impl Progress {
    /// Waits until `count` more requests have ended, so that a test can have each of its steps under load.
    pub fn more(&self, count: u64) {
        let until = self.ended.load(SeqCst) + count;
        wait_for("more requests to end", || until <= self.ended.load(SeqCst));
    }
}

impl OpenLoop {
    /// Sends while `meanwhile` runs; then waits for what is in flight.
    pub fn run(self, meanwhile: impl FnOnce(&Progress)) -> Outcomes {
        let (progress, outcomes) = (Progress::default(), Mutex::default());
        let (stop, crew) = (AtomicBool::new(false), Crew::default());
        scope(|scope| {
            // Also when `meanwhile` panics: the scope waits for its threads.
            let _stop = StopOnDrop(&stop);
            let load = Load { form: self, progress: &progress, outcomes: &outcomes };
            let (stop, crew) = (&stop, &crew);
            scope.spawn(move || load.pace(scope, stop, crew));
            meanwhile(&progress);
        });
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// How many senders wait for an id that nobody has put in the queue yet. There is one waiting for each that is in it.
#[derive(Default)]
struct Crew {
    idle: AtomicUsize,
}

impl Crew {
    fn take_idle(&self) -> bool {
        self.idle.fetch_update(SeqCst, SeqCst, |idle| idle.checked_sub(1)).is_ok()
    }
}

#[derive(Clone, Copy)]
struct Load<'a> {
    form: OpenLoop,
    progress: &'a Progress,
    outcomes: &'a Mutex<Outcomes>,
}

impl<'a> Load<'a> {
    /// Hands out each id when it is due, and makes a sender when none is idle.
    fn pace<'scope>(self, scope: &'scope Scope<'scope, 'a>, stop: &AtomicBool, crew: &'scope Crew) {
        let (work, ids) = channel();
        let ids = Arc::new(Mutex::new(ids));
        let mut senders = 0;
        let began = Instant::now();
        for id in 0.. {
            let due = began + Duration::from_nanos(id * 1_000_000_000 / self.form.rate);
            sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(SeqCst) {
                return;
            }
            if crew.take_idle() {
                work.send(id).expect("the queue lives here");
            } else if senders < IN_FLIGHT_MAX {
                senders += 1;
                work.send(id).expect("the queue lives here");
                let ids = Arc::clone(&ids);
                scope.spawn(move || self.send(&ids, crew));
            } else {
                self.record(id, Outcome::Broken(format!("{IN_FLIGHT_MAX} requests were in flight already")));
            }
        }
    }

    /// Sends one id after the other, until no more are handed out.
    fn send(self, ids: &Mutex<Receiver<u64>>, crew: &Crew) {
        let mut kept = None;
        loop {
            let Ok(id) = ids.lock().unwrap().recv() else { return };
            let outcome = match self.attempt(&mut kept, id) {
                Ok(outcome) => outcome,
                Err(error) => {
                    kept = None;
                    Outcome::Broken(error.to_string())
                }
            };
            self.record(id, outcome);
            crew.idle.fetch_add(1, SeqCst);
        }
    }

    fn attempt(self, kept: &mut Option<Client>, id: u64) -> io::Result<Outcome> {
        let client = match kept {
            Some(client) => client,
            None => kept.insert(Client::connect(self.form.port)?),
        };
        let (path, body) = (format!("/run/{id}"), id.to_string());
        let response = match self.form.connections {
            Connections::Kept => client.post(&path, body.as_bytes())?,
            Connections::OneShot => client.last_post(&path, body.as_bytes())?,
        };
        if self.form.connections == Connections::OneShot || response.field("connection") == Some("close") {
            *kept = None;
        }
        Ok(Outcome::Answered { status: response.status, body: response.text() })
    }

    fn record(self, id: u64, outcome: Outcome) {
        let before = self.outcomes.lock().unwrap().insert(id, outcome);
        assert!(before.is_none(), "id {id} has two outcomes");
        self.progress.ended.fetch_add(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
