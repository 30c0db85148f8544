//! A process that others have started and that is to end with us: watched and killed by its descriptor (pidfd_open(2)).
//!
//! Invariant: dropping it kills the process. How it has ended is known only once it is our child.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper, waitid,
};
use tokio::io::{Interest, unix::AsyncFd};

/// It.
#[derive(Debug)]
pub(crate) struct Adopted(AsyncFd<OwnedFd>);

impl Adopted {
    /// `pid` must live, or have ended and not been waited for.
    pub(crate) fn new(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "the new form is unsafe for types that change their descriptor; OwnedFd does not"
        )]
        Ok(Self(AsyncFd::with_interest(process, Interest::READABLE)?))
    }

    /// Returns when it has ended.
    pub(crate) async fn wait(&self) -> Option<ExitStatus> {
        // It becomes readable once, at the end of the process.
        let _ended = self.0.readable().await.ok()?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let how = waitid(WaitId::PidFd(self.0.as_fd()), options).ok()??;
        let exited = how.exit_status().map(|code| code << 8);
        exited.or_else(|| how.terminating_signal()).map(ExitStatus::from_raw)
    }

    /// Ends it.
    pub(crate) async fn kill(&self) {
        self.end();
        self.wait().await;
    }

    fn end(&self) {
        // One that has ended needs it no more.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        self.end();
    }
}

/// As long as it lives, what loses its parent below this process becomes a child of this process (prctl(2),
/// `PR_SET_CHILD_SUBREAPER`). At other times what applications leave behind belongs to the system, which waits for it.
#[derive(Debug)]
pub(crate) struct Adoption(());

impl Adoption {
    pub(crate) fn begin() -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        Ok(Self(()))
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        // What could be set can be unset.
        let _ = set_child_subreaper(None);
    }
}
