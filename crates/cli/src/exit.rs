//! Exit statuses; those above 63 are from sysexits(3).

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const DONE: Self = Self(0);
    /// It failed, for none of the reasons below.
    pub(crate) const FAILED: Self = Self(1);
    /// The command line was wrong.
    pub(crate) const USAGE: Self = Self(2);
    /// Nothing is running (EX_UNAVAILABLE).
    pub(crate) const NOT_RUNNING: Self = Self(69);
    /// The system does not allow it (EX_NOPERM).
    pub(crate) const NO_PERMISSION: Self = Self(77);
    /// The configuration or the application is wrong (EX_CONFIG).
    pub(crate) const CONFIG: Self = Self(78);
    /// The terminal went away before all was ready.
    pub(crate) const HUNG_UP: Self = Self(129);
    /// A second Ctrl-C, or one before all was ready.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// SIGTERM while `up -d` waited.
    pub(crate) const TERMINATED: Self = Self(143);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
