//! What the engine tells of a container, as far as it matters.
//!
//! Invariant: whatever an engine adds or leaves out, the rest is read: no field is required but the id, and no set of words is
//! closed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// SIGTERM; what a container is stopped with unless it says otherwise.
const TERM: u32 = 15;

/// An element of `/containers/json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    #[serde(rename = "Id")]
    pub(crate) id: String,
}

/// The answer of `/containers/ID/json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(crate) state: State,
    #[serde(default, deserialize_with = "or_nothing")]
    config: Settings,
    #[serde(default, deserialize_with = "or_nothing")]
    network_settings: NetworkSettings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) restarting: bool,
    /// Tells one run of the container from another.
    pub(crate) started_at: String,
    #[serde(deserialize_with = "or_nothing")]
    health: Health,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    #[serde(deserialize_with = "or_nothing")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_nothing")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "or_nothing")]
    stop_signal: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_nothing")]
    networks: BTreeMap<String, Network>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "NetworkID", deserialize_with = "or_nothing")]
    id: String,
    #[serde(rename = "IPAddress", deserialize_with = "or_nothing")]
    address: String,
}

impl Container {
    /// `hello_web_1`
    pub(crate) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.get(name).map(String::as_str)
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.config.labels.keys().map(String::as_str)
    }

    /// A variable of its environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = |entry: &'_ String| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let entry = self.config.env.iter().find(|entry| value(entry))?;
        entry.split_once('=').map(|(_, value)| value)
    }

    /// The TCP ports that it exposes or publishes.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.config.exposed_ports.keys().filter_map(|port| port.strip_suffix("/tcp")?.parse().ok())
    }

    /// The ids of its networks, and its address on each.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &str)> {
        let networks = self.network_settings.networks.values();
        networks.filter(|network| !network.address.is_empty()).map(|network| (&*network.id, &*network.address))
    }

    /// `starting`, `healthy`, `unhealthy` or another word; `None` without a HEALTHCHECK.
    pub(crate) fn health(&self) -> Option<&str> {
        let status = self.state.health.status.as_str();
        Some(status).filter(|status| !status.is_empty() && *status != "none")
    }

    /// The number of the signal that asks it to stop.
    pub(crate) fn stop_signal(&self) -> u32 {
        signal(&self.config.stop_signal)
    }
}

/// Names as well as numbers: `SIGUSR1`, `USR1`, `10`.
fn signal(text: &str) -> u32 {
    match text.strip_prefix("SIG").unwrap_or(text) {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        "WINCH" => 28,
        "PWR" => 30,
        // SIGRTMIN+3, by which systemd is stopped.
        "RTMIN+3" => 37,
        other => other.parse().unwrap_or(TERM),
    }
}

/// A line of `/events`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Event {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) action: String,
    #[serde(deserialize_with = "or_nothing")]
    actor: Actor,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", deserialize_with = "or_nothing")]
    attributes: BTreeMap<String, String>,
}

impl Event {
    /// Which container it is about.
    pub(crate) fn container(&self) -> Option<&str> {
        match self.kind.as_str() {
            "container" => Some(self.actor.id.as_str()),
            "network" => self.actor.attributes.get("container").map(String::as_str),
            _ => None,
        }
        .filter(|id| !id.is_empty())
    }

    pub(crate) fn signal(&self) -> Option<u32> {
        self.actor.attributes.get("signal")?.parse().ok()
    }
}

/// `null` stands for what is empty.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
