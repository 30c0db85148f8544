//! What a request is tried again for on another upstream, beyond what always is: `retry_on`.

use crate::values::Values;

/// What an upstream may have done with a request that is then tried on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It has answered with this status.
    Status(u16),
    /// It has not answered within `limits.time`.
    Timeout,
    /// It has closed the connection before its answer was whole enough to be passed on.
    Closed,
}

/// For what a request with a safe method (RFC 9110 §9.2.1) is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(Vec<Again>);

/// By which name each is known.
const CHOICES: [(&str, Again); 8] = [
    ("timeout", Again::Timeout),
    ("closed", Again::Closed),
    ("404", Again::Status(404)),
    ("429", Again::Status(429)),
    ("500", Again::Status(500)),
    ("502", Again::Status(502)),
    ("503", Again::Status(503)),
    ("504", Again::Status(504)),
];

impl RetryOn {
    /// Whether this is a reason.
    pub fn holds(&self, again: Again) -> bool {
        self.0.contains(&again)
    }

    /// By their names, as in the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        CHOICES.iter().filter(|(_, again)| self.holds(*again)).map(|(name, _)| *name)
    }
}

pub(crate) fn retry_on(values: &mut Values) -> RetryOn {
    let mut all = RetryOn::default();
    for (text, given) in values.list("retry_on").unwrap_or_default() {
        match CHOICES.iter().find(|(name, _)| *name == text) {
            Some((_, again)) if !all.holds(*again) => all.0.push(*again),
            Some(_) => {}
            None => {
                let names: Vec<_> = CHOICES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                let hint = foreign(&text).map(str::to_owned);
                let what = format!("expected some of {}, found {text:?}", names.join(", "));
                values.reject("retry_on", &given, what, hint);
            }
        }
    }
    all
}

/// What nginx and HAProxy call it.
fn foreign(text: &str) -> Option<&'static str> {
    match text {
        "conn-failure" | "connect" | "refused" => {
            Some("a connection that cannot be made is always tried on another upstream")
        }
        "error" | "empty-response" | "reset" => Some("write \"closed\""),
        "response-timeout" => Some("write \"timeout\""),
        "5xx" | "all-retryable-errors" => Some("write [\"timeout\", \"closed\", \"500\", \"502\", \"503\", \"504\"]"),
        "non_idempotent" => Some("a request that may have been run is tried again only if its method is safe"),
        text if text.starts_with("http_") => Some("write the status alone: \"503\""),
        _ => None,
    }
}
