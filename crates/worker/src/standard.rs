//! Standard input, output and error, which an application may close: whatever it opens next would get their numbers, and
//! with them what it prints.
//!
//! Invariant: a number that stands for something else by now is left alone, also if that comes about meanwhile.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use rustix::{
    io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd, write},
    stdio::stderr,
};

const CLOSED: &str = "the application has closed its standard input, output or error (descriptors 0 to 2), which are not for it to \
                      close: they have been opened again\n";

/// Copies of what they are.
#[derive(Debug)]
pub(crate) struct Standard {
    /// Of standard input.
    null: OwnedFd,
    /// Of standard output and error.
    out: OwnedFd,
}

impl Standard {
    pub(crate) fn new(null: OwnedFd, out: OwnedFd) -> Self {
        Self { null, out }
    }

    /// To standard error, which Python's own objects for it cannot write to while the GIL is stuck.
    pub(crate) fn say(&self, text: &str) {
        if write(&self.out, text.as_bytes()).is_err() {
            // The copy may have been closed too; where nobody reads it, nothing can be said.
            let _ = write(stderr(), text.as_bytes());
        }
    }

    /// Opens again those that have been closed, and says so.
    pub(crate) fn restore(&self) {
        let copies = [&self.null, &self.out, &self.out];
        let restored = (0..).zip(copies).filter(|(number, copy)| is_closed(*number) && reopen(copy, *number)).count();
        if 0 < restored {
            self.say(CLOSED);
        }
    }
}

fn is_closed(number: RawFd) -> bool {
    // SAFETY: it is only asked whether there is one.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(descriptor) == Err(Errno::BADF)
}

/// The kernel gives the lowest number that is free, which is another one if the application has taken this one meanwhile.
fn reopen(copy: &OwnedFd, number: RawFd) -> bool {
    match fcntl_dupfd_cloexec(copy, number) {
        Ok(new) if new.as_raw_fd() == number => {
            // Programs that the application runs have it too; it belongs to the process from now on.
            let _ = fcntl_setfd(&new, FdFlags::empty());
            let _ = new.into_raw_fd();
            true
        }
        _ => false,
    }
}
