//! The node table: an immutable snapshot, replaced as a whole and sent through a watch channel.
//!
//! Supervision (later: discovery) writes it, the data plane reads it; neither knows the other. `L` is how a worker is
//! reached, one per edge thread; this crate only carries it.
use std::sync::Arc;

use crate::WorkerId;

/// What is said of a node in logs and in `X-Served-By`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLabel {
    /// `web.1`
    pub name: String,
    /// Which version of the application it runs; counts reloads and restarts.
    pub generation: u32,
}

/// One worker that can be reached.
#[derive(Clone, Debug)]
pub struct WorkerEntry<L> {
    /// Its id in [`crate::Dispatch`].
    pub id: WorkerId,
    /// Its process, as this host numbers it.
    pub pid: u32,
    /// The node it belongs to.
    pub node: Arc<NodeLabel>,
    /// It gets nothing new, and what it has not started is taken back.
    pub draining: bool,
    /// How to reach it, by edge thread.
    pub links: Vec<L>,
}

/// All workers that are ready or draining.
#[derive(Clone, Debug)]
pub struct Nodes<L> {
    /// In no particular order.
    pub workers: Vec<WorkerEntry<L>>,
}

impl<L> Default for Nodes<L> {
    fn default() -> Self {
        Self { workers: Vec::new() }
    }
}
