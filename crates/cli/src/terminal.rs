//! The terminal that Tierce was started on: when it is closed, nobody can stop a Tierce in the foreground any more.
//!
//! Invariant: whoever has asked to outlive the terminal (nohup(1)) does, and in the background there is none to lose.

use std::fs::{File, read_to_string};

/// What a hangup may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// That the terminal was closed.
    Attached,
    /// Nothing but that somebody has sent the signal.
    Detached,
}

impl Terminal {
    /// As it is now, which has to be before anything is done about hangups.
    pub(crate) fn now() -> Self {
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        if is_there() && !ignores_hangups(&status) { Self::Attached } else { Self::Detached }
    }

    /// Whether there was one and is no more.
    pub(crate) fn is_lost(self) -> bool {
        self == Self::Attached && !is_there()
    }
}

/// A process whose terminal was closed has none (tty(4), `/dev/tty`).
fn is_there() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether the first signal is in the set of those that are ignored (proc_pid_status(5), `SigIgn`).
fn ignores_hangups(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ignores_hangups_is_not_concerned() {
        for (status, ignored) in [
            ("Name:\ttierce\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n", false),
            ("Name:\ttierce\nSigIgn:\t0000000000001001\n", true),
            ("", false),
        ] {
            assert_eq!(ignores_hangups(status), ignored, "{status}");
        }
    }
}
