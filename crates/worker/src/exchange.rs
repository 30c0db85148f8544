//! One exchange as frames change it: its request's body, the credit for its response, whether it is still wanted.
//!
//! Invariant: after `cancel` nobody waits here. The I/O thread changes it, one runner waits on it (without the GIL).

use std::{
    collections::VecDeque,
    ffi::c_ulong,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use link::{ExchangeId, RESPONSE_WINDOW};
use pyo3::prelude::*;

use crate::{greenlets, io::Bell, wire::Wire};

/// One exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) wire: Arc<Wire>,
    pub(crate) id: ExchangeId,
    flow: Mutex<Flow>,
    changed: Condvar,
    /// The thread that runs it, or one of the words below. Changed under the GIL, as `interrupted` is.
    runner: AtomicU64,
    interrupted: AtomicBool,
}

const NOT_YET: u64 = 0;
const ENDED: u64 = u64::MAX;

/// Who runs the application for an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Nobody so far.
    NotYet,
    /// The thread of this name, or the greenlet.
    Thread(c_ulong),
    /// Nobody any more.
    Ended,
}

/// The edge wants no more of this exchange.
#[derive(Debug)]
pub(crate) struct Cancelled;

/// What comes next of a request's body.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    End,
    /// The rest will never come.
    Aborted,
}

#[derive(Debug)]
struct Flow {
    body: VecDeque<Vec<u8>>,
    body_end: BodyEnd,
    credit: u32,
    cancelled: bool,
    /// Whether a thread waits: a notification is a system call.
    waiting: bool,
    /// What greenlets that wait are woken by.
    bell: Option<Arc<Bell>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyEnd {
    Open,
    Reached,
    Aborted,
}

impl Exchange {
    /// An exchange that has just been offered.
    pub(crate) fn new(wire: &Arc<Wire>, id: ExchangeId) -> Self {
        let flow = Flow {
            body: VecDeque::new(),
            body_end: BodyEnd::Open,
            credit: RESPONSE_WINDOW,
            cancelled: false,
            waiting: false,
            bell: None,
        };
        Self {
            wire: Arc::clone(wire),
            id,
            flow: Mutex::new(flow),
            changed: Condvar::new(),
            runner: AtomicU64::new(NOT_YET),
            interrupted: AtomicBool::new(false),
        }
    }

    /// This thread (or greenlet), which holds the GIL, is about to call the application.
    pub(crate) fn begin(&self, thread: c_ulong) {
        self.runner.store(thread, Relaxed);
    }

    /// The application has returned; true when its thread was interrupted for it. The GIL is held.
    #[must_use]
    pub(crate) fn finish(&self) -> bool {
        self.runner.store(ENDED, Relaxed);
        self.interrupted.swap(false, Relaxed)
    }

    /// Who runs it; true as long as the GIL is held.
    pub(crate) fn runner(&self) -> Runner {
        match self.runner.load(Relaxed) {
            NOT_YET => Runner::NotYet,
            ENDED => Runner::Ended,
            thread => Runner::Thread(thread),
        }
    }

    /// An exception is on its way into the thread that runs it.
    pub(crate) fn note_interrupt(&self) {
        self.interrupted.store(true, Relaxed);
    }

    /// A piece of the body has come; `last` ends it.
    pub(crate) fn body(&self, bytes: &[u8], last: bool) {
        self.change(|flow| {
            if !bytes.is_empty() {
                flow.body.push_back(bytes.to_vec());
            }
            if last && flow.body_end == BodyEnd::Open {
                flow.body_end = BodyEnd::Reached;
            }
        });
    }

    /// The body will never be complete.
    pub(crate) fn abort_body(&self) {
        self.change(|flow| flow.body_end = BodyEnd::Aborted);
    }

    /// The edge has passed on so many bytes of the response.
    pub(crate) fn credit(&self, amount: u32) {
        self.change(|flow| flow.credit = flow.credit.saturating_add(amount).min(RESPONSE_WINDOW));
    }

    /// Nobody wants the rest.
    pub(crate) fn cancel(&self) {
        self.change(|flow| flow.cancelled = true);
    }

    /// Whether somebody still wants it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.flow().cancelled
    }

    /// The next piece of the body, if it has come.
    pub(crate) fn next_piece(&self) -> Option<Piece> {
        self.flow().next_piece()
    }

    /// The next piece of the body, as soon as there is one.
    pub(crate) fn wait_for_piece(&self, py: Python<'_>) -> PyResult<Piece> {
        self.wait(py, Flow::next_piece)
    }

    /// Leave to send up to `wanted` bytes; 0 when there is none at the moment.
    pub(crate) fn take_credit(&self, wanted: usize) -> Result<usize, Cancelled> {
        let mut flow = self.flow();
        if flow.cancelled {
            return Err(Cancelled);
        }
        let taken = flow.credit.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        flow.credit -= taken;
        Ok(taken as usize)
    }

    /// Waits until there is leave to send something, or none ever again.
    pub(crate) fn wait_for_credit(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, |flow| (0 < flow.credit || flow.cancelled).then_some(()))
    }

    fn change(&self, change: impl FnOnce(&mut Flow)) {
        let mut flow = self.flow();
        change(&mut flow);
        let bell = flow.bell.take();
        if std::mem::take(&mut flow.waiting) {
            drop(flow);
            self.changed.notify_all();
        }
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    /// Waits until `look` finds something, without the GIL; a greenlet lets others run meanwhile.
    fn wait<T: Send>(&self, py: Python<'_>, look: fn(&mut Flow) -> Option<T>) -> PyResult<T> {
        let Some(greenlets) = greenlets::here() else {
            return Ok(py.detach(|| self.wait_detached(look)));
        };
        loop {
            let bell = {
                let mut flow = self.flow();
                if let Some(found) = look(&mut flow) {
                    return Ok(found);
                }
                let bell = flow.bell.take().map_or_else(|| Bell::new().map(Arc::new), Ok)?;
                flow.bell = Some(Arc::clone(&bell));
                bell
            };
            greenlets.wait(py, &bell, None)?;
        }
    }

    fn wait_detached<T>(&self, look: fn(&mut Flow) -> Option<T>) -> T {
        let mut flow = self.flow();
        loop {
            if let Some(found) = look(&mut flow) {
                return found;
            }
            flow.waiting = true;
            flow = self.changed.wait(flow).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    fn next_piece(&mut self) -> Option<Piece> {
        if self.cancelled {
            return Some(Piece::Aborted);
        }
        match (self.body.pop_front(), self.body_end) {
            (Some(bytes), _) => Some(Piece::Bytes(bytes)),
            (None, BodyEnd::Reached) => Some(Piece::End),
            (None, BodyEnd::Aborted) => Some(Piece::Aborted),
            (None, BodyEnd::Open) => None,
        }
    }
}
