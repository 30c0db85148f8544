//! The node table and the dispatch, changed together.
//!
//! Invariant: both are changed under the dispatch's lock, so that no lease names a worker that the table does not have yet.

use std::{cell::RefCell, sync::Arc, time::Instant};

use link::LinkEnd;
use policy::{NodeId, NodeLabel, Nodes, Shared, WorkerEntry, WorkerId};
use tokio::sync::watch;

/// The one writer of the node table.
#[derive(Debug)]
pub(crate) struct Table {
    shared: Arc<Shared>,
    sender: watch::Sender<Arc<Nodes<Arc<LinkEnd>>>>,
    workers: RefCell<Vec<WorkerEntry<Arc<LinkEnd>>>>,
}

/// A worker that is ready.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) node: NodeId,
    pub(crate) label: Arc<NodeLabel>,
    pub(crate) pid: u32,
    pub(crate) threads: u32,
    pub(crate) links: Vec<Arc<LinkEnd>>,
}

impl Table {
    pub(crate) fn new(shared: Arc<Shared>, sender: watch::Sender<Arc<Nodes<Arc<LinkEnd>>>>) -> Self {
        Self { shared, sender, workers: RefCell::default() }
    }

    fn publish(&self) {
        self.sender.send_replace(Arc::new(Nodes { workers: self.workers.borrow().clone() }));
    }

    /// From now on the worker gets requests.
    pub(crate) fn add(&self, newcomer: Newcomer) -> WorkerId {
        self.shared.change(Instant::now(), |dispatch| {
            let Newcomer { node, label, pid, threads, links } = newcomer;
            let id = dispatch.add_worker(node, threads);
            self.workers.borrow_mut().push(WorkerEntry { id, pid, node: label, draining: false, links });
            self.publish();
            id
        })
    }

    /// From now on they get nothing new, and what they have not started is taken back.
    pub(crate) fn drain(&self, ids: &[WorkerId]) {
        self.shared.change(Instant::now(), |dispatch| {
            for id in ids {
                dispatch.drain_worker(*id);
            }
            for worker in self.workers.borrow_mut().iter_mut().filter(|worker| ids.contains(&worker.id)) {
                worker.draining = true;
            }
            self.publish();
        });
    }

    /// What is in flight there is cut off on purpose when they are removed or ended.
    pub(crate) fn cut_off(&self, ids: &[WorkerId]) {
        let workers = self.workers.borrow();
        let links = workers.iter().filter(|worker| ids.contains(&worker.id)).flat_map(|worker| &worker.links);
        links.for_each(|link| link.cut_off());
    }

    /// The edge lets go of them; what is in flight there is cut off.
    pub(crate) fn remove(&self, ids: &[WorkerId]) {
        self.shared.change(Instant::now(), |dispatch| {
            for id in ids {
                dispatch.drain_worker(*id);
            }
            self.workers.borrow_mut().retain(|worker| !ids.contains(&worker.id));
            self.publish();
        });
    }

    /// The dispatch forgets them.
    pub(crate) fn forget(&self, ids: &[WorkerId]) {
        self.shared.change(Instant::now(), |dispatch| ids.iter().for_each(|id| dispatch.remove_worker(*id)));
    }
}
