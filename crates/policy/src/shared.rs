//! [`Dispatch`] behind a lock, for the edge's threads and the supervisor; and the lease, which gives itself back.
//!
//! The one shell in this crate: it has a lock and, when a lease is dropped, a clock.
//!
//! Invariant: a [`Lease`] is counted in exactly one worker until it is dropped, and no lock is held while anyone is told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

use crate::{
    Admission, Demand, Dispatch, Gate, GrowthChange, Load, Mark, NodeId, Stage, Standing, Ticket, Wish, WorkerId,
};

type Waiters = Dispatch<oneshot::Sender<Lease>>;

/// Queue and slots of one application, shared by the threads of the process.
#[derive(Debug)]
pub struct Shared {
    dispatch: Mutex<Waiters>,
    idle: Notify,
}

/// The right to have one request in flight on one worker. Dropping it says that the work has ended there.
#[must_use = "a lease that is dropped at once protects nothing"]
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    worker: WorkerId,
    ticket: Ticket,
    given: Instant,
    started: Option<Instant>,
    answered: Option<Duration>,
    stage: Stage,
}

/// A place in the queue; dropping it gives the place up.
#[derive(Debug)]
pub struct Queued {
    shared: Arc<Shared>,
    ticket: Ticket,
    granted: oneshot::Receiver<Lease>,
}

/// What all workers of an application have to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Requests that wait for a slot.
    pub queued: usize,
    /// Requests that workers have.
    pub in_flight: u32,
    /// How many they may have at present, where more had only added latency.
    pub bound: Option<u32>,
}

/// The answer to a request that wants to be run.
#[derive(Debug)]
pub enum Turn {
    /// Now, here.
    Go(Lease),
    /// Later: wait for [`Queued::granted`].
    Wait(Queued),
    /// The queue is full.
    Full,
    /// Nothing is run at present: [`Gate::Shut`].
    Shut,
}

impl Shared {
    /// An application without nodes on a machine of so many cores.
    pub fn new(queue_length: u32, cores: u32) -> Arc<Self> {
        Arc::new(Self { dispatch: Mutex::new(Dispatch::new(queue_length, cores)), idle: Notify::new() })
    }

    /// A request wants to be run at `now`.
    pub fn admit(self: &Arc<Self>, now: Instant, wish: Wish) -> Turn {
        self.enter(now, |dispatch, waiter| dispatch.admit(wish, waiter))
    }

    /// A request comes back that has not been run; it keeps its place in the order.
    pub fn readmit(self: &Arc<Self>, now: Instant, ticket: Ticket) -> Turn {
        self.enter(now, |dispatch, waiter| dispatch.readmit(ticket, waiter))
    }

    /// A better worker for a request that waits unstarted under `lease`, if there is one now.
    pub fn rebind(self: &Arc<Self>, now: Instant, lease: &Lease) -> Option<Lease> {
        let worker = self.lock().rebind(lease.worker)?;
        Some(self.lease(worker, lease.ticket, now))
    }

    /// A slot of another worker for the request of this ticket, which could not be brought to those that were `tried`.
    pub fn elsewhere(self: &Arc<Self>, now: Instant, ticket: Ticket, tried: &[WorkerId]) -> Option<Lease> {
        let worker = self.lock().give_elsewhere(ticket, tried)?;
        Some(self.lease(worker, ticket, now))
    }

    /// Whether any worker but these takes requests.
    pub fn has_ready_worker_but(&self, but: &[WorkerId]) -> bool {
        self.lock().has_ready_worker_but(but)
    }

    /// Whether a request that waits unstarted under `lease` would start sooner elsewhere.
    pub fn could_rebind(&self, lease: &Lease) -> bool {
        self.lock().could_rebind(lease.worker)
    }

    /// Changes nodes, workers or bounds, then hands out what has become free.
    pub fn change<T>(self: &Arc<Self>, now: Instant, change: impl FnOnce(&mut Waiters) -> T) -> T {
        let result = change(&mut self.lock());
        self.grant(now);
        self.idle.notify_waiters();
        result
    }

    /// Looks whether more requests in flight only add latency; to be asked a few times a second.
    pub fn regulate(self: &Arc<Self>, now: Instant) -> Option<GrowthChange> {
        let change = self.lock().regulate(now);
        self.grant(now);
        change
    }

    /// What all workers have to do together.
    pub fn outlook(&self) -> Outlook {
        let dispatch = self.lock();
        Outlook { queued: dispatch.queued(), in_flight: dispatch.in_flight(), bound: dispatch.growth_bound() }
    }

    /// What is asked of the workers; `None` while requests are held on purpose.
    pub fn demand(&self) -> Option<Demand> {
        self.lock().demand()
    }

    /// Opens, holds or shuts. Whoever waits when it is shut is sent away.
    pub fn set_gate(self: &Arc<Self>, now: Instant, gate: Gate) {
        let gone = self.change(now, |dispatch| {
            dispatch.set_gate(gate);
            if gate == Gate::Shut { dispatch.send_away().collect() } else { Vec::new() }
        });
        // That their senders are no more tells them.
        drop(gone);
    }

    /// What a worker has to do at present.
    pub fn load(&self, worker: WorkerId) -> Load {
        self.lock().load(worker)
    }

    /// How a node takes part.
    pub fn standing(&self, node: NodeId) -> Standing {
        self.lock().standing(node)
    }

    /// How many requests wait.
    pub fn queued(&self) -> usize {
        self.lock().queued()
    }

    /// Returns when none of the workers has anything in flight that somebody waits for.
    pub async fn drained(&self, workers: &[WorkerId]) {
        loop {
            let changed = self.idle.notified();
            let busy = {
                let dispatch = self.lock();
                workers.iter().any(|worker| dispatch.load(*worker).is_awaited())
            };
            if !busy {
                return;
            }
            changed.await;
        }
    }

    /// A node with this name, for callers that only add workers.
    pub fn add_node(&self, name: &str) -> NodeId {
        let mut dispatch = self.lock();
        let node = dispatch.add_node();
        dispatch.name_node(node, name);
        node
    }

    /// By what clients stick to this worker's node.
    pub fn mark(&self, worker: WorkerId) -> Option<Mark> {
        self.lock().mark(worker)
    }

    fn enter(
        self: &Arc<Self>,
        now: Instant,
        ask: impl FnOnce(&mut Waiters, &mut dyn FnMut() -> oneshot::Sender<Lease>) -> Admission,
    ) -> Turn {
        let mut granted = None;
        let mut waiter = || {
            let (sender, receiver) = oneshot::channel();
            granted = Some(receiver);
            sender
        };
        let admission = {
            let mut dispatch = self.lock();
            dispatch.advance(now);
            ask(&mut dispatch, &mut waiter)
        };
        match admission {
            Admission::Go(worker, ticket) => Turn::Go(self.lease(worker, ticket, now)),
            Admission::Full => Turn::Full,
            Admission::Shut => Turn::Shut,
            Admission::Wait(ticket) => {
                let granted = granted.expect("whoever waits has made a channel");
                Turn::Wait(Queued { shared: Arc::clone(self), ticket, granted })
            }
        }
    }

    fn grant(self: &Arc<Self>, now: Instant) {
        loop {
            let granted = {
                let mut dispatch = self.lock();
                dispatch.advance(now);
                dispatch.next_grant()
            };
            let Some((waiter, worker, ticket)) = granted else { return };
            // A waiter that has gone returns the lease by dropping it, which grants again.
            let _ = waiter.send(self.lease(worker, ticket, now));
        }
    }

    fn lease(self: &Arc<Self>, worker: WorkerId, ticket: Ticket, given: Instant) -> Lease {
        Lease { shared: Arc::clone(self), worker, ticket, given, started: None, answered: None, stage: Stage::Given }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.dispatch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Whose slot it is.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The request's place in the order, for [`Shared::readmit`].
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// When it was given.
    pub fn given(&self) -> Instant {
        self.given
    }

    /// The application has been called.
    pub fn start(&mut self, now: Instant) {
        if self.stage == Stage::Given {
            self.stage = Stage::Started;
            self.started = Some(now);
            let waited = now.saturating_duration_since(self.given);
            let waiting = {
                let mut dispatch = self.shared.lock();
                dispatch.start(self.worker, waited);
                0 < dispatch.queued()
            };
            if waiting {
                self.shared.grant(now);
            }
        }
    }

    /// When [`Lease::start`] was called first.
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// An upstream has answered, and not that it has failed.
    pub fn answered(&mut self, now: Instant) {
        self.answered = Some(now.saturating_duration_since(self.given));
    }

    /// The request has failed at an upstream: [`Dispatch::fail`].
    pub fn failed(&self, now: Instant) {
        self.shared.lock().fail(now, self.worker);
    }

    /// Whether [`Lease::start`] was called.
    pub fn has_started(&self) -> bool {
        self.stage != Stage::Given
    }

    /// The request has been answered in the application's place, because its time is up; its work goes on.
    pub fn expire(&mut self) {
        if self.stage == Stage::Started {
            self.stage = Stage::Expired;
            self.shared.lock().expire(self.worker);
            self.shared.idle.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let ran = self.started.map(|started| started.elapsed()).or(self.answered).unwrap_or_default();
        let (idle, waiting) = {
            let mut dispatch = self.shared.lock();
            dispatch.end(self.worker, self.stage, ran);
            (!dispatch.load(self.worker).is_awaited(), 0 < dispatch.queued())
        };
        if waiting {
            self.shared.grant(Instant::now());
        }
        if idle {
            self.shared.idle.notify_waiters();
        }
    }
}

impl Queued {
    /// The lease, as soon as a worker has room; `None` when the gate is shut instead.
    pub async fn granted(&mut self) -> Option<Lease> {
        // The sender lives in the queue until it is used, or everybody there is sent away.
        (&mut self.granted).await.ok()
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.shared.lock().leave(self.ticket) {
            // It was granted meanwhile: dropping the lease gives it to the next.
            drop(self.granted.try_recv());
        }
    }
}

#[cfg(test)]
mod tests;
