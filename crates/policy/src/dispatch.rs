//! Queue and slots of one application: which worker gets which request, and when.
//!
//! One bounded queue. A request leaves it only for a worker with room: fewer unstarted requests than its [`Window`], and
//! fewer in flight than `threads` and that window. The node is chosen as [`Balance`] says; by default, among nodes with room
//! those with about the least outstanding work per worker take turns. Within a node the worker with the least gets it, ties
//! to the one that waited longest. So requests that come one at a time walk over all workers, and many at a time are spread
//! evenly. A request that sticks to a node waits for that one as long as it takes requests.
//!
//! Invariants: nothing waits while a worker has room that it could have; of those that could have it, who came first goes
//! first; every request given to a worker is counted there until [`Dispatch::end`] says that its *work* has ended.

mod queue; // who waits
mod worker; // a place for requests
mod node; // what a node has to do, and its part
mod fleet; // all nodes and workers, and their order
mod pick; // who gets a request
mod tournament; // the least of many
mod lots; // a choice by chance
mod ring; // a choice by a hash

use std::time::{Duration, Instant};

use self::{
    fleet::Fleet,
    queue::{Next, Queue},
    worker::{Door, Kind},
};
pub use self::{
    node::{NodeId, Rank},
    queue::Ticket,
    worker::{Load, Stage, WorkerId},
};
use crate::{Balance, Growth, GrowthChange, Mark, Obstacle, Secret, Sight, Standing, Window, Wish, window::Elsewhere};

/// The answer to a request that wants to be run.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// This worker runs it now.
    Go(WorkerId, Ticket),
    /// It waits in the queue.
    Wait(Ticket),
    /// The queue is full.
    Full,
    /// Nothing is run at present: [`Gate::Shut`].
    Shut,
}

/// Whether requests get workers, whatever room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Open,
    /// They wait in the queue.
    Held,
    /// They are sent away: what the workers would answer is not what is wanted.
    Shut,
}

/// What all requests of an application ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How many wait in the queue.
    pub queued: u32,
    /// How many have ended since the beginning of time.
    pub ended: u64,
    /// What they wait for, if it is not a worker.
    pub obstacle: Option<Obstacle>,
}

/// How many have to take requests for one to be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Another one.
    One,
    /// Half of all.
    Half,
}

/// Queue and slots of one application. `W` is whoever has to be told when a waiting request gets a worker.
#[derive(Debug)]
pub struct Dispatch<W> {
    queue: Queue<W>,
    fleet: Fleet,
    /// Requests given to all workers, how many those may be, and how many while the gate is as it is.
    in_flight: u32,
    in_flight_bound: u32,
    in_flight_most: u32,
    growth: Growth,
    ended: u64,
    gate: Gate,
    cores: u32,
    tickets: u64,
}

impl<W> Dispatch<W> {
    /// An application without nodes, whose queue holds at most `queue_length` requests, on a machine of so many cores.
    pub fn new(queue_length: u32, cores: u32) -> Self {
        Self {
            queue: Queue::new(queue_length),
            fleet: Fleet::default(),
            in_flight: 0,
            in_flight_bound: u32::MAX,
            in_flight_most: u32::MAX,
            growth: Growth::default(),
            ended: 0,
            gate: Gate::Open,
            cores: cores.max(1),
            tickets: 0,
        }
    }

    /// Changes the bound of the queue; what waits already stays.
    pub fn bound_queue(&mut self, queue_length: u32) {
        self.queue.bound(queue_length);
    }

    /// Changes how many requests all workers together may have in flight (`limits.in_flight`); those that are more end
    /// in their own time.
    pub fn bound_in_flight(&mut self, most: Option<u32>) {
        self.in_flight_bound = most.unwrap_or(u32::MAX);
        self.set_gate(self.gate);
    }

    /// Changes by what nodes are chosen. Where chance decides, `seed` is what it is made of.
    pub fn set_balance(&mut self, balance: Balance, seed: u64) {
        self.fleet.set_balance(balance, seed);
    }

    /// Changes how long an upstream that has become ready has less than its part of the requests.
    pub fn set_slow_start(&mut self, lasts: Duration) {
        self.fleet.set_slow_start(lasts);
    }

    /// Time goes on; to be said before requests are given, where anything depends on it.
    pub fn advance(&mut self, now: Instant) {
        self.fleet.advance(now);
    }

    /// Opens, holds or shuts. An open gate costs nothing to pass: one that is not is a bound of no requests in flight.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
        self.in_flight_most = if gate == Gate::Open { self.in_flight_bound } else { 0 };
    }

    /// Whoever waits, in order. They are in the queue no more.
    pub fn send_away(&mut self) -> impl Iterator<Item = W> + use<W> {
        self.queue.take_all()
    }

    /// Looks, a few times a second, whether more requests in flight only add latency.
    pub fn regulate(&mut self, now: Instant) -> Option<GrowthChange> {
        if self.gate != Gate::Open {
            // What is not run says nothing of how it would run.
            return None;
        }
        let queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.growth.look(now, Sight { in_flight: self.in_flight, queued })
    }

    /// What is asked for; `None` while the gate is not open, as then nothing can be told by it.
    pub fn demand(&self) -> Option<Demand> {
        let queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        (self.gate == Gate::Open).then_some(Demand {
            queued,
            ended: self.ended,
            obstacle: self.is_bounded().then_some(Obstacle::InFlight),
        })
    }

    fn is_bounded(&self) -> bool {
        self.in_flight_most.min(self.growth.bound().unwrap_or(u32::MAX)) <= self.in_flight
    }

    /// How many requests all workers have.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many they may have at present, if that is bounded because more had only added latency.
    pub fn growth_bound(&self) -> Option<u32> {
        self.growth.bound()
    }

    /// How many requests wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// A request wants to be run. Behind others it waits; otherwise it gets a worker with room if there is one.
    pub fn admit(&mut self, wish: Wish, waiter: impl FnOnce() -> W) -> Admission {
        self.tickets += 1;
        let node = wish.mark.and_then(|mark| self.fleet.marked(mark));
        let ticket = Ticket { number: self.tickets, key: wish.key, node };
        self.enter(ticket, waiter, self.queue.is_full())
    }

    /// A request that had a worker comes back unstarted: it gets its old place in the order, however full the queue is.
    pub fn readmit(&mut self, ticket: Ticket, waiter: impl FnOnce() -> W) -> Admission {
        self.enter(ticket, waiter, false)
    }

    fn enter(&mut self, ticket: Ticket, waiter: impl FnOnce() -> W, full: bool) -> Admission {
        let node = ticket.node.filter(|id| self.fleet.node(*id).is_some_and(node::Node::takes));
        let line = node.map(|id| id.place);
        if !self.is_bounded()
            && self.queue.is_first(ticket, line)
            && let Some(place) = self.pick(ticket, node)
        {
            return Admission::Go(self.give(place), ticket);
        }
        if self.gate == Gate::Shut {
            return Admission::Shut;
        }
        if full {
            return Admission::Full;
        }
        self.queue.insert(ticket, waiter(), line);
        line.into_iter().for_each(|node| self.call(node));
        Admission::Wait(ticket)
    }

    fn pick(&mut self, ticket: Ticket, node: Option<NodeId>) -> Option<u32> {
        match node {
            Some(node) => self.fleet.pick_of(node),
            None => self.fleet.pick(ticket.key),
        }
    }

    /// The next request that waits and the worker that has room for it; to be asked until it says `None`, after anything
    /// that can make room.
    pub fn next_grant(&mut self) -> Option<(W, WorkerId, Ticket)> {
        if self.queue.len() == 0 || self.is_bounded() {
            return None;
        }
        let next = self.queue.next(self.fleet.has_room())?;
        let place = match next {
            Next::Any(ticket) => self.fleet.pick(ticket.key)?,
            Next::Sticking(node) => self.fleet.pick_of(self.fleet.node_at(node)?.id)?,
        };
        let (waiter, ticket) = self.queue.pop(next)?;
        Some((waiter, self.give(place), ticket))
    }

    /// A waiting request gives up. False: it was not in the queue any more.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.queue.leave(ticket)
    }

    fn give(&mut self, place: u32) -> WorkerId {
        self.in_flight += 1;
        let id = self.fleet.give(place);
        self.call_for(id);
        id
    }

    /// Whoever waits for this node alone is told whether it has room.
    fn call(&mut self, node: u32) {
        match self.fleet.node_at(node).filter(|node| node.takes()) {
            Some(known) => self.queue.call(node, known.key().is_some()),
            None => self.queue.release(node),
        }
    }

    /// The same after a change of this worker.
    fn call_for(&mut self, id: WorkerId) {
        if self.queue.has_sticking()
            && let Some(worker) = self.fleet.worker(id)
        {
            self.call(worker.node);
        }
    }

    /// The same after any other change.
    fn call_all(&mut self) {
        let awaited: Vec<_> = self.queue.awaited().collect();
        awaited.into_iter().for_each(|node| self.call(node));
    }

    /// The worker has called the application, after the request had waited there.
    pub fn start(&mut self, id: WorkerId, waited: Duration) {
        // Where more workers than cores are busy, each waits for its turn on a core, which is not the handlers' fault.
        let waited = if waited < Window::SHORT { waited } else { waited / self.fleet.workers_per_core(self.cores) };
        // A long wait speaks against the window only if the request could have waited less elsewhere. When all workers are
        // equally late, narrow windows would only let the scheduler decide who gets how much.
        let elsewhere =
            if waited <= Window::LONG || self.could_rebind(id) { Elsewhere::Sooner } else { Elsewhere::AlsoLate };
        if let Some(worker) = self.fleet.worker_mut(id) {
            let had_room = worker.has_room();
            worker.window.started(waited, worker.unstarted, elsewhere);
            worker.unstarted = worker.unstarted.saturating_sub(1);
            if worker.has_room() != had_room {
                self.fleet.refresh(id.place);
                self.call_for(id);
            }
        }
    }

    /// The time of a request is up; its work goes on until [`Dispatch::end`].
    pub fn expire(&mut self, id: WorkerId) {
        if let Some(worker) = self.fleet.worker_mut(id) {
            worker.expired += 1;
        }
    }

    /// The work of a request has ended after it ran for so long, or it was taken back; `stage` as told before.
    pub fn end(&mut self, id: WorkerId, stage: Stage, ran: Duration) {
        let Some(begun) = self.fleet.end(id, stage, ran) else { return };
        if begun {
            self.ended += 1;
            self.growth.ended(ran);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.call_for(id);
    }

    /// A request has failed at an upstream. For as long as others take to answer it counts there as if it were in flight.
    pub fn fail(&mut self, now: Instant, id: WorkerId) {
        self.fleet.fail(now, id);
    }

    /// Another worker with less to do and nothing unstarted, for a request that waits unstarted at `holder`; it gets it.
    pub fn rebind(&mut self, holder: WorkerId) -> Option<WorkerId> {
        let place = self.fleet.pick_instead_of(self.fleet.worker(holder)?)?;
        Some(self.give(place))
    }

    /// Whether [`Dispatch::rebind`] would find one.
    pub fn could_rebind(&self, holder: WorkerId) -> bool {
        self.fleet.worker(holder).is_some_and(|holder| self.fleet.could_move(holder))
    }

    /// Another worker with room than those that were tried; it gets the request.
    pub fn give_elsewhere(&mut self, ticket: Ticket, tried: &[WorkerId]) -> Option<WorkerId> {
        let open = |id: &WorkerId| Some((*id, self.fleet.worker(*id)?.door));
        let doors: Vec<_> = tried.iter().filter_map(open).collect();
        doors.iter().for_each(|(id, _)| self.fleet.set_door(*id, Door::Closed));
        let place = self.fleet.pick(ticket.key);
        doors.iter().for_each(|(id, door)| self.fleet.set_door(*id, *door));
        Some(self.give(place?))
    }

    /// Whether any worker but these takes requests, though it may have no room at present.
    pub fn has_ready_worker_but(&self, but: &[WorkerId]) -> bool {
        let others = |at: &usize| !but[..*at].contains(&but[*at]) && self.fleet.takes(but[*at]);
        let among = (0..but.len()).filter(others).count();
        among < self.fleet.takers() as usize
    }

    /// A new node without workers.
    pub fn add_node(&mut self) -> NodeId {
        self.fleet.add_node()
    }

    /// Says how a node is known beyond this process: where a hash decides, and to clients that stick to it.
    pub fn name_node(&mut self, node: NodeId, name: &str) {
        self.fleet.name_node(node, name);
    }

    /// What marks of nodes are made with; without it no client sticks to any.
    pub fn set_secret(&mut self, secret: Option<Secret>) {
        self.fleet.set_secret(secret);
    }

    /// By what clients stick to this worker's node.
    pub fn mark(&self, id: WorkerId) -> Option<Mark> {
        self.fleet.node_at(self.fleet.worker(id)?.node)?.mark
    }

    /// Changes how a node takes part. What it has already, started or not, it keeps.
    pub fn set_standing(&mut self, node: NodeId, standing: Standing) {
        self.fleet.set_standing(node, standing);
        self.call_all();
    }

    /// How a node takes part.
    pub fn standing(&self, node: NodeId) -> Standing {
        self.fleet.node(node).map_or_else(Standing::default, |node| node.standing)
    }

    /// Another server as a node with one place for `most` requests in flight. It takes none until [`Self::resume_worker`].
    pub fn add_upstream(&mut self, weight: u32, rank: Rank, most: u32) -> (NodeId, WorkerId) {
        let node = self.fleet.add_node();
        self.fleet.make_upstream(node, weight, rank);
        (node, self.fleet.add_worker(node, Kind::Upstream, most))
    }

    /// An upstream gets requests again, or for the first time; slowly at first where that is wanted.
    pub fn resume_worker(&mut self, now: Instant, id: WorkerId) {
        let closed = self.fleet.worker(id).filter(|worker| worker.door != Door::Open).map(|worker| worker.node);
        if let Some(node) = closed {
            self.fleet.set_door(id, Door::Open);
            self.fleet.start_slowly(now, node);
            self.call_all();
        }
    }

    /// It gets one request, by which is seen how it is.
    pub fn try_worker(&mut self, id: WorkerId) {
        self.fleet.set_door(id, Door::Ajar(1));
    }

    /// The worker gets nothing new from now on, unless it is one of the last that take requests. False: it is.
    pub fn suspend_worker(&mut self, id: WorkerId, keep: Keep) -> bool {
        let others = self.fleet.takers() - u32::from(self.fleet.takes(id));
        let enough = match keep {
            Keep::One => 0 < others,
            Keep::Half => self.fleet.nodes().count() <= 2 * others as usize,
        };
        if enough {
            self.drain_worker(id);
        }
        enough
    }

    /// A ready worker of `node`, which may have `threads` requests in flight.
    pub fn add_worker(&mut self, node: NodeId, threads: u32) -> WorkerId {
        let id = self.fleet.add_worker(node, Kind::Own, threads);
        self.fleet.set_door(id, Door::Open);
        self.call_all();
        id
    }

    /// The worker gets nothing new from now on.
    pub fn drain_worker(&mut self, id: WorkerId) {
        self.fleet.set_door(id, Door::Closed);
        self.call_all();
    }

    /// The worker is no more; what it had in flight is forgotten here and settled by who leased it.
    pub fn remove_worker(&mut self, id: WorkerId) {
        let in_flight = self.fleet.remove_worker(id).unwrap_or(0);
        self.in_flight = self.in_flight.saturating_sub(in_flight);
        self.call_all();
    }

    /// The node is no more, and its workers neither.
    pub fn remove_node(&mut self, id: NodeId) {
        let in_flight = self.fleet.remove_node(id);
        self.in_flight = self.in_flight.saturating_sub(in_flight);
        self.call_all();
    }

    /// What the worker has to do at present; nothing when it is no more.
    pub fn load(&self, id: WorkerId) -> Load {
        self.fleet.worker(id).map_or_else(Load::default, worker::Worker::load)
    }

    /// Whether any worker takes requests.
    pub fn has_ready_worker(&self) -> bool {
        0 < self.fleet.takers()
    }
}

#[cfg(test)]
impl<W> Dispatch<W> {
    /// Brings all windows to one, as slow requests do.
    pub(crate) fn narrow(&mut self) {
        let all: Vec<_> =
            self.fleet.workers().map(|(place, worker)| WorkerId { place, serial: worker.serial }).collect();
        for id in all {
            if let Some(worker) = self.fleet.worker_mut(id) {
                (0..5).for_each(|_| worker.window.started(Window::LONG * 2, 1, Elsewhere::Sooner));
            }
            self.fleet.refresh(id.place);
        }
    }
}

#[cfg(test)]
mod tests;
