//! What a node has to do, and what part of all it is to have.

use std::time::Instant;

use super::{
    tournament::{Key, Tournament},
    worker::Kind,
};
use crate::{Duty, Mark, Standing};

/// Names a node within one run of Tierce; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    pub(super) place: u32,
    pub(super) serial: u32,
}

/// When a node gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Always.
    Usual,
    /// When no other takes any.
    Backup,
}

/// One request, in shares of a node. What many small numbers divide, so that shares that are equal are so to the last digit.
pub(super) const UNIT: u64 = 720_720;

/// All of it: how far a node is that starts slowly.
pub(super) const WARM: u32 = 100;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// Places of its workers by seat, and the order of those with room.
    pub(super) places: Vec<u32>,
    pub(super) workers: Tournament,
    /// What they have in flight, and failures that count like it.
    pub(super) outstanding: u32,
    pub(super) failures: u32,
    /// How many of them have an open door.
    pub(super) open: u32,
    /// The same while it serves, and nothing otherwise.
    pub(super) takers: u32,
    pub(super) kind: Kind,
    pub(super) standing: Standing,
    /// What the configuration says: it gets so many times as much as a node with 1.
    pub(super) weight: u32,
    pub(super) rank: Rank,
    /// How far it is in hundredths, and when that began.
    pub(super) warmth: u32,
    pub(super) began: Option<Instant>,
    /// Requests that it was given per worker and by its weight, in parts of [`UNIT`]: whoever has the least has the next turn.
    pub(super) given: u64,
    /// One request as it counts here.
    pub(super) unit: u64,
    /// How it is known beyond this process, and to clients that stick to it.
    pub(super) name: String,
    pub(super) mark: Option<Mark>,
    /// How it counts in the sums of its rank.
    pub(super) counted: (u64, u64),
    /// It gets a request to see how it is.
    pub(super) on_trial: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, given: u64) -> Self {
        Self {
            id,
            places: Vec::new(),
            workers: Tournament::default(),
            outstanding: 0,
            failures: 0,
            open: 0,
            takers: 0,
            kind: Kind::Own,
            standing: Standing::default(),
            weight: 1,
            rank: Rank::Usual,
            warmth: WARM,
            began: None,
            given,
            unit: UNIT,
            name: String::new(),
            mark: None,
            counted: (0, 0),
            on_trial: false,
        }
    }

    /// To be called when anything has changed that it is made of.
    pub(super) fn weigh(&mut self) {
        let whole = u64::from(Standing::WEIGHT) * u64::from(WARM);
        let parts = u64::from(self.standing.weight.max(1))
            * u64::from(self.warmth)
            * u64::from(self.weight)
            * u64::from(self.open.max(1));
        self.unit = (UNIT * whole / parts).max(1);
    }

    /// The part of the ring that is its own, compared with other nodes.
    pub(super) fn weight(&self) -> u64 {
        u64::from(self.standing.weight.max(1)) * u64::from(self.weight)
    }

    /// How much it can have, compared with other nodes.
    pub(super) fn capacity(&self) -> u64 {
        self.weight() * u64::from(self.open) * u64::from(self.warmth)
    }

    /// What it has to do, failures included.
    pub(super) fn work(&self) -> u64 {
        u64::from(self.outstanding) + u64::from(self.failures)
    }

    pub(super) fn serves(&self) -> bool {
        self.standing.duty == Duty::Serves
    }

    /// Whether it takes requests, though it may have no room at present.
    pub(super) fn takes(&self) -> bool {
        self.serves() && 0 < self.open
    }

    /// How much it has to do, then who was given least; `None` when it gets nothing now.
    pub(super) fn key(&self) -> Option<Key> {
        let gets = self.serves() && self.workers.first().is_some();
        gets.then(|| (self.work() * self.unit, self.given))
    }
}
