//! The first process of a container: the rest of the program runs as its child; it passes signals on, and waits for every
//! process that loses its parent.
//!
//! Two processes, because whoever waits for any child takes away ends that somebody else is waiting for. Invariant: the
//! outer one does nothing that can fail, and ends when the inner one has, with the same status.
//!
//! | signal                | becomes                                                            |
//! |-----------------------|--------------------------------------------------------------------|
//! | TERM, INT, HUP        | the same                                                           |
//! | QUIT                  | TERM: images that others have begun may say `STOPSIGNAL SIGQUIT`   |
//! | TSTP, TTIN, TTOU      | not touched: the terminal stops both                               |
//! | all others            | nothing                                                            |
#![allow(unsafe_code)]

use std::{io, mem::MaybeUninit, ptr};

/// Faults of our own, and what a terminal does with its whole group.
const UNTOUCHED: [libc::c_int; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// In which of the two processes this returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It does what the program is for. It is killed when the outer process ends.
    Inner,
    /// The inner process has ended, with this status; 128 and the signal's number where a signal has ended it.
    Outer(u8),
}

/// Becomes two processes. To be called while there is a single thread.
///
/// # Errors
///
/// What the system says when there can be no second process; then there is one, as before.
pub fn become_init() -> io::Result<Side> {
    // SAFETY: plain system calls on values of this frame. There is one thread, so that the child may do after the fork what
    // it likes.
    unsafe {
        // Inherited as ignored, ends would not be told.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut taken = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(taken.as_mut_ptr());
        let mut taken = taken.assume_init();
        for signal in UNTOUCHED {
            libc::sigdelset(&raw mut taken, signal);
        }
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const taken, before.as_mut_ptr()))?;
        let before = before.assume_init();
        // For whoever is not the first process of a PID namespace, which adopts orphans anyway.
        check(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1))?;
        let outer = libc::getpid();
        match libc::fork() {
            -1 => {
                let error = io::Error::last_os_error();
                libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                Err(error)
            }
            0 => {
                libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                if libc::getppid() == outer { Ok(Side::Inner) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            }
            inner => Ok(Side::Outer(stand_by(inner, &taken))),
        }
    }
}

/// Passes signals on until `inner` has ended; returns how.
fn stand_by(inner: libc::pid_t, taken: &libc::sigset_t) -> u8 {
    loop {
        let mut information = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: both outlive the call, which fills in the second unless it fails.
        let signal = unsafe { libc::sigwaitinfo(taken, information.as_mut_ptr()) };
        if signal == -1 {
            // Stopped and continued by a terminal.
            continue;
        }
        if signal == libc::SIGCHLD {
            match reap(inner) {
                Some(status) => return status,
                None => continue,
            }
        }
        // SAFETY: it was filled in.
        let sent_by_a_process = unsafe { information.assume_init() }.si_code <= 0;
        // What the kernel sends for a terminal, it sends to the inner process too.
        if let Some(signal) = passed_on(signal).filter(|_| sent_by_a_process) {
            // SAFETY: a system call with two numbers; the process has not been waited for, so its number is its own.
            unsafe { libc::kill(inner, signal) };
        }
    }
}

/// What the inner process gets for a signal.
fn passed_on(signal: libc::c_int) -> Option<libc::c_int> {
    match signal {
        libc::SIGTERM | libc::SIGINT | libc::SIGHUP => Some(signal),
        libc::SIGQUIT => Some(libc::SIGTERM),
        _ => None,
    }
}

/// Waits for all that has ended; returns the status of `inner` if that has too.
fn reap(inner: libc::pid_t) -> Option<u8> {
    let mut ended = None;
    loop {
        let mut status = 0;
        // SAFETY: the number outlives the call.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 | -1 => return ended,
            process if process == inner => ended = Some(shown(status)),
            _ => {}
        }
    }
}

/// As a shell shows it.
fn shown(status: libc::c_int) -> u8 {
    let number = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_ask_for_something_are_passed_on() {
        for (signal, passed) in [
            (libc::SIGTERM, Some(libc::SIGTERM)),
            (libc::SIGINT, Some(libc::SIGINT)),
            (libc::SIGHUP, Some(libc::SIGHUP)),
            (libc::SIGQUIT, Some(libc::SIGTERM)),
            (libc::SIGUSR1, None),
            (libc::SIGUSR2, None),
            (libc::SIGWINCH, None),
            (libc::SIGCONT, None),
            (libc::SIGALRM, None),
        ] {
            assert_eq!(passed_on(signal), passed, "{signal}");
        }
    }

    #[test]
    fn statuses_are_those_of_a_shell() {
        for (status, expected) in [(0, 0), (78 << 8, 78), (libc::SIGKILL, 137), (libc::SIGSEGV | 0x80, 139)] {
            assert_eq!(shown(status), expected, "{status}");
        }
    }
}
