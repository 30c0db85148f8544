//! For applications whose threads gevent has patched: all requests run in one thread, each in a greenlet, and what waits
//! there lets the others run.
//!
//! Why: a lock of gevent's is made for one thread; of two native threads that want it, one waits for ever. Its child
//! watchers belong to the main thread, and what a handler leaves running goes on only where a loop runs.
//! Invariant: with greenlets, no wait of ours that Python code can meet stops their thread.

use std::{
    ffi::c_ulong,
    os::fd::RawFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};

use crate::{
    exchange::{Exchange, Runner},
    io::Bell,
};

/// Set once, in a worker whose application wants it.
static HERE: OnceLock<Greenlets> = OnceLock::new();

/// Those of this worker.
#[derive(Debug)]
pub(crate) struct Greenlets {
    /// `Greenlets` of boot/greenlets.py, which knows gevent.
    python: Py<PyAny>,
    /// Rings when the main thread has something to do.
    bell: Bell,
    /// How many greenlets the pool has asked for.
    wanted: AtomicUsize,
    drained: AtomicBool,
}

/// The greenlets of this worker, if its requests run in such.
pub(crate) fn here() -> Option<&'static Greenlets> {
    HERE.get()
}

/// From now on requests run in greenlets.
pub(crate) fn begin(python: Py<PyAny>) -> PyResult<()> {
    let (wanted, drained) = (AtomicUsize::new(0), AtomicBool::new(false));
    let greenlets = Greenlets { python, bell: Bell::new()?, wanted, drained };
    HERE.set(greenlets).map_err(|_| PyRuntimeError::new_err("one process is one worker"))
}

impl Greenlets {
    /// Asks for one more.
    pub(crate) fn want(&self) {
        self.wanted.fetch_add(1, SeqCst);
        self.bell.ring();
    }

    /// How many have been asked for; None when there is nothing to do any more.
    pub(crate) fn wanted(&self) -> Option<usize> {
        self.bell.silence();
        (!self.drained.load(SeqCst)).then(|| self.wanted.swap(0, SeqCst))
    }

    /// No request will ever come again.
    pub(crate) fn note_drained(&self) {
        self.drained.store(true, SeqCst);
        self.bell.ring();
    }

    /// What the main thread waits for.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.bell.descriptor()
    }

    /// Lets others run until `bell` rings, for so long at most. An exception is one that somebody has thrown at this greenlet.
    pub(crate) fn wait(&self, py: Python<'_>, bell: &Bell, most: Option<Duration>) -> PyResult<()> {
        let seconds = most.map(|most| most.as_secs_f64());
        let waited = self.python.call_method1(py, pyo3::intern!(py, "wait"), (bell.descriptor(), seconds));
        bell.silence();
        waited.map(drop)
    }

    /// Lets the others have a turn.
    pub(crate) fn give_way(&self, py: Python<'_>) -> PyResult<()> {
        self.python.call_method0(py, pyo3::intern!(py, "give_way")).map(drop)
    }

    /// Where the greenlet of this name is.
    pub(crate) fn frame<'py>(&self, py: Python<'py>, name: c_ulong) -> PyResult<Bound<'py, PyAny>> {
        self.python.bind(py).call_method1("frame", (name,))
    }

    /// Raises `exception` in the greenlet that runs `exchange`, the next time that it waits; nowhere if that is too late.
    pub(crate) fn interrupt(
        &self,
        py: Python<'_>,
        exchange: &Arc<Exchange>,
        name: c_ulong,
        exception: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let runs = Runs { exchange: Arc::clone(exchange), name };
        self.python.call_method1(py, "interrupt", (name, runs, exception)).map(drop)
    }
}

/// Whether a greenlet still runs an exchange; true for as long as no other greenlet has a turn.
#[pyclass(frozen, module = "tierce_worker")]
#[derive(Debug)]
struct Runs {
    exchange: Arc<Exchange>,
    name: c_ulong,
}

#[pymethods]
impl Runs {
    fn __call__(&self) -> bool {
        self.exchange.runner() == Runner::Thread(self.name)
    }
}
