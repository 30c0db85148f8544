//! Where requests go: services, each with a queue of its own, and a thread's way to each of them.
//!
//! Invariant: a service is known by its queue. One that stays with new settings keeps its links and connections; one that
//! has gone lives on for the requests that have asked it before.

use std::{rc::Rc, sync::Arc, time::Instant};

use policy::Shared;
use tokio::{sync::watch, task::JoinSet};

use crate::{NodeTable, UpstreamTable, links::Links, upstream::Pools};

/// Whoever answers requests that go to one queue.
#[derive(Clone, Debug)]
pub struct Service {
    /// How routes, and people, name it.
    pub name: String,
    /// Its queue and slots.
    pub shared: Arc<Shared>,
    /// By whom its requests are answered.
    pub backend: Backend,
}

/// By whom requests are answered.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Workers of ours.
    Workers(watch::Receiver<Arc<NodeTable>>),
    /// Other servers.
    Upstreams(watch::Receiver<Arc<UpstreamTable>>),
}

/// One thread's way to a service.
#[derive(Debug)]
pub(crate) enum Way {
    /// Over links to workers; with what follows them.
    Workers { links: Rc<Links>, _tasks: JoinSet<()> },
    /// Over connections to other servers.
    Upstreams(Pools),
}

impl Way {
    /// The way of the thread with this number.
    pub(crate) fn new(service: Service, index: usize) -> Self {
        let Service { shared, backend, .. } = service;
        match backend {
            Backend::Workers(table) => {
                let links = Links::new(shared, table, index);
                let mut tasks = JoinSet::new();
                tasks.spawn_local(Rc::clone(&links).follow_the_table());
                tasks.spawn_local(Rc::clone(&links).rebind_the_stuck());
                Self::Workers { links, _tasks: tasks }
            }
            Backend::Upstreams(table) => Self::Upstreams(Pools::new(shared, table)),
        }
    }

    /// Queue and slots of the service.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        match self {
            Self::Workers { links, .. } => &links.shared,
            Self::Upstreams(pools) => &pools.shared,
        }
    }

    /// Closes what was kept for too long; to be called now and then.
    pub(crate) fn tidy(&self, now: Instant) {
        if let Self::Upstreams(pools) = self {
            pools.tidy(now);
        }
    }

    pub(crate) fn leads_to(&self, service: &Service) -> bool {
        Arc::ptr_eq(self.shared(), &service.shared)
    }
}
