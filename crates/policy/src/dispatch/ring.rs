//! Which node a key belongs to: to the one whose point is next on a ring of all numbers (consistent hashing).
//!
//! Invariant: the points of a node depend on its name and on its part of the weight alone, so that a node that comes or goes
//! moves only the keys that it gets or had.

use crate::balance::mix;

/// Points of a node with an ordinary weight: parts of the ring are then even within a tenth.
const POINTS: u64 = 100;

/// Points of nodes, in order.
#[derive(Debug, Default)]
pub(super) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// The ring of these nodes: the hash of the name, the weight and the place of each.
    pub(super) fn new(nodes: &[(u64, u64, u32)]) -> Self {
        let total: u64 = nodes.iter().map(|(_, weight, _)| weight).sum();
        let mut points = Vec::new();
        for (name, weight, place) in nodes {
            let count = (POINTS * nodes.len() as u64 * weight / total.max(1)).max(1);
            points.extend((0..count).map(|number| (mix(name.wrapping_add(mix(number + 1))), *place)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// Nodes from the one to which the key belongs on; some come again.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = u32> + use<'_> {
        let at = self.points.partition_point(|(point, _)| *point < key);
        let (before, behind) = self.points.split_at(at);
        behind.iter().chain(before).map(|(_, place)| *place)
    }
}
