//! One request of the application: from winning it in the ledger to Done.
//!
//! Invariant: whatever the application does, the response ends, its iterable's `close` is called exactly once, Done is
//! sent, and the thread lives on. The request's exceptions end here, `SystemExit` and our own panics included.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use link::{Abort, Malformed, RequestHead, flags};
use policy::{BATCH, Start};
use pyo3::{
    exceptions::{PyRuntimeError, PySystemExit, PyTypeError},
    prelude::*,
    types::{PyBytes, PyList, PyTuple},
};

use crate::{
    exchange::Exchange,
    file_wrapper::FileWrapper,
    input::Input,
    reply::{More, Offered, Progress, Reply},
    serve::Worker,
    start_response::{Desk, Opened, Voice},
    warden,
    zygote::{self, Status},
};

/// A request that has come and has not been taken yet.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) flags: u8,
    pub(crate) listener: u16,
    /// The frame's payload, see [`RequestHead`].
    pub(crate) payload: Vec<u8>,
}

/// Runs a request that has been won.
pub(crate) fn run(py: Python<'_>, worker: &Worker, job: Job, start: Start, desk: &mut Desk) {
    let exchange = Arc::clone(&job.exchange);
    exchange.begin(desk.name);
    let ran = catch_unwind(AssertUnwindSafe(|| call(py, worker, job, start, desk)));
    let error = match ran {
        Ok(result) => result.err(),
        Err(_) => Some(PyRuntimeError::new_err("Tierce's worker has panicked in this request")),
    };
    if zygote::is_disowned() {
        end_child(py, error.as_ref());
    }
    end_interrupts(py, &exchange);
    let reply = desk.close(py);
    let cancelled = exchange.is_cancelled();
    if let Some(error) = &error
        && !cancelled
    {
        error.display(py);
    }
    let mut reply = reply.unwrap_or_else(|| Reply::new(&exchange, 0));
    if cancelled {
        reply.abort(Abort::Cancelled);
    } else if error.is_some() {
        reply.abort(Abort::AppException);
    }
    reply.done();
    exchange.wire.close_exchange(exchange.id);
    // A body that the application has left, and perhaps a thread of its own still reads.
    exchange.cancel();
}

fn call(py: Python<'_>, worker: &Worker, job: Job, start: Start, desk: &mut Desk) -> PyResult<()> {
    let Opened { voice, start_response, early_hints } = desk.open(py, Reply::new(&job.exchange, job.flags))?;
    let environ = {
        let head = RequestHead::read(&job.payload)
            .map_err(|Malformed(what)| PyRuntimeError::new_err(format!("the edge sent nonsense: {what}")))?;
        let input = if head.body.is_empty() && job.flags & flags::BODY_FOLLOWS == 0 {
            worker.empty.bind(py).clone()
        } else {
            Bound::new(py, Input::new(&job.exchange, job.flags, head.body))?
        };
        worker.environs.make(py, job.listener, job.flags, &head, input.into_any())?
    };
    environ.set_item(pyo3::intern!(py, "wsgi.early_hints"), early_hints)?;
    drop(job.payload);
    let iterable = worker.app.bind(py).call1((environ, start_response))?;
    let mut tail = Tail { closing: &worker.closing, exchange: &job.exchange, start, begun: None };
    let responded = respond(py, &iterable, voice.get(), &mut tail);
    // `close` is not to be interrupted: it gives back what the application holds.
    end_interrupts(py, &job.exchange);
    let closed = close(&iterable, || tail.begin());
    tail.end();
    if let (Err(_), Err(error)) = (&responded, &closed)
        && !job.exchange.is_cancelled()
    {
        // The first one is told by whoever called.
        error.display(py);
    }
    responded.and(closed)
}

/// The end of a child that the handler has forked and that came back here instead of ending itself.
fn end_child(py: Python<'_>, error: Option<&PyErr>) -> ! {
    match error.filter(|error| !error.is_instance_of::<PySystemExit>(py)) {
        Some(error) => {
            error.display(py);
            zygote::leave_now(Status::Failed)
        }
        None => zygote::leave_now(Status::Well),
    }
}

/// From now on no exception is raised in this thread for this request.
fn end_interrupts(py: Python<'_>, exchange: &Exchange) {
    if exchange.finish() {
        warden::forgive(py);
    }
}

/// What is left to do for an answer that is complete: the end of its iterable, and `close`.
struct Tail<'a> {
    closing: &'a Closing,
    exchange: &'a Exchange,
    start: Start,
    begun: Option<Instant>,
}

impl Tail<'_> {
    fn begin(&mut self) {
        if self.begun.is_none() {
            let now = Instant::now();
            self.begun = Some(now);
            if BATCH < now.duration_since(self.start.since) && !self.closing.is_quick() {
                // This answer is late as it is, and the rest takes its time.
                self.exchange.wire.flush();
            }
        }
    }

    fn end(self) {
        if let Some(begun) = self.begun {
            self.closing.took(begun.elapsed());
        }
    }
}

/// How long a [`Tail`] takes in this application, as a moving average in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Closing(AtomicU32);

impl Closing {
    /// An answer may wait so long for the end of its own work, and leave with the word that it has ended.
    const QUICK_US: u32 = 100;

    fn is_quick(&self) -> bool {
        self.0.load(Relaxed) < Self::QUICK_US
    }

    fn took(&self, duration: Duration) {
        let took = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX / 8).min(u32::MAX / 8);
        // One slow one is enough to be careful for a while; threads may overwrite each other's word, which does no harm.
        self.0.store((self.0.load(Relaxed) * 7 + took) / 8, Relaxed);
    }
}

/// Sends what the application has returned.
fn respond(py: Python<'_>, iterable: &Bound<'_, PyAny>, voice: &Voice, tail: &mut Tail<'_>) -> PyResult<()> {
    let write = |chunk: &Bound<'_, PyAny>, more| {
        let bytes = chunk.cast::<PyBytes>().map_err(|_| not_bytes(chunk))?;
        voice.with_reply(|reply| Ok(reply.write(py, bytes.as_bytes(), more)?))
    };
    let only = match (iterable.cast_exact::<PyList>(), iterable.cast_exact::<PyTuple>()) {
        (Ok(list), _) if list.len() == 1 => Some(list.get_item(0)?),
        (_, Ok(tuple)) if tuple.len() == 1 => Some(tuple.get_item(0)?),
        _ => None,
    };
    if let Some(only) = only {
        return write(&only, More::Nothing).map(drop);
    }
    if let Ok(wrapper) = iterable.cast_exact::<FileWrapper>()
        && let Some((part, descriptor)) = wrapper.get().part(py)?
        && voice.with_reply(|reply| Ok(reply.file(py, part, descriptor)?))? == Offered::Taken
    {
        return Ok(());
    }
    for chunk in iterable.try_iter()? {
        match write(&chunk?, More::Follows)? {
            Progress::Same => {}
            Progress::Open => tail.exchange.wire.flush(),
            // Once more it is asked, as many applications note the end of a body behind its last block.
            Progress::Complete => tail.begin(),
            Progress::Excess | Progress::Bodiless => return Ok(()),
        }
        if tail.exchange.is_cancelled() {
            return Ok(());
        }
    }
    voice.with_reply(|reply| Ok(reply.write(py, &[], More::Nothing).map(drop)?))
}

/// PEP 3333: `close` of the iterable, if it has one, on every path.
fn close(iterable: &Bound<'_, PyAny>, before: impl FnOnce()) -> PyResult<()> {
    if iterable.is_exact_instance_of::<PyList>() || iterable.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    match iterable.getattr_opt(pyo3::intern!(iterable.py(), "close"))? {
        Some(close) => {
            before();
            close.call0().map(drop)
        }
        None => Ok(()),
    }
}

fn not_bytes(chunk: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("the body must be made of bytes, not {}", chunk.get_type()))
}
