//! Interrupts handlers that nobody waits for any more: an exception is raised in their thread alone.
//!
//! Its thread is started for the first one and is the only one of ours that waits for the GIL without having a request.
//! Invariant: an exception lands in the request that it is meant for or nowhere: whoever delivers it and whoever ends
//! the request both hold the GIL. A thread that is inside C sees it when it comes back from there.

use std::{
    ffi::c_ulong,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use link::Cancel;
use pyo3::{create_exception, exceptions::PyBaseException, ffi, prelude::*};

use crate::{
    exchange::{Exchange, Runner},
    gil::GilWait,
    greenlets,
};

create_exception!(
    tierce_worker,
    RequestTimeout,
    PyBaseException,
    "The request's time (limits.time) is up; the client has been answered."
);
create_exception!(
    tierce_worker,
    ClientDisconnected,
    PyBaseException,
    "The client has gone; nobody waits for the answer."
);

/// Between winning a request and being noted as its runner a thread can be stopped; so often it is looked again.
const LOOKS: u32 = 1000;
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// A handler to be interrupted.
#[derive(Debug)]
pub(crate) struct Interrupt {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) why: Cancel,
    /// Names the request.
    pub(crate) title: String,
}

/// The thread that interrupts, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Warden {
    running: Mutex<Option<(Sender<Interrupt>, JoinHandle<()>)>>,
    pub(crate) gil: Arc<GilWait>,
}

impl Warden {
    /// I/O thread: has the handler interrupted.
    pub(crate) fn interrupt(&self, interrupt: Interrupt) {
        let mut running = self.running();
        if running.is_none() {
            let (sender, receiver) = channel();
            let gil = Arc::clone(&self.gil);
            // Without a thread the handler goes on, and its worker is replaced in time.
            let spawned = Builder::new().name("tierce-warden".into()).spawn(move || run(&receiver, &gil));
            *running = spawned.ok().map(|thread| (sender, thread));
        }
        if let Some((sender, _)) = &*running {
            // It ends only with this side.
            let _ = sender.send(interrupt);
        }
    }

    /// Ends the thread; the GIL must not be held.
    pub(crate) fn end(&self) {
        let running = self.running().take();
        if let Some((sender, thread)) = running {
            drop(sender);
            // One that has panicked has ended too.
            let _ = thread.join();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<(Sender<Interrupt>, JoinHandle<()>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(receiver: &Receiver<Interrupt>, gil: &GilWait) {
    for interrupt in receiver {
        for _ in 0..LOOKS {
            gil.begin();
            let settled = Python::attach(|py| {
                gil.end();
                settle(py, &interrupt)
            });
            if settled {
                break;
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}

/// Interrupts the handler if it is running; false when it is about to.
fn settle(py: Python<'_>, interrupt: &Interrupt) -> bool {
    let thread = match interrupt.exchange.runner() {
        Runner::NotYet => return false,
        Runner::Ended => return true,
        Runner::Thread(thread) => thread,
    };
    let what = match interrupt.why {
        Cancel::TimeUp => {
            tell(py, &interrupt.title, thread);
            py.get_type::<RequestTimeout>()
        }
        Cancel::ClientGone => py.get_type::<ClientDisconnected>(),
        Cancel::Unwanted => return true,
    };
    if let Some(greenlets) = greenlets::here() {
        if let Err(error) = greenlets.interrupt(py, &interrupt.exchange, thread, what.as_any()) {
            error.display(py);
        }
        return true;
    }
    interrupt.exchange.note_interrupt();
    raise(thread, what.as_ptr());
    true
}

/// The thread's Python stack, in the log.
fn tell(py: Python<'_>, title: &str, thread: c_ulong) {
    let told = (|| {
        let frame = match greenlets::here() {
            Some(greenlets) => greenlets.frame(py, thread)?,
            None => py.import("sys")?.call_method0("_current_frames")?.get_item(thread)?,
        };
        let stack: Vec<String> = py.import("traceback")?.call_method1("format_stack", (frame,))?.extract()?;
        let text =
            format!("{title}: limits.time is up; the thread that runs it is interrupted here:\n{}", stack.concat());
        py.import("sys")?.getattr("stderr")?.call_method1("write", (text,))
    })();
    if let Err(error) = told {
        error.display(py);
    }
}

/// Takes back an exception that has not been raised yet. The GIL is held, by the thread itself.
pub(crate) fn forgive(_: Python<'_>) {
    raise(this_thread(), std::ptr::null_mut());
}

/// What `threading.get_ident` says in this thread.
pub(crate) fn this_thread() -> c_ulong {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::pthread_self() }
}

fn raise(thread: c_ulong, exception: *mut ffi::PyObject) {
    // SAFETY: the GIL is held by whoever has a `Python`; the exception is a class that this module keeps, or null,
    // which takes back what is pending. A thread that is not known is left alone.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), exception) };
}
