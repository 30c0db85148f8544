//! What is known of containers, event by event; and which of them take requests.
//!
//! | a container that              | takes requests                                                         |
//! |-------------------------------|------------------------------------------------------------------------|
//! | runs                          | unless it has a HEALTHCHECK that has not said `healthy`                |
//! | is told to stop               | no more in this run, at once: before anything is asked of the engine   |
//! | gets another signal           | as before                                                              |
//! | has ended, is paused or gone  | no                                                                     |
//! | runs again                    | as one that runs; the engine tells the runs apart by when they started |
//!
//! Invariant: events only take away. That a container takes requests is believed to an inspection alone, and to none that
//! tells of a run whose end has been heard of.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    facts::{Container, Event},
    scope::{self, Endpoint, Found, Scope},
};

/// SIGKILL.
const KILL: u32 = 9;

/// The most containers that are followed; the others are as if they were not there.
const CONTAINERS_MAX: usize = 1000;

/// Everything that is known of containers.
#[derive(Debug, Default)]
pub struct Containers {
    known: BTreeMap<String, Known>,
}

#[derive(Debug, Default)]
struct Known {
    facts: Option<Container>,
    over: Over,
}

/// Which run of a container has got its end announced.
#[derive(Debug, Default, PartialEq, Eq)]
enum Over {
    #[default]
    Nothing,
    /// The one that goes on now, of which nothing is known yet.
    Unknown,
    /// The one that has started then.
    Run(String),
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is to be looked at.
    Inspect(String),
    /// There is nothing to be looked at.
    Nothing,
}

impl Containers {
    /// The containers that run, by their ids; what is not among them does not.
    pub fn listed(&mut self, ids: &BTreeSet<String>) {
        self.known.retain(|id, _| ids.contains(id));
    }

    /// An event.
    pub fn heard(&mut self, event: &Event) -> Heard {
        let Some(id) = event.container() else { return Heard::Nothing };
        let inspect = Heard::Inspect(id.to_owned());
        match (event.kind.as_str(), event.action.as_str()) {
            ("container", "destroy") => {
                self.known.remove(id);
                Heard::Nothing
            }
            ("container", "kill") => {
                let stops = |known: &Known| known.facts.as_ref().map_or(15, Container::stop_signal);
                // A container that is new is stopped before it was looked at: who knows its signal?
                let is_end =
                    |known: &Known| event.signal().is_none_or(|signal| signal == KILL || signal == stops(known));
                if let Some(known) = self.room(id).filter(|known| is_end(known)) {
                    known.end();
                }
                inspect
            }
            ("container", "die" | "stop" | "oom") => {
                if event.action != "oom"
                    && let Some(known) = self.known.get_mut(id)
                {
                    known.end();
                }
                inspect
            }
            ("container", "start") => {
                if let Some(known) = self.room(id).filter(|known| known.over == Over::Unknown) {
                    known.over = Over::Nothing;
                }
                inspect
            }
            ("container", "pause" | "unpause" | "rename" | "restart") | ("network", "connect" | "disconnect") => {
                inspect
            }
            ("container", action) if action.starts_with("health_status") => inspect,
            _ => Heard::Nothing,
        }
    }

    /// What the engine says of a container; `None`: it knows none of this id.
    pub fn inspected(&mut self, id: &str, facts: Option<Container>) {
        match facts {
            None => drop(self.known.remove(id)),
            Some(facts) => {
                if let Some(known) = self.room(id) {
                    if known.over == Over::Unknown && facts.state.running {
                        known.over = Over::Run(facts.state.started_at.clone());
                    }
                    known.facts = Some(facts);
                }
            }
        }
    }

    /// Where requests can go, and what the operator has to know.
    pub fn endpoints(&self, scope: &Scope) -> (Vec<Endpoint>, BTreeSet<String>) {
        let mut notes = BTreeSet::new();
        let mut found: BTreeMap<(String, u16), (&str, Endpoint)> = BTreeMap::new();
        for known in self.known.values() {
            let Some(facts) = known.facts.as_ref().filter(|facts| facts.state.running) else { continue };
            let endpoint = match scope.find(facts) {
                Found::Endpoint(endpoint) => endpoint,
                Found::Unreachable(why) => {
                    notes.insert(why);
                    continue;
                }
                Found::Other => continue,
            };
            for label in scope::unknown_labels(facts) {
                notes.insert(format!("{}: the label {label} is not known and does nothing", endpoint.name));
            }
            if let Some(why) = known.rests() {
                notes.insert(format!("{} gets no requests: {why}", endpoint.name));
                continue;
            }
            // An address that another has got: whoever has started last has it.
            let started = facts.state.started_at.as_str();
            let at = (endpoint.host.clone(), endpoint.port);
            if found.get(&at).is_none_or(|(before, _)| *before < started) {
                found.insert(at, (started, endpoint));
            }
        }
        let endpoints: Vec<_> = found.into_values().map(|(_, endpoint)| endpoint).collect();
        let services: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.service.as_str()).collect();
        if 1 < services.len() {
            let names = services.into_iter().collect::<Vec<_>>().join(", ");
            let hint = "give those that are not meant the label tierce.enable=false";
            notes.insert(format!("no container gets requests: several services expose a TCP port ({names}); {hint}"));
            return (Vec::new(), notes);
        }
        (endpoints, notes)
    }

    fn room(&mut self, id: &str) -> Option<&mut Known> {
        if self.known.len() < CONTAINERS_MAX || self.known.contains_key(id) {
            return Some(self.known.entry(id.to_owned()).or_default());
        }
        None
    }
}

impl Known {
    fn end(&mut self) {
        self.over = match &self.facts {
            Some(facts) if facts.state.running => Over::Run(facts.state.started_at.clone()),
            Some(_) | None => Over::Unknown,
        };
    }

    /// Why it takes no requests although it runs.
    fn rests(&self) -> Option<String> {
        let facts = self.facts.as_ref()?;
        let is_over = matches!(&self.over, Over::Run(started) if *started == facts.state.started_at);
        match facts.health() {
            _ if is_over => Some("it was told to stop".to_owned()),
            _ if facts.state.restarting => Some("it is restarting".to_owned()),
            _ if facts.state.paused => Some("it is paused".to_owned()),
            None | Some("healthy") => None,
            Some(other) => Some(format!("its HEALTHCHECK says {other}")),
        }
    }
}

#[cfg(test)]
mod tests;
