//! The calls into CPython that PyO3 has no safe form for, and text between bytes and Python: WSGI's strings hold one
//! byte in each character (PEP 3333, "native strings").
//!
//! Invariant: bytes → str → bytes gives the same bytes. Nothing here knows what the text means.

use pyo3::{ffi, prelude::*, types::PyString};

/// The `str` whose characters are those bytes.
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len()).expect("a slice is shorter than isize::MAX");
    // SAFETY: pointer and length are one slice's; the call copies it and returns a new reference to a str, or null
    // with an exception set, which `from_owned_ptr_or_err` expects.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

/// Appends the bytes that the characters of `text` stand for. False: one of them stands for none.
pub(crate) fn push_latin1(out: &mut Vec<u8>, text: &str) -> bool {
    if text.is_ascii() {
        out.extend_from_slice(text.as_bytes());
        return true;
    }
    text.chars().all(|char| {
        u8::try_from(char).is_ok_and(|byte| {
            out.push(byte);
            true
        })
    })
}

/// How many references to the object there are.
pub(crate) fn references<T>(_: Python<'_>, object: &Py<T>) -> ffi::Py_ssize_t {
    // SAFETY: the object is alive, because `object` is a reference to it, and the GIL is held.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
