//! More and fewer workers in a node that lives.
//!
//! Invariant: a worker leaves as one does that is replaced, so that nothing it has is lost; one at a time, and none while
//! another is being replaced.

use std::cmp::{Ordering, Reverse};

use super::Node;
use crate::worker::{Occupant, Place, Stay};

impl Node {
    /// So many workers are wanted from now on.
    pub(super) async fn set_staff(&mut self, wanted: u32) {
        self.staff = wanted;
        self.adjust_staff().await;
    }

    /// Brings the workers nearer to how many are wanted; to be called again until there are that many.
    pub(super) async fn adjust_staff(&mut self) {
        // Of two that replace each other, one stays.
        let staying = self.places.iter().filter(|place| place.stay == Stay::Unbounded).count();
        match staying.cmp(&(self.staff as usize)) {
            Ordering::Less => {
                for _ in staying..self.staff as usize {
                    let number = self.new_place();
                    self.refill(number).await;
                }
            }
            Ordering::Greater if !self.is_replacing() => self.let_one_leave(),
            Ordering::Greater | Ordering::Equal => {}
        }
    }

    /// A place that nobody has had before.
    pub(super) fn new_place(&mut self) -> u32 {
        let number = self.places.iter().map(|place| place.number).max().unwrap_or(0) + 1;
        self.places.push(Place::new(number));
        number
    }

    /// Of those that are there, whoever has the least to do, of these the youngest.
    fn let_one_leave(&mut self) {
        if let Some(at) = self.places.iter().rposition(|place| matches!(place.occupant, Occupant::Nobody)) {
            self.places.remove(at);
            return;
        }
        let shared = &self.plan.context.shared;
        let ready = self.places.iter().filter_map(|place| Some((place.number, place.occupant.id()?)));
        let least = ready.min_by_key(|(number, id)| (shared.load(*id).in_flight, Reverse(*number)));
        // One that is being started may be so when it is ready.
        if let Some((number, _)) = least {
            self.leave(number);
        }
    }
}
