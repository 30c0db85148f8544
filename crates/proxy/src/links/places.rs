//! The places of one link's ledger: which are taken, and by whom.
//!
//! Invariant: a place is used again only under its next generation, so that a late frame finds nobody.

use std::rc::Rc;

use link::{ExchangeId, LEDGER_PLACES};
use policy::Lease;

use crate::{admission, mailbox::Mailbox};

#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    free: Vec<u16>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u16,
    held: Option<Held>,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) mailbox: Rc<Mailbox>,
    pub(super) lease: Lease,
    /// What the request holds beside it, until the work has ended.
    pub(super) _beside: admission::Held,
}

impl Places {
    pub(super) fn claim(&mut self) -> Option<ExchangeId> {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[usize::from(index)];
            place.generation = place.generation.wrapping_add(1);
            return Some(ExchangeId::new(index, place.generation));
        }
        if LEDGER_PLACES <= self.places.len() {
            return None;
        }
        let index = u16::try_from(self.places.len()).expect("a ledger is shorter than 2^16");
        self.places.push(Place::default());
        Some(ExchangeId::new(index, 0))
    }

    pub(super) fn fill(&mut self, id: ExchangeId, held: Held) {
        self.places[usize::from(id.index())].held = Some(held);
    }

    pub(super) fn free(&mut self, id: ExchangeId) -> Option<Held> {
        let place = self.places.get_mut(usize::from(id.index()))?;
        if place.generation != id.generation() {
            return None;
        }
        let held = place.held.take()?;
        self.free.push(id.index());
        Some(held)
    }

    pub(super) fn held(&self, id: ExchangeId) -> Option<&Held> {
        let place = self.places.get(usize::from(id.index()))?;
        place.held.as_ref().filter(|_| place.generation == id.generation())
    }

    pub(super) fn held_mut(&mut self, id: ExchangeId) -> Option<&mut Held> {
        let place = self.places.get_mut(usize::from(id.index()))?;
        place.held.as_mut().filter(|_| place.generation == id.generation())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ExchangeId> + '_ {
        let held = self.places.iter().enumerate().filter(|(_, place)| place.held.is_some());
        held.map(|(index, place)| {
            ExchangeId::new(u16::try_from(index).expect("a ledger is shorter than 2^16"), place.generation)
        })
    }
}
