//! Whether another thread of this process waits in the kernel or runs, as the kernel says (proc_pid_syscall(5)).
//!
//! Asking costs 1.5 µs through a descriptor that stays open. Invariant: where the kernel does not tell, every thread runs.

use std::{fs::File, os::unix::fs::FileExt, sync::OnceLock};

use rustix::thread::{Pid, gettid};

/// What is to be seen of one thread.
#[derive(Debug)]
pub(crate) struct Watch {
    thread: Pid,
    file: OnceLock<Option<File>>,
}

impl Watch {
    /// The thread that calls this.
    pub(crate) fn this_thread() -> Self {
        Self { thread: gettid(), file: OnceLock::new() }
    }

    /// Whether it waits for something in the kernel.
    pub(crate) fn is_blocked(&self) -> bool {
        let path = || format!("/proc/self/task/{}/syscall", self.thread.as_raw_nonzero());
        let mut first = [0];
        let file = self.file.get_or_init(|| File::open(path()).ok()).as_ref();
        // `running`, or the number of the system call.
        file.is_some_and(|file| file.read_at(&mut first, 0).is_ok_and(|count| count == 1 && first[0] != b'r'))
    }
}
