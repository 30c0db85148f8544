//! Who gets a request: the node by the way in which it is balanced, then the worker of that node whose turn it is.
//!
//! Invariant: only who has room is chosen, and somebody is while anybody has; a backup only when no other takes requests.

use super::{
    fleet::{Class, Fleet},
    node::{Node, NodeId, Rank, UNIT},
    ring::Ring,
    worker::{Kind, Worker},
};
use crate::{
    Balance,
    balance::{hash_key, mix},
};

/// Nodes with so many times as much to do as the least, and two requests per worker more, count as equal and have turns. On
/// a busy machine the scheduler favours some processes; they would be given ever more if only the shortest line counted.
const NEARLY: u64 = 2;
const NEARLY_ALWAYS: u64 = 2 * UNIT;

/// Where a hash decides, a node may have five quarters of what it would have if all had the same.
const BOUND: (u64, u64) = (5, 4);

/// Behind so many points of the ring whose nodes are full a request goes where there is least to do.
const STEPS: usize = 64;

impl Fleet {
    /// The place of the worker that gets the next request. `key` is what a hash would be made of.
    pub(super) fn pick(&mut self, key: Option<u64>) -> Option<u32> {
        let rank = self.rank()?;
        if let Some(node) = self.class(rank).trials.first() {
            return self.worker_of(self.node_at(*node)?);
        }
        let node = match (self.balance, key) {
            (Balance::LeastOutstanding, _) | (Balance::ConsistentHash, None) => self.least(self.class(rank)),
            (Balance::RoundRobin, _) => self.class(rank).turns.first(),
            (Balance::RandomTwo, _) => self.of_two(rank),
            (Balance::ConsistentHash, Some(key)) => self.of_key(rank, key).or_else(|| self.least(self.class(rank))),
        };
        self.worker_of(self.node_at(node?)?)
    }

    /// Whether anybody has room.
    pub(super) fn has_room(&self) -> bool {
        self.rank().is_some()
    }

    /// The place of the worker of this node that gets the next request for it.
    pub(super) fn pick_of(&self, id: NodeId) -> Option<u32> {
        self.worker_of(self.node(id).filter(|node| node.key().is_some())?)
    }

    fn worker_of(&self, node: &Node) -> Option<u32> {
        node.places.get(node.workers.first()? as usize).copied()
    }

    /// Whose turn it is at all. One of the usual ones that is being tried has its turn too.
    fn rank(&self) -> Option<Rank> {
        let has_room = |rank: &Rank| self.class(*rank).least.first().is_some();
        if 0 < self.class(Rank::Usual).takers {
            return Some(Rank::Usual).filter(has_room);
        }
        [Rank::Usual, Rank::Backup].into_iter().find(has_room)
    }

    fn least(&self, class: &Class) -> Option<u32> {
        let first = class.least.first()?;
        if self.node_at(first)?.kind == Kind::Upstream {
            // What another server has to do is known by what it has not answered, and by nothing else.
            return Some(first);
        }
        let share = |node| class.least.key(node).map_or(u64::MAX, |(share, _)| share);
        let most = share(first) * NEARLY + NEARLY_ALWAYS;
        class.turns.first_that(|node| share(node) <= most)
    }

    /// Two by chance, each as likely as it can have much, and the one with less to do.
    fn of_two(&mut self, rank: Rank) -> Option<u32> {
        let [one, other] = [self.draw(), self.draw()];
        let class = self.class(rank);
        let (first, at) = class.lots.draw(one.checked_rem(class.lots.total())?);
        let own = class.lots.of(first);
        let Some(lot) = other.checked_rem(class.lots.total() - own) else { return Some(first) };
        // The lots of the first are left out.
        let (second, _) = class.lots.draw(if lot < at { lot } else { lot + own });
        let share = |node| class.least.key(node).map(|(share, _)| share);
        Some(if share(second) < share(first) { second } else { first })
    }

    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.chance)
    }

    /// The node to which the key belongs, or the next on the ring that has room and not much more to do than others.
    fn of_key(&mut self, rank: Rank, key: u64) -> Option<u32> {
        if self.class(rank).ring.is_none() {
            let ours = self.nodes().filter(|node| node.rank == rank);
            let ours: Vec<_> =
                ours.map(|node| (hash_key(node.name.as_bytes()), node.weight(), node.id.place)).collect();
            self.class_mut(rank).ring = Some(Ring::new(&ours));
        }
        let class = self.class(rank);
        let (work, capacity) = (class.work + 1, class.capacity);
        let bound = u128::from(BOUND.0 * work);
        let fits = |place: &u32| {
            class.least.key(*place).is_some()
                && self.node_at(*place).is_some_and(|node| {
                    u128::from(node.work() * BOUND.1) * u128::from(capacity) < bound * u128::from(node.capacity())
                })
        };
        class.ring.as_ref()?.from(key).take(STEPS).find(fits)
    }

    /// The place of another worker with nothing unstarted and less to do, for a request that waits unstarted at `holder`.
    /// Moving is to even out, never to let the scheduler's favourite gather everything.
    pub(super) fn pick_instead_of(&self, holder: &Worker) -> Option<u32> {
        let order = |(_, worker): &(u32, &Worker)| {
            let node = self.node_at(worker.node)?;
            Some((node.work() * node.unit, worker.in_flight, worker.last_turn))
        };
        self.sooner(holder).min_by_key(order).map(|(place, _)| place)
    }

    /// Whether there is one.
    pub(super) fn could_move(&self, holder: &Worker) -> bool {
        self.sooner(holder).next().is_some()
    }

    fn sooner(&self, holder: &Worker) -> impl Iterator<Item = (u32, &Worker)> {
        // Nobody has less than nothing to do: most often that is said without looking at all of them.
        let fewer = holder.in_flight.saturating_sub(1);
        let all = (0 < fewer).then(|| self.workers()).into_iter().flatten();
        all.filter(move |(_, worker)| {
            worker.unstarted == 0
                && worker.in_flight < fewer
                && worker.has_room()
                && self.node_at(worker.node).is_some_and(Node::serves)
        })
    }
}
