//! wsgi.file_wrapper (PEP 3333, "Optional Platform-Specific File Handling"): iterates over a file in blocks.
//!
//! Invariant: `close` closes the file, if it can be closed. The file is read through Python; nothing is sent here.

use pyo3::{prelude::*, types::PyBytes};

/// Few reads for a large file, and less than a response's window.
const BLOCK: usize = 64 * 1024;

/// An iterable over the blocks of a file.
#[pyclass(frozen, module = "tierce_worker")]
#[derive(Debug)]
pub(crate) struct FileWrapper {
    file: Py<PyAny>,
    block: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size = BLOCK))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> Self {
        Self { file: filelike, block: block_size }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let block = self.file.bind(py).call_method1("read", (self.block,))?.cast_into::<PyBytes>()?;
        Ok(Some(block).filter(|block| !block.as_bytes().is_empty()))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.file.bind(py).getattr_opt("close")? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}
