//! The environ (PEP 3333): a copy of the listener's template and what this request adds.
//!
//! Invariant: a real `dict` of native strings; every key is an interned object made once. Fields with `_` in their names and
//! `Proxy` never arrive: the edge drops them, because they could pass for other variables. Variables come only from a
//! gateway, which is trusted, and none of them is one of `wsgi.…`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use link::{BodyLength, Field, Place, RequestHead, flags};
use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};

use crate::python::latin1;

/// How many names of fields are remembered, and how long they may be; others are made anew for each request.
const NAMES: usize = 512;
const NAME_MAX: usize = 64;

/// Makes environs.
#[derive(Debug)]
pub(crate) struct Environs {
    templates: Vec<Py<PyDict>>,
    keys: Keys,
    fields: Names,
    variables: Names,
}

/// Names that have been seen, and the keys of the environ that belong to them.
type Names = Mutex<HashMap<Box<[u8]>, Py<PyString>>>;

#[derive(Debug)]
struct Keys {
    method: Py<PyString>,
    path: Py<PyString>,
    query: Py<PyString>,
    request_uri: Py<PyString>,
    raw_uri: Py<PyString>,
    protocol: Py<PyString>,
    http10: Py<PyString>,
    remote_addr: Py<PyString>,
    remote_port: Py<PyString>,
    content_length: Py<PyString>,
    input: Py<PyString>,
    scheme: Py<PyString>,
    https: Py<PyString>,
    secure: Py<PyString>,
    on: Py<PyString>,
}

impl Environs {
    /// One template for each listener.
    pub(crate) fn new(py: Python<'_>, templates: Vec<Py<PyDict>>) -> PyResult<Self> {
        let key = |text| PyString::intern(py, text).unbind();
        let keys = Keys {
            method: key("REQUEST_METHOD"),
            path: key("PATH_INFO"),
            query: key("QUERY_STRING"),
            request_uri: key("REQUEST_URI"),
            raw_uri: key("RAW_URI"),
            protocol: key("SERVER_PROTOCOL"),
            http10: key("HTTP/1.0"),
            remote_addr: key("REMOTE_ADDR"),
            remote_port: key("REMOTE_PORT"),
            content_length: key("CONTENT_LENGTH"),
            input: key("wsgi.input"),
            scheme: key("wsgi.url_scheme"),
            https: key("https"),
            secure: key("HTTPS"),
            on: key("on"),
        };
        Ok(Self { templates, keys, fields: Mutex::default(), variables: Mutex::default() })
    }

    /// The environ of one request.
    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        listener: u16,
        request_flags: u8,
        head: &RequestHead<'_>,
        input: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keys = &self.keys;
        let template = self.templates.get(usize::from(listener)).or_else(|| self.templates.first());
        let environ = match template {
            Some(template) => template.bind(py).copy()?,
            None => PyDict::new(py),
        };
        if head.method != b"GET" {
            environ.set_item(&keys.method, latin1(py, head.method)?)?;
        }
        environ.set_item(&keys.path, path(py, head.path)?)?;
        if !head.query.is_empty() {
            environ.set_item(&keys.query, latin1(py, head.query)?)?;
        }
        let target = latin1(py, head.target)?;
        environ.set_item(&keys.request_uri, &target)?;
        environ.set_item(&keys.raw_uri, target)?;
        if request_flags & flags::HTTP10 != 0 {
            environ.set_item(&keys.protocol, &keys.http10)?;
        }
        if request_flags & flags::HTTPS != 0 {
            environ.set_item(&keys.scheme, &keys.https)?;
            // As CGI programs know it (PEP 3333, "URL Reconstruction").
            environ.set_item(&keys.secure, &keys.on)?;
        }
        environ.set_item(&keys.remote_addr, latin1(py, head.client)?)?;
        environ.set_item(&keys.remote_port, head.client_port.to_string())?;
        environ.set_item(&keys.input, input)?;
        self.add_fields(py, &environ, head)?;
        if let BodyLength::Known(length) = head.body_length {
            environ.set_item(&keys.content_length, length.to_string())?;
        }
        Ok(environ)
    }

    fn add_fields(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, head: &RequestHead<'_>) -> PyResult<()> {
        for field in head.fields() {
            // The length that the edge has established is the only one to believe (RFC 9112 §6.3).
            if field.name.eq_ignore_ascii_case(b"content-length") && head.body_length != BodyLength::None {
                continue;
            }
            let key = self.key(py, &field)?;
            let value = latin1(py, field.value)?;
            if field.place == Place::Variable {
                environ.set_item(key, value)?;
                continue;
            }
            // RFC 9110 §5.3: repeated fields mean a list; RFC 9113 §8.2.3: cookies join with "; ".
            let Some(first) = environ.get_item(&key)? else {
                environ.set_item(key, value)?;
                continue;
            };
            let between = if field.name.eq_ignore_ascii_case(b"cookie") { "; " } else { "," };
            let first = first.cast_into::<PyString>()?;
            let both = first.add(PyString::new(py, between))?.add(value)?;
            environ.set_item(key, both)?;
        }
        Ok(())
    }

    fn key<'py>(&self, py: Python<'py>, field: &Field<'_>) -> PyResult<Bound<'py, PyString>> {
        let name = field.name;
        let known = match field.place {
            Place::Field => &self.fields,
            Place::Variable => &self.variables,
        };
        if let Some(key) = known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(key.bind(py).clone());
        }
        let text = match field.place {
            Place::Field => variable(name),
            Place::Variable => name.to_vec(),
        };
        if NAME_MAX < name.len() {
            return latin1(py, &text);
        }
        let key = PyString::intern(py, &String::from_utf8_lossy(&text));
        let mut names = known.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < NAMES {
            names.insert(name.into(), key.clone().unbind());
        }
        Ok(key)
    }
}

/// The variable in which a field arrives.
fn variable(name: &[u8]) -> Vec<u8> {
    let upper = name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() });
    let plain = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-length");
    if plain { upper.collect() } else { b"HTTP_".iter().copied().chain(upper).collect() }
}

/// PATH_INFO: percent-decoded once (RFC 3986 §2.1); a `%` that begins nothing stays as it is. A URL without
/// a path is about the root (RFC 9110 §4.2.3): a path begins with a slash (RFC 3875 §4.1.5).
fn path<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let raw = if raw.starts_with(b"/") { raw } else { b"/" };
    if !raw.contains(&b'%') {
        return latin1(py, raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, after)) = rest.split_first() {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    latin1(py, &decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
