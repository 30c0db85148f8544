//! Every node that lives, also while it starts or drains: what `ps` shows.
//!
//! Invariant: a node is in it from before its first process until after its last.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
};

use policy::NodeLabel;

use crate::{
    context::Context,
    handle::{View, WorkerView, status},
    status::NodeStatus,
};

/// The nodes, as others see them.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: RefCell<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    index: u32,
    label: Arc<NodeLabel>,
    /// Gone when the node has gone.
    view: Weak<RefCell<View>>,
}

impl Roster {
    /// A node has come.
    pub(crate) fn enter(&self, index: u32, label: &Arc<NodeLabel>, view: &Rc<RefCell<View>>) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|entry| 0 < entry.view.strong_count());
        entries.push(Entry { index, label: Arc::clone(label), view: Rc::downgrade(view) });
        entries.sort_by_key(|entry| (entry.index, entry.label.generation));
    }

    /// All workers, each with its node.
    pub(crate) fn workers(&self) -> Vec<(Arc<NodeLabel>, WorkerView)> {
        let entries = self.entries.borrow();
        let present = entries.iter().filter_map(|entry| Some((&entry.label, entry.view.upgrade()?)));
        let workers = present.flat_map(|(label, view)| {
            let workers = view.borrow().workers.clone();
            workers.into_iter().map(|worker| (Arc::clone(label), worker))
        });
        workers.collect()
    }

    /// The items of `ps`: by number, of the same number the older generation first.
    pub(crate) fn status(&self, context: &Context) -> Vec<NodeStatus> {
        let entries = self.entries.borrow();
        let present = entries.iter().filter_map(|entry| Some((&entry.label, entry.view.upgrade()?)));
        present.map(|(label, view)| status(label, &view.borrow(), context)).collect()
    }
}
