//! The part of Tierce that runs inside the user's Python: loads the application, forks workers, answers requests.
//!
//! Invariant: the thread that talks to the edge never waits for the GIL, and no lock of ours is held while Python code
//! runs or the GIL is awaited. This crate decides nothing about routing, retries or time limits; the edge does.

// The way in.
mod zygote; // what the Python part of the start (boot/) needs of the system

mod serve; // a worker: from its descriptors to its end

// Who does what, and when.
mod pool; // who runs the next request: inbox, idle threads, candidate, when to flush

mod watch; // whether a thread waits

mod runner; // the threads that run the application

mod greenlets; // instead of threads, for applications that gevent has patched

mod pace; // how often running threads take turns

mod warden; // interrupts handlers that nobody waits for

mod gil; // when the GIL is stuck

mod standard; // standard input, output and error, which an application may close

// The link.
mod io; // the native thread that reads the links

mod wire; // one link: socket, ledger, outgoing bytes, the exchanges on it

mod exchange; // one exchange: what of its body has come, how much may be sent, whether it is still wanted

// WSGI.
mod request; // one request from the ledger to Done

mod environ; // the WSGI environ

mod input; // wsgi.input

mod start_response; // start_response and write

mod reply; // the frames of one response

mod file_wrapper; // wsgi.file_wrapper

mod python; // what PyO3 has no safe form for: str from bytes and back, reference counts

use pyo3::prelude::*;

/// The module's contents; `main` is what the loader calls.
#[pymodule]
mod tierce_worker {
    #[pymodule_export]
    use crate::warden::{ClientDisconnected, RequestTimeout};
    #[pymodule_export]
    use crate::zygote::main;
}
