//! All services of a configuration that other servers answer.
//!
//! Invariant: a service is known by its name; one that stays keeps its queue, and so do requests that wait there.

use std::sync::Arc;

use config::Config;
use policy::{Outlook, Shared};
use telemetry::LogSink;

use super::{Upstream, keeper::Keeper, keeper::UpstreamStatus};
use crate::service::Service;

/// The upstreams of all services; on a local task set. Dropping it ends the probes.
#[derive(Debug)]
pub struct Keepers {
    list: Vec<Keeper>,
    /// What goes to the main service beside what the configuration says.
    discovered: Vec<config::Upstream>,
    sink: LogSink,
}

/// What has changed with a configuration: upstreams by their names, as in [`Keepers::names`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// They are new.
    pub came: Vec<String>,
    /// They finish what they have.
    pub went: Vec<String>,
}

impl Keepers {
    /// Keeps those of the configuration from now on.
    pub fn start(config: (&Config, &tls::Clients), sink: &LogSink) -> Self {
        let mut keepers = Self { list: Vec::new(), discovered: Vec::new(), sink: sink.clone() };
        keepers.follow(config);
        keepers
    }

    /// Follows the configuration: services that have gone finish what they have, without probes. Bounds and balancing of
    /// those that there are now are set by whoever calls, through [`Self::services`].
    pub fn follow(&mut self, (config, clients): (&Config, &tls::Clients)) -> Followed {
        let wanted = config.services();
        let mut before = std::mem::take(&mut self.list);
        let several = 1 < before.len().max(wanted.len());
        let shown = |service: &str, address: String| if several { format!("{service}/{address}") } else { address };
        let mut followed = Followed::default();
        for config::Service { name, mut upstreams } in wanted {
            if config.discover.is_some() && name == config.name {
                upstreams.extend_from_slice(&self.discovered);
            }
            let mut keeper = match before.iter().position(|keeper| keeper.name == name) {
                Some(at) => before.remove(at),
                None => {
                    let shared = Shared::new(config.limits.queue_length, sys::available_cores());
                    Keeper::new(&name, shared, &self.sink)
                }
            };
            let (came, went) = keeper.follow((config, clients), &upstreams);
            followed.came.extend(came.into_iter().map(|address| shown(&name, address)));
            followed.went.extend(went.into_iter().map(|address| shown(&name, address)));
            self.list.push(keeper);
        }
        for gone in before {
            followed.went.extend(gone.upstreams().map(|upstream| shown(&gone.name, upstream.label.name.clone())));
        }
        followed
    }

    /// These containers answer from now on, and no others: those that have gone finish what they have. A configuration that is
    /// followed later keeps them.
    pub fn discovered(&mut self, config: &Config, containers: Vec<config::Upstream>) -> Followed {
        self.discovered = containers;
        if config.discover.is_none() {
            return Followed::default();
        }
        let Some(keeper) = self.list.iter_mut().find(|keeper| keeper.name == config.name) else {
            return Followed::default();
        };
        // Nothing but these answers there, and plain HTTP is spoken to them.
        let (came, went) = keeper.follow((config, &tls::Clients::default()), &self.discovered);
        Followed { came, went }
    }

    /// The services, for the edge.
    pub fn services(&self) -> Vec<Service> {
        self.list.iter().map(Keeper::service).collect()
    }

    /// What there is to do for each service.
    pub fn outlooks(&self) -> impl Iterator<Item = (&str, Outlook)> {
        self.list.iter().map(|keeper| (keeper.name.as_str(), keeper.shared.outlook()))
    }

    /// How each upstream is, with the name of its service.
    pub fn status(&self) -> impl Iterator<Item = (&str, UpstreamStatus)> {
        self.all().map(|(service, upstream)| (service, upstream.status()))
    }

    /// Those that have this name: the address alone, or behind the service's name and a slash.
    pub fn named(&self, name: &str) -> Vec<&Upstream> {
        let is_meant = |service: &str, address: &str| {
            name == address || name.strip_prefix(service).is_some_and(|rest| rest.strip_prefix('/') == Some(address))
        };
        let meant = self.all().filter(|(service, upstream)| is_meant(service, &upstream.label.name));
        meant.map(|(_, upstream)| &**upstream).collect()
    }

    /// By which each can be found.
    pub fn names(&self) -> Vec<String> {
        let several = 1 < self.list.len();
        let name = |(service, upstream): (&str, &Arc<Upstream>)| match &upstream.label.name {
            address if several => format!("{service}/{address}"),
            address => address.clone(),
        };
        self.all().map(name).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Arc<Upstream>)> {
        self.list.iter().flat_map(|keeper| keeper.upstreams().map(|upstream| (keeper.name.as_str(), upstream)))
    }
}
