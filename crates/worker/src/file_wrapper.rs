//! wsgi.file_wrapper (PEP 3333, "Optional Platform-Specific File Handling"): an iterable over the blocks of a file, which
//! is sent without being read here where that comes to the same.
//!
//! Invariant: `close` closes the file, if it can be closed. A descriptor that is handed out is another than the file's, so
//! that closing does not concern who has it.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use link::FilePart;
use pyo3::{
    exceptions::PyException,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyTuple, PyType},
};
use rustix::{
    fs::{FileType, fstat},
    io::fcntl_dupfd_cloexec,
};

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

    /// With this and the two below Werkzeug begins a range in the middle of a file without reading what is before.
    fn seekable(&self, py: Python<'_>) -> PyResult<bool> {
        let file = self.file.bind(py);
        match file.getattr_opt("seekable")? {
            Some(seekable) => seekable.call0()?.is_truthy(),
            None => file.hasattr("seek"),
        }
    }

    #[pyo3(signature = (*position))]
    fn seek<'py>(&self, py: Python<'py>, position: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.file.bind(py).call_method1("seek", position)
    }

    fn tell<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.file.bind(py).call_method0("tell")
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.file.bind(py).getattr_opt("close")? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// What iterating would send, as a part of a file and a descriptor of our own. `None`: it has to be iterated.
    pub(crate) fn part(&self, py: Python<'_>) -> PyResult<Option<(FilePart, OwnedFd)>> {
        match self.find_part(py) {
            // Reading it will raise the same, or show that it does not matter.
            Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
            found => found,
        }
    }

    fn find_part(&self, py: Python<'_>) -> PyResult<Option<(FilePart, OwnedFd)>> {
        let Some(file) = plain_file(self.file.bind(py))? else { return Ok(None) };
        // What was written and not flushed would be read too.
        file.call_method0("flush")?;
        let offset: u64 = file.call_method0("tell")?.extract()?;
        let descriptor: RawFd = file.call_method0("fileno")?.extract()?;
        // SAFETY: an open file has just told it, and with the GIL held nobody closes it before it is duplicated.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let Ok(descriptor) = fcntl_dupfd_cloexec(descriptor, 0) else { return Ok(None) };
        let Ok(stat) = fstat(&descriptor) else { return Ok(None) };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let length = size.saturating_sub(offset);
        // Files that are made up while they are read (/proc, /sys) know no size, or not the right one, and no blocks.
        let is_stored = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && 0 < stat.st_blocks;
        Ok((is_stored && 0 < length).then_some((FilePart { offset, length }, descriptor)))
    }
}

/// The plain binary file that `read` reads. What an object's `fileno` says is not enough: a `GzipFile` has one, whose bytes
/// are not those that it reads.
fn plain_file<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    static TEMPORARY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static RAW: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static BUFFERED: [(PyOnceLock<Py<PyType>>, &str); 2] =
        [(PyOnceLock::new(), "BufferedReader"), (PyOnceLock::new(), "BufferedRandom")];
    let py = object.py();
    // Python's own wrapper of temporary files only adds that they are deleted.
    let temporary = object.get_type().is(TEMPORARY.import(py, "tempfile", "_TemporaryFileWrapper")?);
    let object = if temporary { object.getattr("file")? } else { object.clone() };
    // An object that passes `read` on to a file is as good as the file.
    let read = object.getattr("read")?;
    let Some(file) = read.getattr_opt("__self__")? else { return Ok(None) };
    if !read.getattr("__name__")?.eq("read")? {
        return Ok(None);
    }
    let raw_type = RAW.import(py, "io", "FileIO")?;
    let mut raw = file.get_type().is(raw_type);
    for (buffered, name) in &BUFFERED {
        if file.get_type().is(buffered.import(py, "io", name)?) {
            raw = file.getattr("raw")?.get_type().is(raw_type);
        }
    }
    Ok((raw && file.call_method0("readable")?.is_truthy()?).then_some(file))
}
