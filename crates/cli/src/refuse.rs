//! Why Tierce does not start: each mistake with its words and its exit status.
//!
//! Invariant: everything is said on standard error before the status is returned. What failed is found out elsewhere.

use std::io::ErrorKind;

use control::{LockError, NoPlace, Place};
use proxy::{Address, BindError};
use supervise::{Blame, Explanation, StartError};

use crate::{exit::Exit, say};

/// A start that is given up, not said yet.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) explanation: Box<Explanation>,
    pub(crate) exit: Exit,
}

impl Refusal {
    /// Something that is nobody's mistake.
    pub(crate) fn failed(what: impl Into<String>, cause: &dyn std::fmt::Display) -> Self {
        Self { explanation: Box::new(Explanation::new(what).cause(cause.to_string())), exit: Exit::FAILED }
    }

    /// Says it and ends.
    pub(crate) fn say(self) -> Exit {
        fail(&self.explanation, self.exit)
    }
}

/// Says an explanation and ends with `exit`.
pub(crate) fn fail(explanation: &Explanation, exit: Exit) -> Exit {
    say::message(&explanation.to_string());
    exit
}

pub(crate) fn cannot_lock(error: &LockError, place: &Place) -> Refusal {
    let explanation = Explanation::new(error.to_string());
    let (explanation, exit) = match error {
        LockError::Running { .. } => (
            explanation
                .place(place.directory().display().to_string())
                .hint("`tierce reload` takes new code and configuration; `tierce down` stops it"),
            Exit::FAILED,
        ),
        LockError::Unusable { error: cause, .. } => (
            explanation.hint("the project's directory has to be writable, or XDG_RUNTIME_DIR set"),
            status(Blame::of(cause)),
        ),
    };
    Refusal { explanation: Box::new(explanation), exit }
}

pub(crate) fn no_place(error: &NoPlace) -> Refusal {
    let explanation = Explanation::new(error.to_string())
        .during("looking for a place for the control socket")
        .hint("a container with a read-only file system needs a small one in memory: --tmpfs /run:mode=1777");
    Refusal { explanation: Box::new(explanation), exit: Exit::FAILED }
}

pub(crate) fn cannot_bind_admin(error: &BindError) -> Refusal {
    let explanation = Explanation::new(error.to_string()).during("opening the admin listener");
    let exit = match error {
        BindError::NoPermission { .. } => Exit::NO_PERMISSION,
        _ => Exit::FAILED,
    };
    let explanation = explanation.hint("choose another address with `admin`, or write admin = \"off\"");
    Refusal { explanation: Box::new(explanation), exit }
}

pub(crate) fn cannot_bind(error: &BindError) -> Refusal {
    let explanation = Explanation::new(error.to_string()).during("opening the listeners");
    let (explanation, exit) = match error {
        BindError::InUse { address } => {
            (explanation.hint(format!("stop the other process, or {}", elsewhere(address))), Exit::FAILED)
        }
        BindError::Twice { .. } => {
            (explanation.hint("leave one of them out: the wider one covers the other"), Exit::CONFIG)
        }
        BindError::Occupied { .. } => {
            (explanation.hint("remove it if nobody needs it, or choose another path"), Exit::FAILED)
        }
        BindError::NoPermission { address } => (explanation.hint(permitted(address)), Exit::NO_PERMISSION),
        BindError::Other { address: Address::Unix { path, .. }, error } if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path).display();
            (explanation.hint(format!("make its directory: mkdir {directory}")), Exit::FAILED)
        }
        BindError::NoPlace { .. } | BindError::UnknownHost { .. } | BindError::Other { .. } => {
            (explanation, Exit::FAILED)
        }
    };
    Refusal { explanation: Box::new(explanation), exit }
}

/// What it takes to be allowed to listen there.
fn permitted(address: &Address) -> String {
    match address {
        Address::Tcp { .. } => {
            "ports below 1024 need privilege: choose a higher one, or give the service CAP_NET_BIND_SERVICE".to_owned()
        }
        Address::Unix { path, .. } => {
            let directory = path.parent().unwrap_or(path).display();
            format!("{directory} has to be writable for whoever starts Tierce")
        }
    }
}

/// Another address that is as reachable as the one that cannot be had, and no more.
fn elsewhere(address: &Address) -> String {
    match address {
        Address::Tcp { host, port, .. } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            format!("choose another port: -b {host}:{}", port.checked_add(1).unwrap_or(8080))
        }
        Address::Unix { .. } => "choose another path".to_owned(),
    }
}

/// The exit status tells whose mistake it was.
pub(crate) fn cannot_start(error: &StartError) -> Refusal {
    Refusal { explanation: error.0.clone(), exit: status(error.1) }
}

/// The exit status for a mistake of somebody's.
pub(crate) fn status(blame: Blame) -> Exit {
    match blame {
        Blame::Application => Exit::CONFIG,
        Blame::Permission => Exit::NO_PERMISSION,
        Blame::Machine => Exit::FAILED,
    }
}
