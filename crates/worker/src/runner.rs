//! The threads (or greenlets) that run the application: each takes turns from the pool while it holds the GIL, and parks
//! without it.
//!
//! Invariant: a thread stays attached to Python from its first turn to its end, so that what the application keeps per
//! thread (database connections) lives as long as the thread.

use std::{
    ffi::c_ulong,
    sync::Arc,
    thread::Builder,
    time::{Duration, Instant},
};

use policy::{Came, Leave};
use pyo3::prelude::*;

use crate::{
    greenlets, pace,
    pool::{Seat, Turn, Waited},
    request,
    serve::Worker,
    start_response::Desk,
    warden,
};

/// What CPython gives its own threads on Linux; only what is used takes memory. Less would let deeply nested input
/// overflow the stack before CPython's own recursion limits notice.
const STACK: usize = 8 * 1024 * 1024;

/// A greenlet that has handled requests for so long lets others have a turn before the next one.
const SHARE: Duration = Duration::from_millis(1);

/// Starts a thread (or has a greenlet started), or tells the pool that none could be had.
pub(crate) fn spawn(worker: &Arc<Worker>) {
    if let Some(greenlets) = greenlets::here() {
        return greenlets.want();
    }
    let shared = Arc::clone(worker);
    let run = move || Python::attach(|py| take_turns(py, &shared, Seat::new(), warden::this_thread()));
    let spawned = Builder::new().name("tierce-run".into()).stack_size(STACK).spawn(run);
    if spawned.is_err() {
        worker.pool.spawn_failed();
    }
}

/// Takes turns in the thread, or greenlet, of `seat`, which is called `name`, until there are none to be taken any more.
pub(crate) fn take_turns(py: Python<'_>, worker: &Arc<Worker>, seat: Arc<Seat>, name: c_ulong) {
    let mut desk = Desk::new(name);
    let mut came = Came::Call(Duration::ZERO);
    let mut began = Instant::now();
    loop {
        let now = Instant::now();
        if let Some(greenlets) = greenlets::here()
            && SHARE < now.duration_since(began)
        {
            worker.flush();
            report(py, greenlets.give_way(py));
            began = Instant::now();
        }
        match worker.pool.take(came, &seat, now) {
            Turn::Run { job, start, interval, leave, call } => {
                worker.obey(call);
                if leave == Leave::All {
                    worker.flush();
                }
                if let Some(interval) = interval {
                    pace::set(py, interval);
                }
                request::run(py, worker, job, start, &mut desk);
                came = Came::Run(start);
            }
            Turn::Park { drained } => {
                worker.flush();
                if drained {
                    worker.bell.ring();
                }
                match park(py, worker, &seat) {
                    Some(waited) => came = Came::Call(waited),
                    None => break,
                }
                began = Instant::now();
            }
            Turn::End => break,
        }
    }
    worker.pool.leave();
}

/// Waits to be called; returns how long the GIL was waited for then. None: there is nothing to do for so many.
fn park(py: Python<'_>, worker: &Worker, seat: &Arc<Seat>) -> Option<Duration> {
    let (waited, gil) = match (greenlets::here(), seat.bell()) {
        (Some(greenlets), Some(bell)) => {
            let waited = worker.pool.wait(seat, |most| report(py, greenlets.wait(py, bell, Some(most))));
            // Who has the thread gives it up by itself or not at all: nobody was interrupted for this turn.
            (waited, Duration::ZERO)
        }
        _ => {
            let (waited, called) = py.detach(|| {
                let waited = worker.pool.wait(seat, std::thread::park_timeout);
                worker.gil.begin();
                (waited, Instant::now())
            });
            (waited, called.elapsed())
        }
    };
    worker.gil.end();
    (waited == Waited::Called).then_some(gil)
}

/// Between requests there is nobody whom an exception could be meant for.
fn report(py: Python<'_>, result: PyResult<()>) {
    if let Err(error) = result {
        error.display(py);
    }
}
