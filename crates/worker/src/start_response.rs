//! `start_response` and the `write` it returns (PEP 3333, "The start_response() Callable"), and `wsgi.early_hints`.
//!
//! Invariant: after the request has ended, what the application may have kept of these does nothing but raise. A head
//! that gets through here holds nothing that could end a line or begin another.

use std::{
    ffi::c_ulong,
    sync::{Mutex, PoisonError},
};

use link::flags;
use pyo3::{
    exceptions::{PyAssertionError, PyBrokenPipeError, PyRuntimeError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyString, PyTuple},
};

use crate::{
    python::{push_latin1, references},
    reply::{Head, More, Progress, Reply, Stop},
    zygote::is_disowned,
};

/// A head longer than this is a mistake; it also bounds the frame.
const HEAD_MAX: usize = 256 * 1024;

/// Fields between an application and its server only (PEP 3333: "hop-by-hop" is the server's business).
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Where the response of the running request is, while the application may talk about it.
#[pyclass(frozen, module = "tierce_worker")]
#[derive(Debug)]
pub(crate) struct Voice(Mutex<Option<Reply>>);

/// What one thread (or greenlet) uses for one request after the other.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What the thread (or greenlet) is called.
    pub(crate) name: c_ulong,
    ready: Option<Ready>,
}

#[derive(Debug)]
struct Ready {
    voice: Py<Voice>,
    start_response: Py<PyAny>,
    early_hints: Py<PyAny>,
}

/// What the application is given of a response.
#[derive(Debug)]
pub(crate) struct Opened<'py> {
    pub(crate) voice: Bound<'py, Voice>,
    pub(crate) start_response: Bound<'py, PyAny>,
    pub(crate) early_hints: Bound<'py, PyAny>,
}

impl Desk {
    /// The desk of a thread, or greenlet, of this name.
    pub(crate) fn new(name: c_ulong) -> Self {
        Self { name, ready: None }
    }

    /// Begins a response: where it is, and the callables for the application.
    pub(crate) fn open<'py>(&mut self, py: Python<'py>, reply: Reply) -> PyResult<Opened<'py>> {
        let ready = match self.ready.take() {
            Some(ready) => ready,
            None => {
                let voice = Bound::new(py, Voice(Mutex::new(None)))?;
                let start_response = voice.getattr("start_response")?.unbind();
                let early_hints = voice.getattr("early_hints")?.unbind();
                Ready { voice: voice.unbind(), start_response, early_hints }
            }
        };
        let opened = Opened {
            voice: ready.voice.bind(py).clone(),
            start_response: ready.start_response.bind(py).clone(),
            early_hints: ready.early_hints.bind(py).clone(),
        };
        opened.voice.get().put(Some(reply));
        self.ready = Some(ready);
        Ok(opened)
    }

    /// Ends a response. What the application has kept is not used for the next one.
    pub(crate) fn close(&mut self, py: Python<'_>) -> Option<Reply> {
        let ready = self.ready.take()?;
        let reply = ready.voice.get().put(None);
        // One reference of each callable is ours; they and we have one of the voice each.
        let ours = |callable| references(py, callable) == 1;
        if ours(&ready.start_response) && ours(&ready.early_hints) && references(py, &ready.voice) == 3 {
            self.ready = Some(ready);
        }
        reply
    }
}

impl Voice {
    /// Works on the response, which is away from its place meanwhile: the lock must not be held while the GIL is not.
    pub(crate) fn with_reply<T>(&self, work: impl FnOnce(&mut Reply) -> PyResult<T>) -> PyResult<T> {
        if is_disowned() {
            return Err(PyRuntimeError::new_err("a child that a handler has forked cannot answer: its parent does"));
        }
        let Some(mut reply) = self.put(None) else {
            return Err(PyRuntimeError::new_err("this request has ended, or another thread is writing"));
        };
        let result = work(&mut reply);
        self.put(Some(reply));
        result
    }

    fn put(&self, reply: Option<Reply>) -> Option<Reply> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), reply)
    }
}

#[pymethods]
impl Voice {
    #[pyo3(signature = (status, response_headers, exc_info = None))]
    fn start_response<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        response_headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().with_reply(|reply| {
            if let Some(exc_info) = exc_info {
                if reply.is_begun() {
                    return Err(PyErr::from_value(exc_info.cast::<PyTuple>()?.get_item(1)?));
                }
            } else if reply.head().is_some() {
                return Err(PyAssertionError::new_err("start_response was called before, and without exc_info"));
            }
            reply.set_head(parse(status, response_headers)?);
            Ok(())
        })?;
        slf.getattr(pyo3::intern!(slf.py(), "write"))
    }

    fn write(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.with_reply(|reply| {
            let progress = reply.write(py, data.as_bytes(), More::Follows)?;
            // It has left before the application goes on.
            reply.flush();
            match progress {
                Progress::Excess => Err(PyValueError::new_err("the body is longer than its Content-Length")),
                Progress::Same | Progress::Open | Progress::Complete | Progress::Bodiless => Ok(()),
            }
        })
    }

    /// RFC 8297: fields that let the client begin with what it will need. Checked as those of a response are; no matter
    /// where they would come too late, or where the client would not understand.
    fn early_hints(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with_reply(|reply| {
            let mut hints = Head::default();
            hints.add_all(headers)?;
            reply.hint(&hints.fields);
            Ok(())
        })
    }
}

impl From<Stop> for PyErr {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => PyBrokenPipeError::new_err("nobody waits for this response any more"),
            Stop::NoHead => PyAssertionError::new_err("the body began before start_response was called"),
            Stop::Raised(error) => error,
        }
    }
}

fn parse(status: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<Head> {
    let mut head = Head::default();
    let status = text(status, "the status")?;
    let (code, reason) = status.to_str()?.split_at_checked(3).ok_or_else(|| bad_status(status))?;
    head.status = code.parse().ok().filter(|code| (200..=999).contains(code)).ok_or_else(|| bad_status(status))?;
    if !reason.is_empty() && !reason.starts_with(' ') {
        return Err(bad_status(status));
    }
    if !push_latin1(&mut head.reason, reason.trim_start_matches(' ')) || !is_value(&head.reason) {
        return Err(bad_status(status));
    }
    head.add_all(fields)?;
    Ok(head)
}

impl Head {
    fn add_all(&mut self, fields: &Bound<'_, PyAny>) -> PyResult<()> {
        self.fields.reserve(256);
        for field in fields.try_iter()? {
            let field = field?;
            let pair = field.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let pair = pair.ok_or_else(|| PyTypeError::new_err("each header is a tuple of a name and a value"))?;
            let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
            self.add(text(&name, "a header's name")?.to_str()?, text(&value, "a header's value")?)?;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, value: &Bound<'_, PyString>) -> PyResult<()> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(PyValueError::new_err(format!("{name:?} cannot be a header's name")));
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if HOP_BY_HOP.iter().any(|other| is(other)) {
            return Ok(());
        }
        let begun = self.fields.len();
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.extend_from_slice(b": ");
        let value_at = self.fields.len();
        if !push_latin1(&mut self.fields, value.to_str()?) || !is_value(&self.fields[value_at..]) {
            return Err(PyValueError::new_err(format!("header {name} cannot have the value {value:?}")));
        }
        if is("content-length") {
            let length = length(&self.fields[value_at..]);
            let length = length.filter(|length| self.length.is_none_or(|other| other == *length));
            self.length = Some(length.ok_or_else(|| PyValueError::new_err(format!("bad Content-Length: {value:?}")))?);
            self.fields.truncate(begun);
            return Ok(());
        }
        self.fields.extend_from_slice(b"\r\n");
        if HEAD_MAX < self.fields.len() {
            return Err(PyValueError::new_err("the headers of the response are too long"));
        }
        if is("date") {
            self.flags |= flags::HAS_DATE;
        }
        Ok(())
    }
}

fn text<'a, 'py>(object: &'a Bound<'py, PyAny>, what: &str) -> PyResult<&'a Bound<'py, PyString>> {
    object.cast::<PyString>().map_err(|_| PyTypeError::new_err(format!("{what} must be a str, not {object:?}")))
}

fn bad_status(status: &Bound<'_, PyString>) -> PyErr {
    PyValueError::new_err(format!("{status:?} is not a status like \"200 OK\""))
}

/// RFC 9110 §5.6.2: a token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 §5.5: visible characters, space, tab, and what is not ASCII.
fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// RFC 9110 §8.6: digits only.
fn length(bytes: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(bytes).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
