//! The edge's end of a link, on its way from the supervisor that made it to the thread that uses it.

use std::{
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sys::SharedWords;

use crate::{Ledger, Vitals};

/// A link's socket, to be taken once by the edge thread it is meant for, and its ledger.
#[derive(Debug)]
pub struct LinkEnd {
    socket: Mutex<Option<OwnedFd>>,
    words: SharedWords,
    cut_off: AtomicBool,
}

impl LinkEnd {
    /// Joins the two halves.
    pub fn new(socket: OwnedFd, words: SharedWords) -> Self {
        Self { socket: Mutex::new(Some(socket)), words, cut_off: AtomicBool::new(false) }
    }

    /// The socket, the first time it is asked for.
    pub fn take_socket(&self) -> Option<OwnedFd> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the worker has not finished by now is not waited for any longer: it is about to be ended on purpose.
    pub fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Release);
    }

    /// Whether it was ended on purpose, and has not crashed.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    /// The ledger shared with the worker.
    pub fn ledger(&self) -> Ledger<'_> {
        Ledger(&self.words)
    }

    /// What the worker tells of itself; on its first link.
    pub fn vitals(&self) -> Vitals {
        Vitals::read(&self.words)
    }
}
