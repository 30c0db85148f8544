//! All nodes and their workers, and the order in which they are chosen.
//!
//! Invariant: sums and orders say what the workers say: whoever changes one calls [`Class::enter`] for its node.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use super::{
    lots::Lots,
    node::{Node, NodeId, Rank, UNIT, WARM},
    ring::Ring,
    tournament::Tournament,
    worker::{Door, Kind, Stage, Worker, WorkerId},
};
use crate::{Balance, Mark, Secret, Standing, Window};

/// Failures that count like requests in flight, over all nodes.
const FAILURES_MOST: usize = 10_000;

/// Nodes of one rank, by what they are chosen by.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Nodes with room by what they have to do, then by turns.
    pub(super) least: Tournament,
    /// The same by turns alone, where that is asked for.
    pub(super) turns: Tournament,
    /// The same as lots, where chance decides.
    pub(super) lots: Lots,
    /// All nodes, where a hash decides; made when it is asked for.
    pub(super) ring: Option<Ring>,
    /// Nodes that get a request to see how they are.
    pub(super) trials: Vec<u32>,
    /// Workers that take requests, whether they have room or not.
    pub(super) takers: u32,
    /// What the nodes that take requests have to do, and what they can have.
    pub(super) work: u64,
    pub(super) capacity: u64,
}

#[derive(Debug, Default)]
pub(super) struct Fleet {
    workers: Vec<Option<Worker>>,
    nodes: Vec<Option<Node>>,
    classes: [Class; 2],
    /// Nodes by what clients call them.
    marks: BTreeSet<(Mark, u32)>,
    secret: Option<Secret>,
    pub(super) balance: Balance,
    /// What the next choice by chance is made of.
    pub(super) chance: u64,
    /// Workers with an open door.
    open: u32,
    turns: u64,
    /// The most that a node had been given before its last turn.
    given: u64,
    serials: u32,
    slow_start: Duration,
    /// Nodes that start slowly, and when they are looked at next.
    warming: Vec<NodeId>,
    warm_next: Option<Instant>,
    /// Failures that count as requests in flight, until when.
    failures: VecDeque<(Instant, WorkerId)>,
    /// How long an upstream takes to answer, as a moving average.
    answer_time: Duration,
}

fn at<T>(all: &mut [Option<T>], place: u32) -> Option<&mut T> {
    all.get_mut(place as usize)?.as_mut()
}

fn place_of(at: usize) -> u32 {
    u32::try_from(at).expect("fewer places than 2^32")
}

/// The first free place in `all`, or a new one.
fn free_place<T>(all: &mut Vec<Option<T>>) -> u32 {
    let at = all.iter().position(Option::is_none).unwrap_or(all.len());
    if at == all.len() {
        all.push(None);
    }
    place_of(at)
}

impl Class {
    /// The node's turn among others, as it is now.
    fn enter(&mut self, node: &mut Node, balance: Balance) {
        let (place, key) = (node.id.place, node.key());
        self.least.set(place, key);
        if node.kind == Kind::Own || balance == Balance::RoundRobin {
            self.turns.set(place, key.map(|(_, given)| (given, 0)));
        }
        let on_trial = node.open == 0 && key.is_some();
        if std::mem::replace(&mut node.on_trial, on_trial) != on_trial {
            self.trials.retain(|known| *known != place);
            self.trials.extend(on_trial.then_some(place));
        }
        match balance {
            Balance::LeastOutstanding | Balance::RoundRobin => {}
            Balance::RandomTwo => self.lots.set(place, key.map_or(0, |_| node.capacity().max(1))),
            Balance::ConsistentHash => {
                let counted = if node.takes() { (node.work(), node.capacity()) } else { (0, 0) };
                self.work = self.work + counted.0 - node.counted.0;
                self.capacity = self.capacity + counted.1 - node.counted.1;
                node.counted = counted;
            }
        }
    }
}

impl Fleet {
    pub(super) fn class(&self, rank: Rank) -> &Class {
        &self.classes[rank as usize]
    }

    pub(super) fn class_mut(&mut self, rank: Rank) -> &mut Class {
        &mut self.classes[rank as usize]
    }

    pub(super) fn node_at(&self, place: u32) -> Option<&Node> {
        self.nodes.get(place as usize)?.as_ref()
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.node_at(id.place).filter(|node| node.id == id)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        at(&mut self.nodes, id.place).filter(|node| node.id == id)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    pub(super) fn worker_at(&self, place: u32) -> Option<&Worker> {
        self.workers.get(place as usize)?.as_ref()
    }

    pub(super) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.worker_at(id.place).filter(|worker| worker.serial == id.serial)
    }

    pub(super) fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        at(&mut self.workers, id.place).filter(|worker| worker.serial == id.serial)
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = (u32, &Worker)> {
        self.workers.iter().enumerate().filter_map(|(at, worker)| Some((place_of(at), worker.as_ref()?)))
    }

    /// Workers with an open door, for each of so many cores.
    pub(super) fn workers_per_core(&self, cores: u32) -> u32 {
        self.open.div_ceil(cores).max(1)
    }

    /// Workers that take requests, though they may have no room at present.
    pub(super) fn takers(&self) -> u32 {
        self.classes.iter().map(|class| class.takers).sum()
    }

    /// Whether this is one of them.
    pub(super) fn takes(&self, id: WorkerId) -> bool {
        self.worker(id)
            .is_some_and(|worker| worker.door == Door::Open && self.node_at(worker.node).is_some_and(Node::serves))
    }

    pub(super) fn add_node(&mut self) -> NodeId {
        self.serials += 1;
        let id = NodeId { place: free_place(&mut self.nodes), serial: self.serials };
        self.nodes[id.place as usize] = Some(Node::new(id, self.given));
        self.forget_rings();
        id
    }

    /// Makes a new node one of another server, with this weight and rank.
    pub(super) fn make_upstream(&mut self, id: NodeId, weight: u32, rank: Rank) {
        if let Some(node) = self.node_mut(id) {
            (node.kind, node.weight, node.rank) = (Kind::Upstream, weight.max(1), rank);
            node.weigh();
        }
        self.forget_rings();
    }

    /// By its name a node has its place on the ring, and its mark.
    pub(super) fn name_node(&mut self, id: NodeId, name: &str) {
        if let Some(node) = self.node_mut(id) {
            name.clone_into(&mut node.name);
        }
        self.mark(id);
        self.forget_rings();
    }

    pub(super) fn set_secret(&mut self, secret: Option<Secret>) {
        self.secret = secret;
        let ids: Vec<_> = self.nodes().map(|node| node.id).collect();
        ids.into_iter().for_each(|id| self.mark(id));
    }

    fn mark(&mut self, id: NodeId) {
        let Some(node) = at(&mut self.nodes, id.place).filter(|node| node.id == id) else { return };
        let mark = self.secret.as_ref().map(|secret| secret.mark(&node.name));
        if let Some(before) = std::mem::replace(&mut node.mark, mark) {
            self.marks.remove(&(before, id.place));
        }
        self.marks.extend(mark.map(|mark| (mark, id.place)));
    }

    /// The node with this mark that takes requests: one of two may be going.
    pub(super) fn marked(&self, mark: Mark) -> Option<NodeId> {
        let all = self.marks.range((mark, 0)..=(mark, u32::MAX));
        all.filter_map(|(_, place)| self.node_at(*place)).find(|node| node.takes()).map(|node| node.id)
    }

    pub(super) fn set_standing(&mut self, id: NodeId, standing: Standing) {
        let Some(node) = self.node_mut(id) else { return };
        node.standing = standing;
        self.forget_rings();
        self.settle(id.place);
    }

    pub(super) fn add_worker(&mut self, id: NodeId, kind: Kind, threads: u32) -> WorkerId {
        self.serials += 1;
        let place = free_place(&mut self.workers);
        // Of a node that has gone in this moment it is nobody's, and gets nothing.
        let (node, seat) = self.node_mut(id).map_or((u32::MAX, 0), |node| {
            node.places.push(place);
            (id.place, place_of(node.places.len() - 1))
        });
        self.workers[place as usize] = Some(Worker {
            serial: self.serials,
            node,
            seat,
            kind,
            door: Door::Closed,
            threads,
            in_flight: 0,
            unstarted: 0,
            expired: 0,
            requests: 0,
            window: Window::new(),
            last_turn: 0,
        });
        WorkerId { place, serial: self.serials }
    }

    pub(super) fn set_door(&mut self, id: WorkerId, door: Door) {
        let Some(worker) = self.worker_mut(id) else { return };
        let before = std::mem::replace(&mut worker.door, door);
        let (node, is, was) = (worker.node, u32::from(door == Door::Open), u32::from(before == Door::Open));
        self.open = self.open + is - was;
        if let Some(node) = at(&mut self.nodes, node) {
            node.open = node.open + is - was;
        }
        self.refresh(id.place);
        self.settle(node);
    }

    /// A worker has changed: its turn in its node, and the node's among others.
    pub(super) fn refresh(&mut self, place: u32) {
        let Some(worker) = at(&mut self.workers, place) else { return };
        let Some(node) = at(&mut self.nodes, worker.node) else { return };
        node.workers.set(worker.seat, worker.key());
        self.classes[node.rank as usize].enter(node, self.balance);
    }

    /// The doors of a node, or how it takes part, have changed.
    fn settle(&mut self, place: u32) {
        let Some(node) = at(&mut self.nodes, place) else { return };
        node.weigh();
        let class = &mut self.classes[node.rank as usize];
        let takers = if node.serves() { node.open } else { 0 };
        class.takers = class.takers + takers - node.takers;
        node.takers = takers;
        class.enter(node, self.balance);
    }

    fn enter(&mut self, place: u32) {
        if let Some(node) = at(&mut self.nodes, place) {
            self.classes[node.rank as usize].enter(node, self.balance);
        }
    }

    pub(super) fn set_balance(&mut self, balance: Balance, seed: u64) {
        self.balance = balance;
        self.chance = seed;
        for class in &mut self.classes {
            (class.turns, class.lots, class.ring) = Default::default();
            (class.work, class.capacity) = (0, 0);
        }
        for place in 0..place_of(self.nodes.len()) {
            if let Some(node) = at(&mut self.nodes, place) {
                node.counted = (0, 0);
            }
            self.enter(place);
        }
    }

    fn forget_rings(&mut self) {
        self.classes.iter_mut().for_each(|class| class.ring = None);
    }

    /// Whoever is chosen gets a request.
    pub(super) fn give(&mut self, place: u32) -> WorkerId {
        self.turns += 1;
        let worker = at(&mut self.workers, place).expect("who was chosen is there");
        worker.give(self.turns);
        if let Some(node) = at(&mut self.nodes, worker.node) {
            node.outstanding += 1;
            // A node that had no turn for long, or is new, has no claim to all the turns that it missed.
            let now = node.given.max(self.given.saturating_sub(UNIT));
            self.given = self.given.max(now);
            node.given = now + node.unit;
            node.workers.set(worker.seat, worker.key());
            self.classes[node.rank as usize].enter(node, self.balance);
        }
        WorkerId { place, serial: worker.serial }
    }

    /// The work of a request has ended. False: the worker had not begun it; `None`: it is no more.
    pub(super) fn end(&mut self, id: WorkerId, stage: Stage, ran: Duration) -> Option<bool> {
        let worker = at(&mut self.workers, id.place).filter(|worker| worker.serial == id.serial)?;
        let begun = worker.end(stage);
        if worker.kind == Kind::Upstream && !ran.is_zero() {
            self.answer_time = (self.answer_time * 7 + ran) / 8;
        }
        if let Some(node) = at(&mut self.nodes, worker.node) {
            node.outstanding = node.outstanding.saturating_sub(1);
            node.workers.set(worker.seat, worker.key());
            self.classes[node.rank as usize].enter(node, self.balance);
        }
        Some(begun)
    }

    /// A request has failed there: it counts as one in flight for as long as others take. Whoever fails at once would
    /// always have the least to do otherwise, and get all requests.
    pub(super) fn fail(&mut self, now: Instant, id: WorkerId) {
        if self.failures.len() < FAILURES_MOST && self.count_failure(id, 1) {
            self.failures.push_back((now + self.answer_time, id));
        }
    }

    fn count_failure(&mut self, id: WorkerId, by: i32) -> bool {
        let Some(place) = self.worker(id).map(|worker| worker.node) else { return false };
        if let Some(node) = at(&mut self.nodes, place) {
            node.failures = node.failures.saturating_add_signed(by);
        }
        self.enter(place);
        true
    }

    /// Time goes on, for what depends on it.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.failures.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, id)) = self.failures.pop_front() {
                self.count_failure(id, -1);
            }
        }
        if self.warm_next.is_some_and(|next| next <= now) {
            self.warm(now);
        }
    }

    pub(super) fn set_slow_start(&mut self, lasts: Duration) {
        self.slow_start = lasts;
        if lasts.is_zero() {
            // Whoever has begun is done.
            self.warm_next = None;
            let warming = std::mem::take(&mut self.warming);
            warming.into_iter().for_each(|id| self.set_warmth(id, WARM));
        }
    }

    /// The node has just become ready.
    pub(super) fn start_slowly(&mut self, now: Instant, place: u32) {
        if self.slow_start.is_zero() {
            return;
        }
        if let Some(node) = at(&mut self.nodes, place) {
            node.began = Some(now);
            let id = node.id;
            if !self.warming.contains(&id) {
                self.warming.push(id);
            }
            self.warm(now);
        }
    }

    fn warm(&mut self, now: Instant) {
        let mut warming = std::mem::take(&mut self.warming);
        warming.retain(|id| {
            let Some(began) = self.node(*id).and_then(|node| node.began) else { return false };
            let passed = now.saturating_duration_since(began).as_nanos() * u128::from(WARM);
            let part = passed / self.slow_start.as_nanos().max(1);
            let warmth = u32::try_from(part).unwrap_or(WARM).clamp(1, WARM);
            self.set_warmth(*id, warmth);
            warmth < WARM
        });
        self.warm_next = (!warming.is_empty()).then(|| now + self.slow_start / WARM);
        self.warming = warming;
    }

    fn set_warmth(&mut self, id: NodeId, warmth: u32) {
        if let Some(node) = self.node_mut(id) {
            node.warmth = warmth;
            node.weigh();
        }
        self.enter(id.place);
    }

    /// The worker is no more; returns what it had in flight.
    pub(super) fn remove_worker(&mut self, id: WorkerId) -> Option<u32> {
        self.set_door(id, Door::Closed);
        self.worker(id)?;
        let worker = self.workers[id.place as usize].take()?;
        if let Some(node) = at(&mut self.nodes, worker.node) {
            node.outstanding = node.outstanding.saturating_sub(worker.in_flight);
            node.places.swap_remove(worker.seat as usize);
            node.workers.set(worker.seat, None);
            let moved = node.places.get(worker.seat as usize).copied();
            node.workers.set(place_of(node.places.len()), None);
            if let Some(moved) = moved
                && let Some(other) = at(&mut self.workers, moved)
            {
                other.seat = worker.seat;
                self.refresh(moved);
            }
        }
        self.enter(worker.node);
        Some(worker.in_flight)
    }

    /// The node is no more, and its workers neither; returns what they had in flight.
    pub(super) fn remove_node(&mut self, id: NodeId) -> u32 {
        let Some(node) = self.node(id) else { return 0 };
        let (workers, mark) = (node.places.clone(), node.mark);
        if let Some(mark) = mark {
            self.marks.remove(&(mark, id.place));
        }
        let serials =
            workers.into_iter().filter_map(|place| Some(WorkerId { place, serial: self.worker_at(place)?.serial }));
        let ids: Vec<_> = serials.collect();
        let in_flight = ids.into_iter().filter_map(|id| self.remove_worker(id)).sum();
        self.nodes[id.place as usize] = None;
        in_flight
    }
}
