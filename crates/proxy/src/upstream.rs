//! Other servers that answer in an application's place: where they are, how they are, and the way to them.
//!
//! Invariant: an upstream is known by its place in the dispatch ([`WorkerId`]); whether it gets requests is decided by
//! `policy::Health` and kept in the dispatch, and nothing here is shared by threads but that, its health and its addresses.

mod keepers; // the services that have upstreams
mod keeper; // probes, ejection, the list of upstreams of one
mod names; // what a host's name stands for
mod open; // a new connection
mod pool; // connections that wait for the next request
mod wire; // one connection
mod ask; // a request's head on its way out
mod packet; // the same for one that speaks uwsgi
mod tries; // one attempt after the other
mod attempt; // one of them
mod relay; // the answer on its way back
mod tunnel; // what has left HTTP

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use config::{Protocol, UpstreamAddress};
use policy::{Fault, Health, HealthChange, Keep, NodeId, NodeLabel, Shared, WorkerId};
use tokio::sync::Notify;

use self::names::Names;

pub use self::{
    keeper::UpstreamStatus,
    keepers::{Followed, Keepers},
};

pub(crate) use self::{pool::Pools, tries::run};

/// All upstreams that get requests or may get them; replaced as a whole.
pub type UpstreamTable = Vec<Arc<Upstream>>;

/// One upstream.
#[derive(Debug)]
pub struct Upstream {
    config: config::Upstream,
    node: NodeId,
    worker: WorkerId,
    /// Its address, as logs and `X-Served-By` name it.
    label: Arc<NodeLabel>,
    health: Mutex<Health>,
    /// A request has failed since one was last answered: what every answer looks at.
    suspect: AtomicBool,
    /// Why its last probe has failed.
    trouble: Mutex<Option<String>>,
    /// What its host's name stands for at present, and whose turn it is of that.
    names: Mutex<Names>,
    turn: AtomicUsize,
    /// How TLS is spoken to it, if it is.
    client: Mutex<Option<tls::Client>>,
    /// Its name stands for something else.
    moved: Notify,
    /// Connections fail: its name may stand for something else.
    failing: Notify,
    /// Its keeper has something to look at.
    changed: Notify,
    since: Instant,
    shared: Arc<Shared>,
}

impl Upstream {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it can be reached, and with which of that to begin.
    fn addresses_in_turn(&self) -> (Arc<[SocketAddr]>, usize) {
        (self.names().addresses(), self.turn.fetch_add(1, Relaxed))
    }

    fn client(&self) -> Option<tls::Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn address(&self) -> &UpstreamAddress {
        &self.config.address
    }

    fn protocol(&self) -> Protocol {
        self.config.protocol
    }

    fn change_health<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request was answered there.
    fn answered(&self) {
        if !self.suspect.load(Relaxed) {
            return;
        }
        let change = self.change_health(|health| {
            let change = health.answered();
            self.suspect.store(!health.is_clean(), Relaxed);
            change
        });
        if change == Some(HealthChange::Up) {
            // Here, so that the next request finds it; the keeper tells of it.
            let now = Instant::now();
            self.shared.change(now, |dispatch| dispatch.resume_worker(now, self.worker));
            self.changed.notify_one();
        }
    }

    /// A request has failed there.
    fn failed(&self, fault: Fault) {
        let now = Instant::now();
        self.failing.notify_one();
        let change = self.change_health(|health| {
            self.suspect.store(true, Relaxed);
            health.failed(now, fault)
        });
        if let Some(HealthChange::Eject(_)) = change {
            // Here, so that the next request knows; the keeper tells of it.
            let keep = match fault {
                Fault::Connection => Keep::One,
                Fault::Answer => Keep::Half,
            };
            let left = self.shared.change(now, |dispatch| {
                let left = dispatch.suspend_worker(self.worker, keep);
                if !left {
                    // It may have been on trial.
                    dispatch.resume_worker(now, self.worker);
                }
                left
            });
            if !left {
                self.change_health(Health::spare);
            }
            self.changed.notify_one();
        }
    }
}
