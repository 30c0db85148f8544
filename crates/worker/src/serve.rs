//! A worker: what its threads share, and its life from its descriptors to its end.
//!
//! Invariant: `serve` returns only when every request has ended, every answer has left and no thread of ours runs
//! Python any more, so that Python can exit as it would without us.

use std::{
    ffi::c_ulong,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use sys::SharedWords;

use crate::{
    environ::Environs,
    gil::GilWait,
    greenlets,
    input::Input,
    io::{self, Bell},
    pace::{Cores, Pace},
    pool::{Call, Pool, Seat},
    request::Closing,
    runner,
    standard::Standard,
    warden::Warden,
    wire::Wire,
};

/// How long idle threads may take to leave Python at the end; they wait for nothing but the GIL.
const PARTING: Duration = Duration::from_secs(5);

/// What all threads of a worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) wires: Vec<Arc<Wire>>,
    pub(crate) pool: Pool,
    pub(crate) bell: Bell,
    pub(crate) environs: Environs,
    pub(crate) app: Py<PyAny>,
    pub(crate) closing: Closing,
    pub(crate) warden: Warden,
    pub(crate) standard: Standard,
    /// The candidate's wait.
    pub(crate) gil: GilWait,
    /// The body of every request that has none.
    pub(crate) empty: Py<Input>,
}

/// A worker that answers requests.
#[pyclass(frozen)]
#[derive(Debug)]
pub(crate) struct Serving {
    worker: Arc<Worker>,
    reader: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What the supervisor says of every worker of the node, as far as it is needed here.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Settings {
    threads: usize,
    crowded: bool,
}

/// Begins to serve `app` on the links: for each its socket and its ledger, which belong to the worker from now on, as
/// do the descriptors in `standard`: what standard input is, and what standard output and error are. With
/// `in_greenlets`, boot/work.py has to provide what runs the requests; else they run in threads of ours.
#[pyfunction]
pub(crate) fn serve(
    py: Python<'_>,
    app: Py<PyAny>,
    links: Vec<(RawFd, RawFd)>,
    templates: Vec<Py<PyDict>>,
    standard: (RawFd, RawFd),
    in_greenlets: Option<Py<PyAny>>,
    settings: Settings,
) -> PyResult<Serving> {
    share_memory();
    if let Some(python) = in_greenlets {
        greenlets::begin(python)?;
    }
    let (poll, bell) = io::poll()?;
    let mut wires = Vec::new();
    for (index, (socket, ledger)) in links.into_iter().enumerate() {
        // SAFETY: boot/work.py received both from the supervisor a moment ago and does not use them again.
        let (socket, ledger) = unsafe { (OwnedFd::from_raw_fd(socket), OwnedFd::from_raw_fd(ledger)) };
        wires.push(Arc::new(Wire::new(index, socket, SharedWords::from_fd(ledger)?, Arc::clone(&poll))));
    }
    let cores = if settings.crowded { Cores::Crowded } else { Cores::Enough };
    // SAFETY: boot/work.py has opened one and received the other, and leaves both to us.
    let (null, out) = unsafe { (OwnedFd::from_raw_fd(standard.0), OwnedFd::from_raw_fd(standard.1)) };
    let environs = Environs::new(py, templates)?;
    let empty = Py::new(py, Input::empty())?;
    let worker = Arc::new(Worker {
        wires,
        pool: Pool::new(settings.threads, Pace::new(py, cores)?),
        bell,
        environs,
        app,
        closing: Closing::default(),
        warden: Warden::default(),
        standard: Standard::new(null, out),
        gil: GilWait::default(),
        empty,
    });
    let call = worker.pool.open();
    worker.obey(call);
    if worker.pool.threads() == 0 {
        return Err(PyRuntimeError::new_err("cannot start a thread"));
    }
    let shared = Arc::clone(&worker);
    let read = move || {
        let _end = EndOfReader;
        io::run(&shared, &poll);
    };
    let reader = Builder::new().name("tierce-io".into()).spawn(read)?;
    Ok(Serving { worker, reader: Some(reader).into() })
}

/// All threads allocate from the same arena of the C library. Each would get one of its own otherwise, although
/// the GIL lets hardly two of them allocate at a time, and each arena is memory that no other thread's request finds warm.
fn share_memory() {
    // SAFETY: sets a number; called before the threads are started. Older C libraries ignore what they do not know.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Tells the main thread, however the thread that reads the links ends.
struct EndOfReader;

impl Drop for EndOfReader {
    fn drop(&mut self) {
        if let Some(greenlets) = greenlets::here() {
            greenlets.note_drained();
        }
    }
}

#[pymethods]
impl Serving {
    /// With greenlets: what is readable when [`Serving::wanted`] has something to say.
    fn descriptor(&self) -> RawFd {
        greenlets::here().map_or(-1, greenlets::Greenlets::descriptor)
    }

    /// How many greenlets more shall call [`Serving::take_turns`]; None when the worker has been drained.
    fn wanted(&self) -> Option<usize> {
        greenlets::here().and_then(greenlets::Greenlets::wanted)
    }

    /// Runs requests in the greenlet that calls this, which is called `name`.
    fn take_turns(&self, py: Python<'_>, name: c_ulong) -> PyResult<()> {
        let bell = Bell::new().inspect_err(|_| self.worker.pool.spawn_failed())?;
        runner::take_turns(py, &self.worker, Seat::of_greenlet(bell), name);
        Ok(())
    }

    /// Has all greenlets return; returns how many have not yet.
    fn part(&self) -> usize {
        for call in self.worker.pool.stop() {
            self.worker.obey(call);
        }
        self.worker.pool.threads()
    }

    /// Returns when the worker has been drained.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let Some(reader) = self.reader.lock().ok().and_then(|mut reader| reader.take()) else { return Ok(()) };
        let ended = py.detach(|| {
            let ended = reader.join();
            self.worker.end_threads();
            self.worker.warden.end();
            ended
        });
        ended.map_err(|_| PyRuntimeError::new_err("the thread that reads the links has panicked"))
    }

    /// Ends the links of a worker that has been drained and lives on, whoever still holds them.
    fn shut(&self) {
        self.worker.wires.iter().for_each(|wire| wire.shut());
    }
}

impl Worker {
    /// Calls whom the pool wants to be called.
    pub(crate) fn obey(self: &Arc<Self>, call: Call) {
        match call {
            Call::Nobody => return,
            Call::Wake(seat) => seat.wake(),
            Call::Spawn => runner::spawn(self),
        }
        if greenlets::here().is_some() {
            // It waits from now on, and cannot say so itself.
            self.gil.begin();
        }
    }

    /// Sends whatever waits.
    pub(crate) fn flush(&self) {
        self.wires.iter().for_each(|wire| wire.flush());
    }

    fn end_threads(self: &Arc<Self>) {
        for call in self.pool.stop() {
            self.obey(call);
        }
        let until = Instant::now() + PARTING;
        while 0 < self.pool.threads() && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
