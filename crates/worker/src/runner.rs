//! The threads that run the application: each takes turns from the pool while it holds the GIL, and parks without it.
//!
//! Invariant: a thread stays attached to Python from its first turn to its end, so that what the application keeps per
//! thread (database connections) lives as long as the thread.

use std::{
    sync::Arc,
    thread::Builder,
    time::{Duration, Instant},
};

use policy::{Came, Leave};
use pyo3::prelude::*;

use crate::{
    pace,
    pool::{Seat, Turn, Waited},
    request,
    serve::Worker,
    start_response::Desk,
};

/// What CPython gives its own threads on Linux; only what is used takes memory. Less would let deeply nested input
/// overflow the stack before CPython's own recursion limits notice.
const STACK: usize = 8 * 1024 * 1024;

/// Starts a thread, or tells the pool that none could be had.
pub(crate) fn spawn(worker: &Arc<Worker>) {
    let shared = Arc::clone(worker);
    let spawned = Builder::new().name("tierce-run".into()).stack_size(STACK).spawn(move || run(&shared));
    if spawned.is_err() {
        worker.pool.spawn_failed();
    }
}

fn run(worker: &Arc<Worker>) {
    Python::attach(|py| {
        let seat = Seat::new();
        let mut desk = Desk::default();
        let mut came = Came::Call(Duration::ZERO);
        loop {
            match worker.pool.take(came, &seat, Instant::now()) {
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
                    let (waited, called) = py.detach(|| {
                        let waited = worker.pool.wait(&seat);
                        worker.gil.begin();
                        (waited, Instant::now())
                    });
                    worker.gil.end();
                    if waited == Waited::Retired {
                        break;
                    }
                    came = Came::Call(called.elapsed());
                }
                Turn::End => break,
            }
        }
        worker.pool.leave();
    });
}
