//! One JSON object a line: a question, then one answer; before it, what differs, if the question asks for that.

use serde::{Deserialize, Serialize};
use supervise::{NodeStatus, StaffStatus};

use crate::differs::Differs;

/// What a command asks of the running Tierce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// What there is.
    Ps,
    /// So many nodes.
    Scale {
        /// The service's name.
        app: String,
        /// How many.
        nodes: u32,
    },
    /// New code and configuration.
    Reload {
        /// What is said before the answer; commands that are older do not ask for anything.
        #[serde(default)]
        first: First,
    },
    /// What a reload would change in the configuration is said before the answer, and not done.
    Compare,
    /// The nodes one after the other.
    Restart,
    /// In each of these nodes, or in all, the workers are forked anew from the warmest.
    Refork {
        /// By their names.
        nodes: Vec<String>,
    },
    /// A node gets nothing new until it is told to be ready.
    Drain {
        /// Its name.
        node: String,
    },
    /// It gets requests again.
    Ready {
        /// Its name.
        node: String,
    },
    /// It gets so many requests in proportion to others.
    Weight {
        /// Its name.
        node: String,
        /// Others have 100.
        weight: u32,
    },
    /// Drain and end.
    Down,
}

/// What is said before an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// Nothing.
    #[default]
    Nothing,
    /// [`Answer::Differs`].
    Differences,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done {
        /// In one line.
        text: String,
    },
    /// What there is.
    Ps {
        /// It.
        ps: Ps,
    },
    /// No answer yet: what differs in the configuration.
    Differs {
        /// It.
        differs: Differs,
    },
    /// It was not done.
    Refused {
        /// The exit status of the command.
        code: u8,
        /// The whole message.
        text: String,
    },
}

/// What `ps --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ps {
    /// Version of this form.
    pub schema: u32,
    /// The services.
    pub apps: Vec<AppStatus>,
    /// Their nodes.
    pub items: Vec<NodeStatus>,
}

/// A service as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub name: String,
    /// Requests that wait for a slot.
    pub queued: usize,
    /// What has been decided, and why; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<AppReasons>,
}

/// What has been decided for a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppReasons {
    /// Requests that workers have.
    pub in_flight: u32,
    /// How many they may have at present, where more had only added latency.
    pub bound: Option<u32>,
    /// How many workers there are, where that adapts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff: Option<StaffStatus>,
}

/// The longest line either side reads.
pub(crate) const LINE_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_on_the_wire() {
        let scale = Ask::Scale { app: "web".to_owned(), nodes: 5 };
        assert_eq!(serde_json::to_string(&scale).unwrap(), r#"{"do":"scale","app":"web","nodes":5}"#);
        let refused = Answer::Refused { code: 78, text: "no".to_owned() };
        assert_eq!(serde_json::to_string(&refused).unwrap(), r#"{"say":"refused","code":78,"text":"no"}"#);
    }

    #[test]
    fn commands_of_other_versions_are_understood() {
        let reload = |first| Ask::Reload { first };
        assert_eq!(serde_json::from_str::<Ask>(r#"{"do":"reload"}"#).unwrap(), reload(First::Nothing));
        let asked = serde_json::to_string(&reload(First::Differences)).unwrap();
        assert_eq!(asked, r#"{"do":"reload","first":"differences"}"#);

        /// As it was before.
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "do", rename_all = "snake_case")]
        enum Older {
            Reload,
        }
        assert_eq!(serde_json::from_str::<Older>(&asked).unwrap(), Older::Reload);
        // It must not be taken for a reload.
        assert!(serde_json::from_str::<Older>(&serde_json::to_string(&Ask::Compare).unwrap()).is_err());
    }
}
