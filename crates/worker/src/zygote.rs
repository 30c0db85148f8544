//! The way into the Python part of the start (`boot/`), and what that needs of the system.
//!
//! Invariant: nothing here starts a thread before a worker serves, so that the zygote can be forked.

use std::{
    ffi::{CStr, CString},
    os::fd::IntoRawFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};

use crate::{file_wrapper::FileWrapper, serve};

/// The parts that are clearer in Python; each may import those before it.
const MODULES: [(&CStr, &str); 7] = [
    (c"tierce_greenlets", include_str!("boot/greenlets.py")),
    (c"tierce_process", include_str!("boot/process.py")),
    (c"tierce_app", include_str!("boot/app.py")),
    (c"tierce_zygote", include_str!("boot/zygote.py")),
    (c"tierce_obstacles", include_str!("boot/obstacles.py")),
    (c"tierce_work", include_str!("boot/work.py")),
    (c"tierce_boot", include_str!("boot/boot.py")),
];

/// Imports the application as `settings` (JSON) says, and becomes its zygote. Returns when this process is to exit:
/// in the zygote at the supervisor's word, in a worker when it has been drained.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, settings: &str) -> PyResult<()> {
    let native = PyDict::new(py);
    native.set_item("open_pidfd", wrap_pyfunction!(open_pidfd, py)?)?;
    native.set_item("die_with_parent", wrap_pyfunction!(die_with_parent, py)?)?;
    native.set_item("outlive_parent", wrap_pyfunction!(outlive_parent, py)?)?;
    native.set_item("disown", wrap_pyfunction!(disown, py)?)?;
    native.set_item("serve", wrap_pyfunction!(serve::serve, py)?)?;
    native.set_item("FileWrapper", py.get_type::<FileWrapper>())?;
    for (name, code) in MODULES {
        let code = CString::new(code).expect("our own code holds no zero byte");
        PyModule::from_code(py, &code, c"<tierce>", name)?;
    }
    native.set_item("greenlets", py.import("tierce_greenlets")?)?;
    py.import("tierce_boot")?.getattr("main")?.call1((settings, native))?;
    Ok(())
}

/// A descriptor that becomes readable when the child `pid` has ended.
#[pyfunction]
fn open_pidfd(pid: i32) -> PyResult<i32> {
    let pid = Pid::from_raw(pid).ok_or_else(|| PyValueError::new_err("not a process"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty()).map_err(std::io::Error::from)?.into_raw_fd())
}

/// Has the kernel kill this process when its parent ends.
#[pyfunction]
fn die_with_parent() -> PyResult<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?)
}

/// The contrary, until its parent is another.
#[pyfunction]
fn outlive_parent() -> PyResult<()> {
    Ok(set_parent_process_death_signal(None).map_err(std::io::Error::from)?)
}

/// Set in a child that a handler has forked.
static DISOWNED: AtomicBool = AtomicBool::new(false);

/// This process is a child that a handler has forked: its parent alone answers requests.
#[pyfunction]
fn disown() {
    DISOWNED.store(true, Relaxed);
}

/// Whether [`disown`] was called. The links must not be touched then, and their locks may be held by threads that are not here.
pub(crate) fn is_disowned() -> bool {
    DISOWNED.load(Relaxed)
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Status {
    Well = 0,
    Failed = 1,
}

/// Ends the process at once. Nobody is left to answer to, or nobody can be answered.
pub(crate) fn leave_now(status: Status) -> ! {
    // SAFETY: takes no pointers and returns to nobody; destructors and atexit handlers are left out on purpose,
    // because they might wait for the GIL.
    unsafe { libc::_exit(status as i32) }
}
