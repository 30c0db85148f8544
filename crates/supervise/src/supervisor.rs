//! All nodes: start, scale, reload, restart, refork, down.
//!
//! Invariants: one change at a time; a change that fails has changed nothing, but for a restart and a refork, which end at
//! the node that fails and say so; nodes that take over are ready before those that leave are drained.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use config::Config;
use policy::{Outlook, Standing};
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    task::{JoinHandle, JoinSet, spawn_local},
};

use crate::{
    context::{Context, Parts, Recipe},
    explanation::Explanation,
    handle::NodeHandle,
    node::{self, Command, Plan, Reforked},
    regulate,
    staff::Staffing,
    start_error::{Blame, StartError},
    status::{NodeStatus, StaffStatus, State},
};

/// The nodes of an application. Clones are the same.
#[derive(Clone, Debug)]
pub struct Supervisor {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    context: Rc<Context>,
    recipe: RefCell<Recipe>,
    nodes: Rc<RefCell<Vec<NodeHandle>>>,
    staffing: Rc<RefCell<Staffing>>,
    /// How nodes take part, by their numbers, where that was said; also of those that replace them.
    standings: RefCell<HashMap<u32, Standing>>,
    generation: Cell<u32>,
    busy: RefCell<Option<String>>,
    idle: Notify,
    regulator: RefCell<Option<JoinHandle<()>>>,
    /// Nothing is started any more.
    ending: Cell<bool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(regulator) = &*self.regulator.borrow() {
            regulator.abort();
        }
    }
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another one is under way.
    #[error("busy: {with}")]
    Busy {
        /// Which.
        with: String,
    },
    /// A node could not be started; everything is as it was.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A node could not be started anew, after others had been.
    #[error("{error}")]
    Halfway {
        /// Why.
        error: StartError,
        /// The nodes that were replaced.
        replaced: Vec<String>,
        /// What that has cost.
        so_far: Changed,
    },
    /// A node could not be reforked.
    #[error("{why}")]
    NotReforked {
        /// Why.
        why: Box<Explanation>,
        /// The nodes that were, before.
        reforked: Vec<String>,
    },
    /// There is no such node.
    #[error("there is no node {name:?}")]
    NoNode {
        /// What was named.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
}

impl ChangeError {
    /// For people.
    pub fn explanation(&self) -> Explanation {
        match self {
            Self::Busy { with } => Explanation::new("another change is under way")
                .cause(with.clone())
                .hint("wait until it is done; ps shows how far it is"),
            Self::Start(error) | Self::Halfway { error, .. } => (*error.0).clone(),
            Self::NotReforked { why, .. } => (**why).clone(),
            Self::NoNode { known, .. } => {
                let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
                Explanation::new(self.to_string()).hint(format!("those that there are: {known}"))
            }
        }
    }

    /// What is different now.
    pub fn aftermath(&self) -> String {
        match self {
            Self::Busy { .. } | Self::Start(_) | Self::NoNode { .. } => "nothing was changed".to_owned(),
            Self::NotReforked { reforked, .. } if reforked.is_empty() => "everything goes on as before".to_owned(),
            Self::NotReforked { reforked, .. } => {
                format!("{} had been reforked before; the others go on as before", reforked.join(", "))
            }
            Self::Halfway { replaced, .. } => {
                format!("{} had been restarted before; the others are as they were", replaced.join(", "))
            }
        }
    }

    /// What was changed before it ended.
    pub fn so_far(&self) -> Option<Changed> {
        match self {
            Self::Busy { .. } | Self::Start(_) | Self::NotReforked { .. } | Self::NoNode { .. } => None,
            Self::Halfway { so_far, .. } => Some(*so_far),
        }
    }

    /// Whose mistake it was.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Busy { .. } | Self::NotReforked { .. } | Self::NoNode { .. } => Blame::Machine,
            Self::Start(error) | Self::Halfway { error, .. } => error.1,
        }
    }
}

/// How everything ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// Requests that were cut off by the deadline.
    pub cut: u64,
}

/// What a change that was made has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Requests that were cut off in nodes that had to go.
    pub cut: u64,
    /// How long they were waited for.
    pub limit: Duration,
}

/// A change is under way as long as this lives.
#[derive(Debug)]
struct Busy(Rc<Inner>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.busy.borrow_mut() = None;
        self.0.idle.notify_waiters();
    }
}

/// A new generation gets the requests; the one that it replaces has still to go, and until then the change is under way.
#[must_use = "the nodes that were replaced are there until they are retired"]
#[derive(Debug)]
pub struct Replaced {
    old: Vec<NodeHandle>,
    _busy: Busy,
}

impl Replaced {
    /// Drains the old nodes; what is in flight there after `limit` is cut off.
    pub async fn retire(self, limit: Duration) -> Changed {
        Changed { cut: drain_all(self.old, limit).await, limit }
    }
}

/// Imports the application as a node would, and ends it again.
pub async fn check_import(parts: Parts) -> Result<(), StartError> {
    Supervisor::start(parts, 0).await.map(drop)
}

impl Supervisor {
    /// Starts so many nodes and returns when all are ready; with none the application is only imported, and let go. On
    /// failure everything that was started is gone again.
    pub async fn start(parts: Parts, nodes: u32) -> Result<Self, StartError> {
        let supervisor = Self::without_nodes(parts);
        let started = supervisor.start_generation(nodes, 1).await?;
        supervisor.enlist(started);
        Ok(supervisor)
    }

    /// One whose nodes are started later, whatever becomes of the application until then.
    pub fn without_nodes(parts: Parts) -> Self {
        let (context, recipe) = Context::new(parts);
        let inner = Inner {
            context,
            recipe: RefCell::new(recipe),
            nodes: Rc::default(),
            staffing: Rc::default(),
            standings: RefCell::default(),
            generation: Cell::new(1),
            busy: RefCell::default(),
            idle: Notify::new(),
            regulator: RefCell::default(),
            ending: Cell::new(false),
        };
        let (nodes, staffing) = (Rc::clone(&inner.nodes), Rc::clone(&inner.staffing));
        let task = spawn_local(regulate::run(Rc::clone(&inner.context), nodes, staffing));
        let supervisor = Self { inner: Rc::new(inner) };
        *supervisor.inner.regulator.borrow_mut() = Some(task);
        supervisor
    }

    /// More or fewer nodes; returns when those that came are ready and those that went are gone.
    pub async fn scale(&self, nodes: u32) -> Result<Changed, ChangeError> {
        let name = self.config().name.clone();
        let _busy = self.begin(format!("scaling {name} to {nodes}"))?;
        let present = u32::try_from(self.inner.nodes.borrow().len()).unwrap_or(u32::MAX);
        if present < nodes {
            let generation = self.inner.generation.get();
            let indices: Vec<u32> = self.inner.nodes.borrow().iter().map(|node| node.index).collect();
            let missing: Vec<u32> =
                (1..).filter(|index| !indices.contains(index)).take((nodes - present) as usize).collect();
            let started = self.start_nodes(missing, generation).await?;
            self.enlist(started);
            Ok(self.retire([]).await)
        } else {
            let leaving = self.inner.nodes.borrow_mut().split_off(nodes as usize);
            self.inner.standings.borrow_mut().retain(|index, _| leaving.iter().all(|node| node.index != *index));
            Ok(self.retire(leaving).await)
        }
    }

    /// New code and configuration: a whole new generation beside the old, which is to be retired when this returns.
    pub async fn reload(&self, recipe: Recipe, nodes: u32) -> Result<Replaced, ChangeError> {
        let busy = self.begin(format!("reloading {}", recipe.config.name))?;
        let before = self.inner.recipe.replace(recipe);
        let generation = self.inner.generation.get() + 1;
        let started = match self.start_generation(nodes, generation).await {
            Ok(started) => started,
            Err(error) => {
                *self.inner.recipe.borrow_mut() = before;
                return Err(error.into());
            }
        };
        self.inner.generation.set(generation);
        let old = std::mem::take(&mut *self.inner.nodes.borrow_mut());
        // At once, and not when each comes round to it: what is asked from now on is for the new ones.
        let leaving: Vec<_> = old.iter().flat_map(NodeHandle::workers).collect();
        self.inner.context.table.drain(&leaving);
        self.enlist(started);
        Ok(Replaced { old, _busy: busy })
    }

    /// Replaces the nodes one at a time, the new one ready first.
    pub async fn restart(&self) -> Result<Changed, ChangeError> {
        let name = self.config().name.clone();
        let _busy = self.begin(format!("restarting {name}"))?;
        let generation = self.inner.generation.get() + 1;
        let indices: Vec<u32> = self.inner.nodes.borrow().iter().map(|node| node.index).collect();
        let mut changed = self.retire([]).await;
        let mut replaced = Vec::new();
        for index in indices {
            let started = match self.start_nodes([index], generation).await {
                Ok(started) => started,
                Err(error) if replaced.is_empty() => return Err(error.into()),
                Err(error) => return Err(ChangeError::Halfway { error, replaced, so_far: changed }),
            };
            replaced.push(format!("{name}.{index}"));
            self.inner.generation.set(generation);
            let old = {
                let mut nodes = self.inner.nodes.borrow_mut();
                let at = nodes.iter().position(|node| node.index == index);
                at.map(|at| nodes.remove(at))
            };
            self.enlist(started);
            changed.cut += self.retire(old).await.cut;
        }
        Ok(changed)
    }

    /// In each of these nodes, or in all, the worker that has served most becomes the process from which the others are forked
    /// anew. One node at a time.
    pub async fn refork(&self, names: &[String]) -> Result<Changed, ChangeError> {
        let name = self.config().name.clone();
        let _busy = self.begin(format!("reforking {name}"))?;
        let known: Vec<_> = self.inner.nodes.borrow().iter().map(|node| (node.name(), node.clone())).collect();
        if let Some(unknown) = names.iter().find(|wanted| !known.iter().any(|(name, _)| name == *wanted)) {
            let known = known.into_iter().map(|(name, _)| name).collect();
            return Err(ChangeError::NoNode { name: unknown.clone(), known });
        }
        let mut changed = self.retire([]).await;
        let mut reforked = Vec::new();
        for (name, node) in known.into_iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
            let (done, answer) = oneshot::channel();
            // A node that has gone does not answer either.
            let _ = node.commands.send(Command::Refork(done));
            let gone = || Explanation::new(format!("{name} cannot be reforked")).cause("it has been stopped");
            match answer.await.unwrap_or_else(|_| Err(Box::new(gone()))) {
                Ok(Reforked { cut }) => changed.cut += cut,
                Err(why) => return Err(ChangeError::NotReforked { why, reforked }),
            }
            reforked.push(name);
        }
        Ok(changed)
    }

    /// Changes how a node takes part, at once, whatever else is under way; returns how it takes part now and how many
    /// requests it has.
    pub fn stand(&self, name: &str, change: impl FnOnce(&mut Standing)) -> Result<(Standing, u64), ChangeError> {
        let nodes = self.inner.nodes.borrow();
        let Some(node) = nodes.iter().find(|node| node.name() == name) else {
            let known = nodes.iter().map(NodeHandle::name).collect();
            return Err(ChangeError::NoNode { name: name.to_owned(), known });
        };
        let mut standing = node.view.borrow().standing;
        change(&mut standing);
        self.inner.standings.borrow_mut().insert(node.index, standing);
        self.set_standing(node, standing);
        let in_flight = node.workers().iter().map(|worker| self.inner.context.shared.load(*worker).awaited()).sum();
        Ok((standing, in_flight))
    }

    fn set_standing(&self, node: &NodeHandle, standing: Standing) {
        node.view.borrow_mut().standing = standing;
        self.inner.context.shared.change(Instant::now(), |dispatch| dispatch.set_standing(node.id, standing));
    }

    /// From now on the nodes get only what was accepted already, and nothing is started any more.
    pub fn wind_down(&self) {
        self.inner.ending.set(true);
        self.inner.nodes.borrow().iter().for_each(|node| node.view.borrow_mut().state = State::Draining);
    }

    /// Finishes what is in flight, at most so long, and ends all nodes.
    pub async fn down(&self, limit: Duration) -> Down {
        self.wind_down();
        let nodes = std::mem::take(&mut *self.inner.nodes.borrow_mut());
        Down { cut: drain_all(nodes, limit).await }
    }

    /// The change under way, if there is one.
    pub fn busy(&self) -> Option<String> {
        self.inner.busy.borrow().clone()
    }

    /// Returns when no change is under way.
    pub async fn until_idle(&self) {
        loop {
            let changed = self.inner.idle.notified();
            if self.inner.busy.borrow().is_none() {
                return;
            }
            changed.await;
        }
    }

    /// The configuration that counts now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner.recipe.borrow().config)
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> u32 {
        u32::try_from(self.inner.nodes.borrow().len()).unwrap_or(u32::MAX)
    }

    /// What all workers have to do together.
    pub fn outlook(&self) -> Outlook {
        self.inner.context.shared.outlook()
    }

    /// How many workers there are and why, where their number adapts.
    pub fn staff(&self) -> Option<StaffStatus> {
        self.inner.staffing.borrow().status()
    }

    /// How many workers have ended, by kind.
    pub fn worker_ends(&self) -> Vec<(&'static str, u64)> {
        self.inner.context.ends.by_kind()
    }

    /// What `ps` shows.
    pub fn status(&self) -> Vec<NodeStatus> {
        self.inner.context.roster.status(&self.inner.context)
    }

    /// A change that would begin now is refused if another one is under way.
    pub fn refuse_if_busy(&self) -> Result<(), ChangeError> {
        if self.inner.ending.get() {
            return Err(ChangeError::Busy { with: "going down".to_owned() });
        }
        match &*self.inner.busy.borrow() {
            Some(with) => Err(ChangeError::Busy { with: with.clone() }),
            None => Ok(()),
        }
    }

    fn begin(&self, what: String) -> Result<Busy, ChangeError> {
        self.refuse_if_busy()?;
        *self.inner.busy.borrow_mut() = Some(what);
        Ok(Busy(Rc::clone(&self.inner)))
    }

    /// All nodes of a generation. Without any, nobody would notice that its application cannot be imported: then one
    /// without workers does, and is gone again.
    async fn start_generation(&self, nodes: u32, generation: u32) -> Result<Vec<NodeHandle>, StartError> {
        if 0 < nodes {
            return self.start_nodes(1..=nodes, generation).await;
        }
        let rehearsed = self.start_with(0, [1], generation).await?;
        drain_all(rehearsed, Duration::ZERO).await;
        Ok(Vec::new())
    }

    async fn start_nodes(
        &self,
        indices: impl IntoIterator<Item = u32>,
        generation: u32,
    ) -> Result<Vec<NodeHandle>, StartError> {
        self.start_with(self.newcomers_staff(), indices, generation).await
    }

    /// How many workers a new node has at first: where that adapts, as many as those that are there have found to be
    /// needed, so that a reload under load is no start from nothing.
    fn newcomers_staff(&self) -> u32 {
        let (nodes, bounds) = (self.inner.nodes.borrow(), self.config().workers);
        let (staff, count) = (nodes.iter().map(NodeHandle::staff).sum::<u32>(), self.node_count().max(1));
        staff.div_ceil(count).clamp(bounds.least, bounds.most)
    }

    /// Starts nodes of so many workers side by side, a few at a time; all or none.
    async fn start_with(
        &self,
        workers: u32,
        indices: impl IntoIterator<Item = u32>,
        generation: u32,
    ) -> Result<Vec<NodeHandle>, StartError> {
        let Recipe { config, interpreter, front } = self.inner.recipe.borrow().clone();
        let turns = Rc::new(Semaphore::new(2 * config.cores.max(1) as usize));
        let mut starting = JoinSet::new();
        for index in indices {
            let plan = Plan {
                context: Rc::clone(&self.inner.context),
                config: Arc::clone(&config),
                interpreter: interpreter.clone(),
                front: Rc::clone(&front),
                index,
                generation,
                workers,
            };
            let turns = Rc::clone(&turns);
            starting.spawn_local(async move {
                let _turn = turns.acquire().await.ok();
                node::start(plan).await
            });
        }
        let mut started = Vec::new();
        while let Some(result) = starting.join_next().await {
            match result {
                Ok(Ok(node)) => started.push(node),
                Ok(Err(error)) => {
                    starting.shutdown().await;
                    drain_all(started, Duration::ZERO).await;
                    return Err(error);
                }
                Err(broken) => {
                    drain_all(started, Duration::ZERO).await;
                    return Err(StartError::machine("a node could not be started", &config.name, &broken));
                }
            }
        }
        Ok(started)
    }

    /// From now on they get requests.
    fn enlist(&self, started: Vec<NodeHandle>) {
        if self.inner.ending.get() {
            // They came too late; dropped, they end.
            return;
        }
        for node in &started {
            let standing = self.inner.standings.borrow().get(&node.index).copied();
            standing.into_iter().for_each(|standing| self.set_standing(node, standing));
            // A node that has gone again says so itself.
            let _ = node.commands.send(Command::Activate);
        }
        let mut nodes = self.inner.nodes.borrow_mut();
        nodes.extend(started);
        nodes.sort_by_key(|node| node.index);
    }

    async fn retire(&self, nodes: impl IntoIterator<Item = NodeHandle>) -> Changed {
        let limit = self.config().limits.drain;
        Changed { cut: drain_all(nodes, limit).await, limit }
    }
}

/// Drains nodes side by side; returns how many requests were cut off.
async fn drain_all(nodes: impl IntoIterator<Item = NodeHandle>, limit: Duration) -> u64 {
    let answers: Vec<_> = nodes
        .into_iter()
        .map(|node| {
            let (done, answer) = oneshot::channel();
            // A node that has gone has nothing in flight.
            let _ = node.commands.send(Command::Drain(limit, done));
            answer
        })
        .collect();
    let mut cut = 0;
    for answer in answers {
        cut += answer.await.unwrap_or(0);
    }
    cut
}
