//! wsgi.input: the request's body as the application reads it.
//!
//! Invariant: every byte is handed out once and in order, and waiting for more never holds the GIL or a lock. The end
//! is the body's end, whatever its framing (`wsgi.input_terminated`).

use std::sync::{Arc, Mutex, PoisonError};

use link::{BODY_WINDOW, Kind, flags};
use pyo3::{
    exceptions::{PyConnectionAbortedError, PyRuntimeError},
    prelude::*,
    types::{PyBytes, PyList},
};

use crate::{
    exchange::{Exchange, Piece},
    zygote::is_disowned,
};

/// Credit is given back in amounts worth a frame, so that the edge never comes to a halt while much is on its way.
const ENOUGH: u32 = BODY_WINDOW / 4;

/// The file-like object.
#[pyclass(frozen, module = "tierce_worker")]
#[derive(Debug)]
pub(crate) struct Input(Mutex<Option<Body>>);

#[derive(Debug)]
struct Body {
    bytes: Vec<u8>,
    /// How many of `bytes` have been handed out.
    read: usize,
    rest: Rest,
    /// How many bytes have been read that the edge does not know of.
    owed: u32,
}

#[derive(Debug)]
enum Rest {
    Nothing,
    Follows(Arc<Exchange>),
    /// The edge sends it once it is told to, which the first read does.
    OnDemand(Arc<Exchange>),
}

impl Input {
    /// The body of a request whose frame brought `bytes` of it.
    pub(crate) fn new(exchange: &Arc<Exchange>, request_flags: u8, bytes: &[u8]) -> Self {
        let follows = request_flags & flags::BODY_FOLLOWS != 0;
        let rest = if follows { Rest::OnDemand(Arc::clone(exchange)) } else { Rest::Nothing };
        Self(Mutex::new(Some(Body { bytes: bytes.to_vec(), read: 0, rest, owed: 0 })))
    }

    /// No body. It keeps no state, so that requests can share one.
    pub(crate) fn empty() -> Self {
        Self(Mutex::new(Some(Body { bytes: Vec::new(), read: 0, rest: Rest::Nothing, owed: 0 })))
    }

    /// Reads from the body, which is away from its place meanwhile: the lock must not be held while the GIL is not.
    fn with_body<T>(&self, read: impl FnOnce(&mut Body) -> PyResult<T>) -> PyResult<T> {
        if is_disowned() {
            return Err(PyRuntimeError::new_err(
                "a child that a handler has forked cannot read the body: its parent can",
            ));
        }
        let place = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = place().take();
        let Some(mut body) = taken else {
            return Err(PyRuntimeError::new_err("wsgi.input is being read by another thread"));
        };
        let result = read(&mut body);
        *place() = Some(body);
        result
    }
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.with_body(|body| {
            let wanted = limit(size);
            while body.unread().len() < wanted && body.fill(py)? {}
            Ok(body.hand_out(py, wanted))
        })
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.with_body(|body| body.line(py, limit(size)))
    }

    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let wanted = hint.filter(|hint| *hint != 0);
        let mut read = 0;
        while read < limit(wanted) {
            let line = self.with_body(|body| body.line(py, usize::MAX))?;
            if line.as_bytes().is_empty() {
                break;
            }
            read += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.with_body(|body| body.line(py, usize::MAX))?;
        Ok(Some(line).filter(|line| !line.as_bytes().is_empty()))
    }

    /// Some frameworks close what they read; there is nothing to close.
    #[expect(clippy::unused_self, reason = "a method for Python")]
    fn close(&self) {}
}

impl Body {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    fn line<'py>(&mut self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut searched = 0;
        loop {
            let unread = self.unread();
            if let Some(place) = unread[searched..].iter().position(|byte| *byte == b'\n') {
                let end = most.min(searched + place + 1);
                return Ok(self.hand_out(py, end));
            }
            searched = unread.len();
            if most <= searched || !self.fill(py)? {
                return Ok(self.hand_out(py, most));
            }
        }
    }

    fn hand_out<'py>(&mut self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        let unread = self.unread();
        let taken = PyBytes::new(py, &unread[..most.min(unread.len())]);
        self.read += taken.as_bytes().len();
        taken
    }

    /// Waits for the next piece; false at the end.
    fn fill(&mut self, py: Python<'_>) -> PyResult<bool> {
        let exchange = match &self.rest {
            Rest::Nothing => return Ok(false),
            Rest::Follows(exchange) => Arc::clone(exchange),
            Rest::OnDemand(exchange) => {
                let exchange = Arc::clone(exchange);
                exchange.wire.append_frame(Kind::WantBody, 0, 0, exchange.id, &[]);
                exchange.wire.flush();
                self.rest = Rest::Follows(Arc::clone(&exchange));
                exchange
            }
        };
        let piece = match exchange.next_piece() {
            Some(piece) => piece,
            None => {
                self.pay(&exchange);
                exchange.wait_for_piece(py)?
            }
        };
        match piece {
            Piece::Bytes(bytes) => {
                self.owed += u32::try_from(bytes.len()).expect("a frame is shorter than 4 GiB");
                if ENOUGH <= self.owed {
                    self.pay(&exchange);
                }
                self.add(bytes);
                Ok(true)
            }
            Piece::End => {
                self.rest = Rest::Nothing;
                Ok(false)
            }
            Piece::Aborted => Err(PyConnectionAbortedError::new_err("the request's body has not come to its end")),
        }
    }

    /// Lets the edge send as much as has been read.
    fn pay(&mut self, exchange: &Exchange) {
        if 0 < self.owed {
            let amount = std::mem::take(&mut self.owed).to_le_bytes();
            exchange.wire.append_frame(Kind::BodyCredit, 0, 0, exchange.id, &amount);
            exchange.wire.flush();
        }
    }

    fn add(&mut self, bytes: Vec<u8>) {
        if self.unread().is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.drain(..self.read);
            self.bytes.extend_from_slice(&bytes);
        }
        self.read = 0;
    }
}

/// Python's convention: none and negative mean no limit.
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}
