//! Queue and slots of one application: which worker gets which request, and when.
//!
//! One bounded queue. A request leaves it only for a worker with room: fewer unstarted requests than its [`Window`], and
//! fewer in flight than `threads` and that window. Among nodes with room, those with about the least outstanding work per
//! worker take turns; within a node the worker with the least gets it, ties to the one that waited longest. So requests
//! that come one at a time walk over all workers, and many at a time are spread evenly.
//!
//! Invariants: nothing waits while a worker has room; who came first goes first; every request given to a worker is
//! counted there until [`Dispatch::end`] says that its *work* has ended.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{Duty, Growth, GrowthChange, Obstacle, Sight, Standing, Window, window::Elsewhere};

/// Names a node within one run of Tierce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// Names a worker within one run of Tierce; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    place: u32,
    serial: u32,
}

/// A request's place in the order of arrival; no two requests have the same, and one keeps its own when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

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

/// How far a request has come that a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The application has not been called.
    Given,
    /// The application has been called: [`Dispatch::start`].
    Started,
    /// It was called, and the request's time is up: [`Dispatch::expire`].
    Expired,
}

/// What a worker has to do at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests given to it whose work has not ended.
    pub in_flight: u32,
    /// Those of them that it has not started.
    pub unstarted: u32,
    /// Those of them whose time is up: they have been answered, and nobody waits for their end.
    pub expired: u32,
    /// How many it may hold unstarted.
    pub window: u32,
    /// How many could be in flight now: what it runs and its window, at most `threads`.
    pub slots: u32,
    /// Requests that it has ended.
    pub requests: u64,
}

impl Load {
    /// Whether it has a request for whose answer somebody waits.
    pub fn is_awaited(self) -> bool {
        0 < self.awaited()
    }

    /// How many of its requests somebody waits for.
    pub fn awaited(self) -> u64 {
        u64::from(self.in_flight.saturating_sub(self.expired))
    }
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

#[derive(Debug)]
struct Worker {
    serial: u32,
    node: NodeId,
    accepting: bool,
    kind: Kind,
    threads: u32,
    in_flight: u32,
    unstarted: u32,
    expired: u32,
    requests: u64,
    window: Window,
    last_turn: u64,
}

/// What a place for requests is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A worker of ours, which starts what it was given in its own time.
    Own,
    /// Another server, which has started what it was given as far as we can know.
    Upstream,
}

impl Worker {
    fn has_room(&self) -> bool {
        if self.kind == Kind::Upstream {
            return self.accepting && self.in_flight < self.threads;
        }
        // What waits in the window does not run yet: it may be beyond `threads`.
        let most = self.threads.saturating_add(self.window.size());
        self.accepting && self.unstarted < self.window.size() && self.in_flight < most
    }
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    places: Vec<u32>,
    standing: Standing,
    /// What the configuration says: it gets so many times as much as a node with 1.
    weight: u32,
    rank: Rank,
    /// Requests that it was given per worker and by its weight, in parts of [`UNIT`]: whoever has the least has the next turn.
    given: u64,
}

impl Node {
    /// Work as it counts for this node.
    fn weighed(&self, work: u64) -> u64 {
        self.standing.weighed(work) / u64::from(self.weight)
    }
}

/// When a node gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Always.
    Usual,
    /// When no other takes any.
    Backup,
}

/// What [`Dispatch::pick`] has to know of a node.
#[derive(Debug)]
struct Survey {
    /// Outstanding work per worker and by the node's weight, in parts of [`UNIT`].
    share: u64,
    place: u32,
    kind: Kind,
}

/// One request, in shares of a node.
const UNIT: u64 = 1_000_000;

/// Nodes with so many times as much to do as the least, and two requests per worker more, count as equal and have turns. On
/// a busy machine the scheduler favours some processes; they would be given ever more if only the shortest line counted.
const NEARLY: u64 = 2;
const NEARLY_ALWAYS: u64 = 2 * UNIT;

#[derive(Debug)]
struct Waiting<W> {
    ticket: Ticket,
    waiter: W,
}

/// Queue and slots of one application. `W` is whoever has to be told when a waiting request gets a worker.
#[derive(Debug)]
pub struct Dispatch<W> {
    workers: Vec<Option<Worker>>,
    nodes: Vec<Node>,
    queue: VecDeque<Waiting<W>>,
    queue_length: usize,
    /// Requests given to all workers, how many those may be, and how many while the gate is as it is.
    in_flight: u32,
    in_flight_bound: u32,
    in_flight_most: u32,
    growth: Growth,
    ended: u64,
    gate: Gate,
    cores: u32,
    tickets: u64,
    turns: u64,
    /// The most that a node had been given before its last turn.
    given: u64,
    serials: u32,
    node_ids: u32,
}

impl<W> Dispatch<W> {
    /// An application without nodes, whose queue holds at most `queue_length` requests, on a machine of so many cores.
    pub fn new(queue_length: u32, cores: u32) -> Self {
        Self {
            workers: Vec::new(),
            nodes: Vec::new(),
            queue: VecDeque::new(),
            queue_length: queue_length as usize,
            in_flight: 0,
            in_flight_bound: u32::MAX,
            in_flight_most: u32::MAX,
            growth: Growth::default(),
            ended: 0,
            gate: Gate::Open,
            cores: cores.max(1),
            tickets: 0,
            turns: 0,
            given: 0,
            serials: 0,
            node_ids: 0,
        }
    }

    /// Changes the bound of the queue; what waits already stays.
    pub fn bound_queue(&mut self, queue_length: u32) {
        self.queue_length = queue_length as usize;
    }

    /// Changes how many requests all workers together may have in flight (`limits.in_flight`); those that are more end
    /// in their own time.
    pub fn bound_in_flight(&mut self, most: Option<u32>) {
        self.in_flight_bound = most.unwrap_or(u32::MAX);
        self.set_gate(self.gate);
    }

    /// Opens, holds or shuts. An open gate costs nothing to pass: one that is not is a bound of no requests in flight.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
        self.in_flight_most = if gate == Gate::Open { self.in_flight_bound } else { 0 };
    }

    /// Whoever waits, in order. They are in the queue no more.
    pub fn send_away(&mut self) -> impl Iterator<Item = W> + use<W> {
        std::mem::take(&mut self.queue).into_iter().map(|waiting| waiting.waiter)
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
        let bounded = self.bound() <= self.in_flight;
        (self.gate == Gate::Open).then_some(Demand {
            queued,
            ended: self.ended,
            obstacle: bounded.then_some(Obstacle::InFlight),
        })
    }

    fn bound(&self) -> u32 {
        self.in_flight_most.min(self.growth.bound().unwrap_or(u32::MAX))
    }

    /// How many requests all workers have.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many they may have at present, if that is bounded because more had only added latency.
    pub fn growth_bound(&self) -> Option<u32> {
        self.growth.bound()
    }

    /// A request wants to be run. Behind others it waits; otherwise it gets a worker with room if there is one.
    pub fn admit(&mut self, waiter: impl FnOnce() -> W) -> Admission {
        if self.queue.is_empty()
            && let Some(place) = self.pick(None)
        {
            let ticket = self.ticket();
            return Admission::Go(self.give(place), ticket);
        }
        if self.gate == Gate::Shut {
            return Admission::Shut;
        }
        if self.queue_length <= self.queue.len() {
            return Admission::Full;
        }
        let ticket = self.ticket();
        self.queue.push_back(Waiting { ticket, waiter: waiter() });
        Admission::Wait(ticket)
    }

    /// A request that had a worker comes back unstarted: it gets its old place in the order, however full the queue is.
    pub fn readmit(&mut self, ticket: Ticket, waiter: impl FnOnce() -> W) -> Admission {
        if self.queue.front().is_none_or(|first| ticket <= first.ticket)
            && let Some(place) = self.pick(None)
        {
            return Admission::Go(self.give(place), ticket);
        }
        if self.gate == Gate::Shut {
            return Admission::Shut;
        }
        let at = self.queue.partition_point(|waiting| waiting.ticket < ticket);
        self.queue.insert(at, Waiting { ticket, waiter: waiter() });
        Admission::Wait(ticket)
    }

    /// The next request that waits and the worker that has room for it; to be asked until it says `None`, after anything
    /// that can make room.
    pub fn next_grant(&mut self) -> Option<(W, WorkerId, Ticket)> {
        if self.queue.is_empty() {
            return None;
        }
        let place = self.pick(None)?;
        let waiting = self.queue.pop_front().expect("checked above");
        Some((waiting.waiter, self.give(place), waiting.ticket))
    }

    /// A waiting request gives up. False: it was not in the queue any more.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        let at = self.queue.partition_point(|waiting| waiting.ticket < ticket);
        let found = self.queue.get(at).is_some_and(|waiting| waiting.ticket == ticket);
        if found {
            self.queue.remove(at);
        }
        found
    }

    /// The worker has called the application, after the request had waited there.
    pub fn start(&mut self, id: WorkerId, waited: Duration) {
        // Where more workers than cores are busy, each waits for its turn on a core, which is not the handlers' fault.
        let waited = waited / self.workers_per_core();
        // A long wait speaks against the window only if the request could have waited less elsewhere. When all workers are
        // equally late, narrow windows would only let the scheduler decide who gets how much.
        let elsewhere =
            if waited <= Window::LONG || self.could_rebind(id) { Elsewhere::Sooner } else { Elsewhere::AlsoLate };
        if let Some(worker) = self.worker_mut(id) {
            worker.window.started(waited, worker.unstarted, elsewhere);
            worker.unstarted = worker.unstarted.saturating_sub(1);
        }
    }

    fn workers_per_core(&self) -> u32 {
        let accepting = self.workers.iter().flatten().filter(|worker| worker.accepting).count();
        u32::try_from(accepting).unwrap_or(u32::MAX).div_ceil(self.cores).max(1)
    }

    /// The time of a request is up; its work goes on until [`Dispatch::end`].
    pub fn expire(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.expired += 1;
        }
    }

    /// The work of a request has ended after it ran for so long, or it was taken back; `stage` as told before.
    pub fn end(&mut self, id: WorkerId, stage: Stage, ran: Duration) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.in_flight = worker.in_flight.saturating_sub(1);
        let stage = if worker.kind == Kind::Upstream { Stage::Started } else { stage };
        match stage {
            Stage::Given => worker.unstarted = worker.unstarted.saturating_sub(1),
            Stage::Started => worker.requests += 1,
            Stage::Expired => {
                worker.requests += 1;
                worker.expired = worker.expired.saturating_sub(1);
            }
        }
        if stage != Stage::Given {
            self.ended += 1;
            self.growth.ended(ran);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Another worker with less to do and nothing unstarted, for a request that waits unstarted at `holder`; it gets it.
    pub fn rebind(&mut self, holder: WorkerId) -> Option<WorkerId> {
        let place = self.pick(Some(holder))?;
        Some(self.give(place))
    }

    /// Whether [`Dispatch::rebind`] would find one.
    pub fn could_rebind(&self, holder: WorkerId) -> bool {
        self.pick(Some(holder)).is_some()
    }

    /// A new node without workers.
    pub fn add_node(&mut self) -> NodeId {
        self.node_ids += 1;
        let id = NodeId(self.node_ids);
        self.nodes.push(Node {
            id,
            places: Vec::new(),
            standing: Standing::default(),
            weight: 1,
            rank: Rank::Usual,
            given: self.given,
        });
        id
    }

    /// Changes how a node takes part. What it has already, started or not, it keeps.
    pub fn set_standing(&mut self, node: NodeId, standing: Standing) {
        if let Some(node) = self.nodes.iter_mut().find(|known| known.id == node) {
            node.standing = standing;
        }
    }

    /// How a node takes part.
    pub fn standing(&self, node: NodeId) -> Standing {
        self.nodes.iter().find(|known| known.id == node).map_or_else(Standing::default, |node| node.standing)
    }

    /// Another server as a node with one place for `most` requests in flight. It takes none until [`Self::resume_worker`].
    pub fn add_upstream(&mut self, weight: u32, rank: Rank, most: u32) -> (NodeId, WorkerId) {
        let node = self.add_node();
        if let Some(known) = self.nodes.iter_mut().find(|known| known.id == node) {
            (known.weight, known.rank) = (weight.max(1), rank);
        }
        let worker = self.add_worker(node, most);
        if let Some(worker) = self.worker_mut(worker) {
            (worker.kind, worker.accepting) = (Kind::Upstream, false);
        }
        (node, worker)
    }

    /// It gets requests again, or for the first time.
    pub fn resume_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.accepting = true;
        }
    }

    /// The worker gets nothing new from now on, unless it is the last that takes requests. False: it is.
    pub fn suspend_worker(&mut self, id: WorkerId) -> bool {
        let others = self.has_ready_worker_but(&[id]);
        if others {
            self.drain_worker(id);
        }
        others
    }

    /// Another worker with room than those that were tried; it gets the request.
    pub fn give_elsewhere(&mut self, tried: &[WorkerId]) -> Option<WorkerId> {
        let place = self.pick_among(&|id| !tried.contains(&id), None)?;
        Some(self.give(place))
    }

    /// Whether any worker but these takes requests, though it may have no room at present.
    pub fn has_ready_worker_but(&self, but: &[WorkerId]) -> bool {
        let ids = self.workers.iter().enumerate().filter_map(|(place, worker)| {
            let worker = worker.as_ref().filter(|worker| worker.accepting)?;
            Some(WorkerId { place: u32::try_from(place).ok()?, serial: worker.serial })
        });
        ids.into_iter().any(|id| !but.contains(&id))
    }

    /// A ready worker of `node`, which may have `threads` requests in flight.
    pub fn add_worker(&mut self, node: NodeId, threads: u32) -> WorkerId {
        self.serials += 1;
        let worker = Worker {
            serial: self.serials,
            node,
            kind: Kind::Own,
            accepting: true,
            threads,
            in_flight: 0,
            unstarted: 0,
            expired: 0,
            requests: 0,
            window: Window::new(),
            last_turn: 0,
        };
        let free = self.workers.iter().position(Option::is_none);
        let at = free.unwrap_or(self.workers.len());
        if free.is_some() {
            self.workers[at] = Some(worker)
        } else {
            self.workers.push(Some(worker))
        }
        let place = u32::try_from(at).expect("fewer workers than 2^32");
        if let Some(node) = self.nodes.iter_mut().find(|known| known.id == node) {
            node.places.push(place);
        }
        WorkerId { place, serial: self.serials }
    }

    /// The worker gets nothing new from now on.
    pub fn drain_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.accepting = false;
        }
    }

    /// The worker is no more; what it had in flight is forgotten here and settled by who leased it.
    pub fn remove_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker(id) {
            self.in_flight = self.in_flight.saturating_sub(worker.in_flight);
            self.workers[id.place as usize] = None;
            for node in &mut self.nodes {
                node.places.retain(|place| *place != id.place);
            }
        }
    }

    /// The node is no more, and its workers neither.
    pub fn remove_node(&mut self, id: NodeId) {
        self.nodes.retain(|node| node.id != id);
        for place in &mut self.workers {
            if let Some(worker) = place.take_if(|worker| worker.node == id) {
                self.in_flight = self.in_flight.saturating_sub(worker.in_flight);
            }
        }
    }

    /// What the worker has to do at present; nothing when it is no more.
    pub fn load(&self, id: WorkerId) -> Load {
        self.worker(id).map_or_else(Load::default, |worker| {
            let started = worker.in_flight.saturating_sub(worker.unstarted);
            let slots = match worker.kind {
                _ if !worker.accepting => 0,
                Kind::Own => (started + worker.window.size()).min(worker.threads),
                Kind::Upstream => worker.threads,
            };
            let Worker { in_flight, unstarted, expired, requests, .. } = *worker;
            Load { in_flight, unstarted, expired, window: worker.window.size(), slots, requests }
        })
    }

    /// How many requests wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether any worker takes requests.
    pub fn has_ready_worker(&self) -> bool {
        self.workers.iter().flatten().any(|worker| worker.accepting)
    }

    /// The place of the worker whose turn it is. With `instead_of`: only a worker that would start the request sooner.
    fn pick(&self, instead_of: Option<WorkerId>) -> Option<u32> {
        let holder = match instead_of {
            None if self.bound() <= self.in_flight => return None,
            None => None,
            Some(id) => Some(self.worker(id)?),
        };
        self.pick_among(&|_| true, holder)
    }

    fn pick_among(&self, may: &dyn Fn(WorkerId) -> bool, holder: Option<&Worker>) -> Option<u32> {
        let candidates = |rank| {
            let nodes = self.nodes.iter().filter(move |node| node.rank == rank);
            nodes.filter_map(|node| Some((node, self.survey(node, may, holder)?)))
        };
        let takes = |node: &Node| {
            let ids = node.places.iter().filter_map(|place| Some((*place, self.at(*place)?)));
            node.standing.duty == Duty::Serves
                && ids
                    .into_iter()
                    .any(|(place, worker)| worker.accepting && may(WorkerId { place, serial: worker.serial }))
        };
        let usual = self.nodes.iter().any(|node| node.rank == Rank::Usual && takes(node));
        let rank = if usual { Rank::Usual } else { Rank::Backup };
        let least = candidates(rank).map(|(_, survey)| survey.share).min()?;
        let near = candidates(rank).filter(|(_, survey)| match survey.kind {
            Kind::Own => survey.share <= least * NEARLY + NEARLY_ALWAYS,
            // What another server has to do is known by what it has not answered, and by nothing else.
            Kind::Upstream => survey.share == least,
        });
        Some(near.min_by_key(|(node, _)| node.given)?.1.place)
    }

    /// How much a node has to do, and which of its workers is next; `None` when none has room.
    fn survey(&self, node: &Node, may: &dyn Fn(WorkerId) -> bool, holder: Option<&Worker>) -> Option<Survey> {
        if node.standing.duty == Duty::Rests {
            return None;
        }
        let mut outstanding = 0u64;
        let mut accepting = 0u64;
        let mut next: Option<(u32, &Worker)> = None;
        for (place, worker) in node.places.iter().filter_map(|place| Some((*place, self.at(*place)?))) {
            outstanding += u64::from(worker.in_flight);
            accepting += u64::from(worker.accepting);
            // Moving is to even out, never to let the scheduler's favourite gather everything.
            let better = |holder: &Worker| worker.unstarted == 0 && worker.in_flight + 1 < holder.in_flight;
            let order = |worker: &Worker| (worker.in_flight, worker.last_turn);
            if worker.has_room()
                && may(WorkerId { place, serial: worker.serial })
                && holder.is_none_or(better)
                && next.is_none_or(|(_, other)| order(worker) < order(other))
            {
                next = Some((place, worker));
            }
        }
        let (place, worker) = next?;
        let share = node.weighed(outstanding * UNIT / accepting.max(1));
        Some(Survey { share, place, kind: worker.kind })
    }

    fn give(&mut self, place: u32) -> WorkerId {
        self.turns += 1;
        self.in_flight += 1;
        let worker = self.workers[place as usize].as_mut().expect("`pick` names a worker that is there");
        worker.in_flight += 1;
        worker.unstarted += u32::from(worker.kind == Kind::Own);
        worker.last_turn = self.turns;
        let (id, node) = (WorkerId { place, serial: worker.serial }, worker.node);
        if let Some(node) = self.nodes.iter_mut().find(|known| known.id == node) {
            let accepting = node.places.iter().filter(|place| {
                self.workers.get(**place as usize).and_then(Option::as_ref).is_some_and(|worker| worker.accepting)
            });
            // A node that had no turn for long, or is new, has no claim to all the turns that it missed.
            let now = node.given.max(self.given.saturating_sub(UNIT));
            self.given = self.given.max(now);
            node.given = now + node.weighed(UNIT / (accepting.count() as u64).max(1));
        }
        id
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn at(&self, place: u32) -> Option<&Worker> {
        self.workers.get(place as usize)?.as_ref()
    }

    fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.at(id.place).filter(|worker| worker.serial == id.serial)
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(id.place as usize)?.as_mut().filter(|worker| worker.serial == id.serial)
    }
}

#[cfg(test)]
impl<W> Dispatch<W> {
    /// Brings all windows to one, as slow requests do.
    pub(crate) fn narrow(&mut self) {
        for worker in self.workers.iter_mut().flatten() {
            (0..5).for_each(|_| worker.window.started(Window::LONG * 2, 1, Elsewhere::Sooner));
        }
    }
}

#[cfg(test)]
mod tests;
