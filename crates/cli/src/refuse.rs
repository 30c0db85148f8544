//! Why Tierce does not start: each mistake with its words and its exit status.
//!
//! Invariant: everything is said on standard error before the status is returned. What failed is found out elsewhere.

use control::{LockError, Place};
use proxy::BindError;
use supervise::{Explanation, StartError};

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

pub(crate) fn cannot_lock(error: &LockError, place: &Place) -> Exit {
    let program = say::program();
    match error {
        LockError::Running { .. } => fail(
            &Explanation::new(error.to_string())
                .place(place.directory().display().to_string())
                .hint(format!("{program} reload takes new code and configuration; {program} down stops it")),
            Exit::FAILED,
        ),
        LockError::Unusable { error: cause, .. } => {
            let exit =
                if cause.kind() == std::io::ErrorKind::PermissionDenied { Exit::NO_PERMISSION } else { Exit::FAILED };
            fail(
                &Explanation::new(error.to_string())
                    .hint("the project's directory has to be writable, or XDG_RUNTIME_DIR set"),
                exit,
            )
        }
    }
}

pub(crate) fn cannot_bind(error: &BindError) -> Exit {
    let explanation = Explanation::new(error.to_string()).during("opening the listeners");
    match error {
        BindError::InUse { .. } => {
            fail(&explanation.hint("stop the other process, or choose another address: -b :8081"), Exit::FAILED)
        }
        BindError::NoPermission { .. } => fail(
            &explanation
                .hint("ports below 1024 need privilege: choose a higher one, or give the service CAP_NET_BIND_SERVICE"),
            Exit::NO_PERMISSION,
        ),
        BindError::UnknownHost { .. } | BindError::Other { .. } => fail(&explanation, Exit::FAILED),
    }
}

/// The exit status tells the application's mistakes from the machine's.
pub(crate) fn cannot_start(error: &StartError) -> Refusal {
    let exit = if error.is_the_applications() { Exit::CONFIG } else { Exit::FAILED };
    Refusal { explanation: error.0.clone(), exit }
}
