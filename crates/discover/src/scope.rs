//! Which containers are meant, and where they are reached.
//!
//! Inside a container: those of the edge's own Compose project that expose a TCP port, on a network that the edge is in too. On
//! the host: those of a project that was named, or those with the label `tierce.enable=true`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::facts::Container;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const ENABLE: &str = "tierce.enable";
const PORT: &str = "tierce.port";
const OWN_LABELS: &str = "tierce.";

/// Which containers are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of this Compose project only.
    project: Option<String>,
    /// The service of the edge itself, which is none of its own upstreams.
    own_service: Option<String>,
    own_id: Option<String>,
    /// On these networks only; `None`: on all, as from the host.
    networks: Option<BTreeSet<String>>,
}

/// Where a container takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Of the container.
    pub id: String,
    /// `hello_web_1`
    pub name: String,
    /// Of Compose, else the container's name.
    pub service: String,
    /// An IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Whether a container is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Yes, there.
    Endpoint(Endpoint),
    /// It is, but why it cannot be reached the operator has to know.
    Unreachable(String),
    /// It is none of ours.
    Other,
}

impl Scope {
    /// Of an edge in this container, or on the host; of this project, if one was named.
    pub fn of(own: Option<&Container>, project: Option<&str>) -> Self {
        let own_label = |name| own.and_then(|own| own.label(name)).map(str::to_owned);
        let own_project = own_label(PROJECT);
        let project = project.map(str::to_owned).or_else(|| own_project.clone());
        Self {
            own_service: own_label(SERVICE).filter(|_| project == own_project),
            project,
            own_id: own.map(|own| own.id.clone()),
            networks: own.map(|own| own.addresses().map(|(network, _)| network.to_owned()).collect()),
        }
    }

    /// Whether this container is meant, and where it is.
    pub fn find(&self, container: &Container) -> Found {
        let enabled = container.label(ENABLE);
        let is_own = self.own_id.as_ref() == Some(&container.id)
            || self.own_service.is_some() && container.label(SERVICE) == self.own_service.as_deref();
        let is_elsewhere = self.project.as_deref().is_some_and(|project| container.label(PROJECT) != Some(project));
        let is_one_off = container.label(ONE_OFF).is_some_and(|one_off| one_off.eq_ignore_ascii_case("true"));
        let is_out = enabled == Some("false") || self.project.is_none() && enabled != Some("true");
        if is_own || is_elsewhere || is_one_off || is_out {
            return Found::Other;
        }
        let name = container.name();
        let port = match port(container) {
            Ok(Some(port)) => port,
            Ok(None) if enabled == Some("true") => {
                let hint = "write EXPOSE into its Dockerfile, or give it the label tierce.port";
                return Found::Unreachable(format!("{name} gets no requests: it exposes no TCP port; {hint}"));
            }
            Ok(None) => return Found::Other,
            Err(text) => {
                let hint = "expected a number from 1 to 65535";
                return Found::Unreachable(format!("{name} gets no requests: its port is {text:?}; {hint}"));
            }
        };
        let is_shared = |network: &str| self.networks.as_ref().is_none_or(|networks| networks.contains(network));
        let Some((_, host)) = container.addresses().find(|(network, _)| is_shared(network)) else {
            let hint = "put both into one network";
            return Found::Unreachable(format!("{name} gets no requests: it shares no network with the edge; {hint}"));
        };
        Found::Endpoint(Endpoint {
            id: container.id.clone(),
            name: name.to_owned(),
            service: container.label(SERVICE).unwrap_or(name).to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

/// What is not understood in the labels, to be told once.
pub(crate) fn unknown_labels(container: &Container) -> impl Iterator<Item = &str> {
    container.labels().filter(|label| label.starts_with(OWN_LABELS) && ![ENABLE, PORT].contains(label))
}

/// The one that was named, else the lowest.
fn port(container: &Container) -> Result<Option<u16>, String> {
    match container.label(PORT).or_else(|| container.variable("VIRTUAL_PORT")) {
        Some(text) => match text.trim().parse() {
            Ok(port) if port != 0 => Ok(Some(port)),
            _ => Err(text.to_owned()),
        },
        None => Ok(container.ports().min()),
    }
}
