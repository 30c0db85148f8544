//! Who waits, in the order of arrival: for any node, or for the one to which they stick.
//!
//! Invariant: each line is in order of tickets, and none that waits for one node is left when it is asked for nothing more.

use std::collections::{BTreeMap, VecDeque};

use super::{NodeId, tournament::Tournament};

/// A request's place in the order of arrival, and what it wishes; no two requests have the same, and one keeps its own when
/// it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub(super) number: u64,
    /// What it is known by where a hash decides.
    pub(super) key: Option<u64>,
    /// The node that it sticks to.
    pub(super) node: Option<NodeId>,
}

#[derive(Debug)]
struct Waiting<W> {
    ticket: Ticket,
    waiter: W,
}

type Line<W> = VecDeque<Waiting<W>>;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The first of those that take any node.
    Any(Ticket),
    /// The first of those that wait for the node at this place, which has room.
    Sticking(u32),
}

/// All that wait. `W` is whoever has to be told.
#[derive(Debug)]
pub(super) struct Queue<W> {
    line: Line<W>,
    /// Those that wait for one node, by its place.
    sticking: BTreeMap<u32, Line<W>>,
    /// The first of each of these lines whose node has room.
    called: Tournament,
    stuck: usize,
    bound: usize,
}

impl<W> Queue<W> {
    pub(super) fn new(bound: u32) -> Self {
        Self {
            line: VecDeque::new(),
            sticking: BTreeMap::new(),
            called: Tournament::default(),
            stuck: 0,
            bound: bound as usize,
        }
    }

    pub(super) fn bound(&mut self, bound: u32) {
        self.bound = bound as usize;
    }

    pub(super) fn len(&self) -> usize {
        self.line.len() + self.stuck
    }

    pub(super) fn is_full(&self) -> bool {
        self.bound <= self.len()
    }

    /// Whether nobody who came before waits for any node, or for that at this place.
    pub(super) fn is_first(&self, ticket: Ticket, node: Option<u32>) -> bool {
        let behind = |line: &Line<W>| line.front().is_none_or(|first| ticket <= first.ticket);
        behind(&self.line) && node.and_then(|node| self.sticking.get(&node)).is_none_or(behind)
    }

    /// To its place in the order; in the line of a node if it waits for that one alone.
    pub(super) fn insert(&mut self, ticket: Ticket, waiter: W, node: Option<u32>) {
        let line = match node {
            None => &mut self.line,
            Some(node) => {
                self.stuck += 1;
                self.sticking.entry(node).or_default()
            }
        };
        let at = line.partition_point(|waiting| waiting.ticket < ticket);
        line.insert(at, Waiting { ticket, waiter });
    }

    /// False: it does not wait any more.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        if take(&mut self.line, ticket) {
            return true;
        }
        let left = self.sticking.iter_mut().find_map(|(node, line)| take(line, ticket).then_some(*node));
        if let Some(node) = left {
            self.stuck -= 1;
            let has_room = self.called.key(node).is_some();
            self.call(node, has_room);
        }
        left.is_some()
    }

    /// Whoever came first of all that may have their turn; `any`: there is room for those that take any node.
    pub(super) fn next(&self, any: bool) -> Option<Next> {
        let first = self.line.front().filter(|_| any).map(|first| first.ticket);
        let called = self.called.first().and_then(|node| Some((self.called.key(node)?.0, node)));
        match (first, called) {
            (Some(first), Some((number, node))) if number < first.number => Some(Next::Sticking(node)),
            (None, Some((_, node))) => Some(Next::Sticking(node)),
            (first, _) => first.map(Next::Any),
        }
    }

    /// Takes out whose turn it is.
    pub(super) fn pop(&mut self, next: Next) -> Option<(W, Ticket)> {
        let waiting = match next {
            Next::Any(_) => self.line.pop_front(),
            Next::Sticking(node) => {
                self.stuck -= 1;
                self.sticking.get_mut(&node).and_then(VecDeque::pop_front)
            }
        };
        waiting.map(|Waiting { ticket, waiter }| (waiter, ticket))
    }

    /// Whether anybody waits for one node.
    pub(super) fn has_sticking(&self) -> bool {
        !self.sticking.is_empty()
    }

    /// The nodes that are waited for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = u32> + use<'_, W> {
        self.sticking.keys().copied()
    }

    /// Whether the node at this place has room for those that wait for it.
    pub(super) fn call(&mut self, node: u32, has_room: bool) {
        let Some(line) = self.sticking.get(&node) else { return };
        let first = line.front().map(|first| (first.ticket.number, 0));
        self.called.set(node, first.filter(|_| has_room));
        if first.is_none() {
            self.sticking.remove(&node);
        }
    }

    /// The node at this place takes nothing more: who waits for it takes any.
    pub(super) fn release(&mut self, node: u32) {
        let Some(line) = self.sticking.remove(&node) else { return };
        self.called.set(node, None);
        self.stuck -= line.len();
        line.into_iter().for_each(|Waiting { ticket, waiter }| self.insert(ticket, waiter, None));
    }

    /// Everybody; nobody waits any more.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = W> + use<W> {
        let nodes: Vec<_> = self.awaited().collect();
        nodes.into_iter().for_each(|node| self.release(node));
        std::mem::take(&mut self.line).into_iter().map(|waiting| waiting.waiter)
    }
}

fn take<W>(line: &mut Line<W>, ticket: Ticket) -> bool {
    let at = line.partition_point(|waiting| waiting.ticket < ticket);
    let found = line.get(at).is_some_and(|waiting| waiting.ticket == ticket);
    if found {
        line.remove(at);
    }
    found
}
