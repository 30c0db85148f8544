//! What others see of a running node, and how they reach it.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Instant};

use config::Config;
use link::LinkEnd;
use policy::{Duty, NodeId, NodeLabel, Standing, WorkerId};
use tokio::sync::mpsc;

use crate::{
    context::{Context, Isolation},
    node::Command,
    status::{self, NodeStatus, State, WorkerReasons, WorkerStatus, process},
};

/// What others see of a node.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) workers: Vec<WorkerView>,
    /// How many it is to have.
    pub(crate) staff: u32,
    pub(crate) pid: u32,
    pub(crate) born: Instant,
    /// How it takes part.
    pub(crate) standing: Standing,
    /// Workers that have gone and whose last requests are being settled.
    pub(crate) settling: Vec<WorkerId>,
    /// Requests of those before them.
    pub(crate) past_requests: u64,
}

/// What others see of a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerView {
    pub(crate) pid: u32,
    pub(crate) id: Option<WorkerId>,
    /// Another one takes its place, or nobody does.
    pub(crate) leaving: bool,
    /// Where it tells of itself.
    pub(crate) link: Option<Arc<LinkEnd>>,
}

/// The way to a running node.
#[derive(Clone, Debug)]
pub(crate) struct NodeHandle {
    pub(crate) index: u32,
    pub(crate) id: NodeId,
    pub(crate) config: Arc<Config>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) view: Rc<RefCell<View>>,
}

impl NodeHandle {
    /// `web.1`
    pub(crate) fn name(&self) -> String {
        self.config.node_name(self.index)
    }

    /// Whether it is ready, and gets requests.
    pub(crate) fn serves(&self) -> bool {
        let view = self.view.borrow();
        view.state == State::Ready && view.standing.duty == Duty::Serves
    }

    /// How many workers it is to have.
    pub(crate) fn staff(&self) -> u32 {
        self.view.borrow().staff
    }

    /// Its workers that get requests.
    pub(crate) fn workers(&self) -> Vec<WorkerId> {
        self.view.borrow().workers.iter().filter_map(|worker| worker.id).collect()
    }
}

/// The item of `ps`.
pub(crate) fn status(label: &NodeLabel, view: &View, context: &Context) -> NodeStatus {
    let rests = view.standing.duty == Duty::Rests;
    let state = if rests && view.state == State::Ready { State::Draining } else { view.state };
    let worker = |WorkerView { pid, id, leaving, link }: &WorkerView| {
        let load = id.map(|id| context.shared.load(id)).unwrap_or_default();
        let vitals = link.as_ref().map(|link| link.vitals()).unwrap_or_default();
        let (threads, rss) = process(*pid);
        let state = match (state, id) {
            (State::Draining, _) => State::Draining,
            _ if *leaving => State::Draining,
            (_, Some(_)) => State::Ready,
            (_, None) => State::Starting,
        };
        WorkerStatus {
            pid: *pid,
            state: state.into(),
            requests: load.requests,
            in_flight: load.in_flight,
            slots: if rests { 0 } else { load.slots },
            threads,
            rss,
            reasons: Some(WorkerReasons {
                window: load.window,
                gil_wait: vitals.gil_wait.as_secs_f64(),
                switch_interval: vitals.switch_interval.as_secs_f64(),
                verdict: status::verdict(vitals.verdict).to_owned(),
            }),
        }
    };
    let workers: Vec<_> = view.workers.iter().map(worker).collect();
    let settling: u64 = view.settling.iter().map(|id| context.shared.load(*id).requests).sum();
    let uts = context.isolation == Isolation::Uts;
    NodeStatus {
        node: label.name.clone(),
        service: None,
        state: state.into(),
        weight: view.standing.weight,
        drained: rests,
        hostname: if uts {
            label.name.clone()
        } else {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        },
        isolation: if uts { "uts" } else { "env" }.to_owned(),
        generation: label.generation,
        pid: view.pid,
        requests: view.past_requests + settling + workers.iter().map(|worker| worker.requests).sum::<u64>(),
        in_flight: workers.iter().map(|worker| worker.in_flight).sum(),
        slots: workers.iter().map(|worker| worker.slots).sum(),
        rss: workers.iter().map(|worker| worker.rss).sum::<u64>() + process(view.pid).1,
        uptime: view.born.elapsed().as_secs_f64(),
        workers,
    }
}
