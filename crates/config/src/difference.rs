//! What differs between two configurations, key by key, in the words of the file.
//!
//! Invariant: every field of a `Config` is looked at, as `written`, `route` and `upstream` take each structure apart to its last field. No
//! secret is in what comes of it: of variables, users, pages and fields only the names are shown.

mod compare; // two written configurations side by side
mod written; // a configuration as keys and what they are set to
mod route; // the same of a route
mod upstream; // the same of an upstream, and of certificates
#[cfg(test)]
mod tests;

use std::fmt;

use crate::model::Config;

/// What is set otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The element of a list that the key belongs to, as `[[route]] path = "/api"` or `upstream http://127.0.0.1:8001`; empty
    /// for keys of the whole.
    pub of: String,
    /// The key, as `limits.queue`.
    pub key: String,
    /// How.
    pub change: Change,
}

/// How a key is set otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another value; `None`: none.
    Value {
        /// What counts.
        old: Option<String>,
        /// What is read now.
        new: Option<String>,
    },
    /// A value that is not shown.
    Hidden(Hidden),
    /// One more in a list.
    Added(String),
    /// One less.
    Removed(String),
    /// One stands elsewhere among those that stay.
    Moved {
        /// It.
        what: String,
        /// What it stands behind now; `None`: nothing.
        behind: Option<String>,
    },
}

/// What has become of a value that is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// There was none.
    Added,
    /// There is none any more.
    Removed,
    /// It is another.
    Changed,
}

/// All that differs, about in the order of the reference.
pub fn differences(old: &Config, new: &Config) -> Vec<Difference> {
    compare::compare(&written::config(old), &written::config(new))
}

/// One line: `limits.queue: 30s → 10s`, `listen: + http://127.0.0.1:9090`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.of.is_empty() {
            write!(f, "{}: ", self.of)?;
        }
        match &self.change {
            Change::Moved { what, .. } => write!(f, "{} {what}: ", self.key)?,
            _ => write!(f, "{}: ", self.key)?,
        }
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match &self.change {
            Change::Value { old, new } => write!(f, "{} → {}", shown(old), shown(new)),
            Change::Hidden(Hidden::Added) => f.write_str("added"),
            Change::Hidden(Hidden::Removed) => f.write_str("removed"),
            Change::Hidden(Hidden::Changed) => f.write_str("changed"),
            Change::Added(what) => write!(f, "+ {what}"),
            Change::Removed(what) => write!(f, "- {what}"),
            Change::Moved { what: _, behind: Some(behind) } => write!(f, "moved behind {behind}"),
            Change::Moved { what: _, behind: None } => f.write_str("moved to the front"),
        }
    }
}
