//! Signals: what asks a running Tierce to stop or to reload.
//!
//! Invariant: a hangup reloads, as service managers and people mean it, unless it is the loss of the terminal; that
//! stops, as nobody could see any more what runs.

use std::{fs::File, io};

use rustix::termios::tcgetattr;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Stop(Stop),
    Reload,
}

/// Who asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C.
    Interrupt,
    /// A service manager, or `kill`.
    Terminate,
    /// Nobody: the terminal is gone.
    TerminalLost,
}

impl Stop {
    /// For a start that is given up before it was ready: an end that was ordered is no failure, for service managers
    /// too (systemd.service(5)).
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::INTERRUPTED,
            Self::Terminate | Self::TerminalLost => Exit::DONE,
        }
    }
}

/// All signals that are listened to.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    terminal: Option<Terminal>,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> io::Result<Self> {
        // Before it is listened to, which changes what is looked at.
        let terminal = Terminal::ours();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            terminal,
        })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            stop = stop_signal(&mut self.interrupt, &mut self.terminate) => Wish::Stop(stop),
            _ = self.hangup.recv() => match &self.terminal {
                Some(terminal) if terminal.is_gone() => Wish::Stop(Stop::TerminalLost),
                _ => Wish::Reload,
            },
        }
    }

    /// Waits for one that ends a start; whoever starts reads everything anew anyway.
    pub(crate) async fn stop(&mut self) -> Stop {
        loop {
            if let Wish::Stop(stop) = self.next().await {
                return stop;
            }
        }
    }

    /// Waits for one that somebody sends a second time. The loss of a terminal is told twice, by kernel and shell.
    pub(crate) async fn again(&mut self) -> Stop {
        stop_signal(&mut self.interrupt, &mut self.terminate).await
    }
}

async fn stop_signal(interrupt: &mut Signal, terminate: &mut Signal) -> Stop {
    tokio::select! {
        _ = interrupt.recv() => Stop::Interrupt,
        _ = terminate.recv() => Stop::Terminate,
    }
}

/// The terminal that this process was started on, if its loss means anything.
#[derive(Debug)]
struct Terminal(File);

impl Terminal {
    /// None in the background and under a service manager; nor under nohup(1), which says that the loss means nothing.
    fn ours() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if ignores_hangup(&status) { None } else { File::open("/dev/tty").ok().map(Self) }
    }

    fn is_gone(&self) -> bool {
        tcgetattr(&self.0).is_err()
    }
}

/// Whether a process with this /proc/PID/status ignores SIGHUP, the first bit of the mask (proc_pid_status(5)).
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen() {
        assert!(ignores_hangup("Name:\ta\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("Name:\ta\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }

    #[test]
    fn an_end_that_was_ordered_is_no_failure() {
        assert_eq!(Stop::Interrupt.exit(), Exit::INTERRUPTED);
        assert_eq!(Stop::Terminate.exit(), Exit::DONE);
        assert_eq!(Stop::TerminalLost.exit(), Exit::DONE);
    }
}
