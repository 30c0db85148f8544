//! A lane: requests of one kind, of which only so many go on at a time; the others wait in line, before they ask for a slot.
//!
//! Invariant: who comes first goes first; nobody waits while there is room; as many have gone on as have a right that they have not
//! given back.

use std::collections::VecDeque;

/// Bounds of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneBounds {
    /// So many may have gone on at a time.
    pub in_flight: u32,
    /// So many may wait.
    pub length: u32,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePlace(u64);

/// What becomes of a request that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEntry {
    /// It goes on, and has to [`Lane::end`].
    Go,
    /// It waits for [`Lane::next_grant`], or has to [`Lane::leave`].
    Wait(LanePlace),
    /// Too many wait.
    Full,
}

/// Who has gone on, and who waits; `W` is what a waiter is told by.
#[derive(Debug)]
pub struct Lane<W> {
    bounds: LaneBounds,
    in_flight: u32,
    waiting: VecDeque<(LanePlace, W)>,
    made: u64,
}

impl<W> Lane<W> {
    /// An empty one.
    pub fn new(bounds: LaneBounds) -> Self {
        Self { bounds, in_flight: 0, waiting: VecDeque::new(), made: 0 }
    }

    /// Other bounds from now on; who has gone on, or waits, does so. [`Lane::next_grant`] is to be asked then.
    pub fn set(&mut self, bounds: LaneBounds) {
        self.bounds = bounds;
    }

    /// A request comes. `waiter` is asked for only if it has to wait.
    pub fn enter(&mut self, waiter: impl FnOnce() -> W) -> LaneEntry {
        if self.waiting.is_empty() && self.in_flight < self.bounds.in_flight {
            self.in_flight += 1;
            return LaneEntry::Go;
        }
        if self.bounds.length as usize <= self.waiting.len() {
            return LaneEntry::Full;
        }
        let place = LanePlace(self.made);
        self.made += 1;
        self.waiting.push_back((place, waiter()));
        LaneEntry::Wait(place)
    }

    /// One that waits does so no longer. False when it has gone on meanwhile.
    #[must_use]
    pub fn leave(&mut self, place: LanePlace) -> bool {
        // Places are made in order, and nobody overtakes.
        let at = self.waiting.binary_search_by_key(&place.0, |(place, _)| place.0);
        at.is_ok_and(|at| self.waiting.remove(at).is_some())
    }

    /// One that had gone on has come to its end. [`Lane::next_grant`] is to be asked then.
    pub fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The next that goes on, if there is room for one.
    pub fn next_grant(&mut self) -> Option<W> {
        if self.bounds.in_flight <= self.in_flight {
            return None;
        }
        let (_, waiter) = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(waiter)
    }

    /// How many have gone on, and how many wait.
    pub fn load(&self) -> (u32, usize) {
        (self.in_flight, self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{self, Chance};

    #[test]
    fn so_many_go_on_and_so_many_wait() {
        let mut lane = Lane::new(LaneBounds { in_flight: 1, length: 2 });
        assert_eq!(lane.enter(|| 1), LaneEntry::Go);
        let (LaneEntry::Wait(second), LaneEntry::Wait(third)) = (lane.enter(|| 2), lane.enter(|| 3)) else {
            panic!("there is room in the line")
        };
        assert_eq!(lane.enter(|| 4), LaneEntry::Full);
        assert_eq!(lane.next_grant(), None);
        assert!(lane.leave(second) && !lane.leave(second));
        lane.end();
        assert_eq!((lane.next_grant(), lane.next_grant()), (Some(3), None));
        assert!(!lane.leave(third), "it has gone on");
        lane.set(LaneBounds { in_flight: 3, length: 2 });
        assert_eq!((lane.enter(|| 5), lane.enter(|| 6), lane.load()), (LaneEntry::Go, LaneEntry::Go, (3, 0)));
    }

    #[test]
    fn nobody_is_lost_overtakes_or_waits_while_there_is_room() {
        chance::check(|seed| seed, |_| String::new(), |seed| story(&mut Chance::new(*seed)));
    }

    fn story(chance: &mut Chance) {
        let mut bounds = LaneBounds { in_flight: 3, length: 5 };
        let mut lane = Lane::new(bounds);
        let (mut waiting, mut going) = (VecDeque::new(), 0);
        for number in 0..3000_u64 {
            match chance.below(10) {
                0..5 => match lane.enter(|| number) {
                    LaneEntry::Go => {
                        assert!(waiting.is_empty(), "nobody overtakes");
                        going += 1;
                    }
                    LaneEntry::Wait(place) => waiting.push_back((number, place)),
                    LaneEntry::Full => assert!(bounds.length as usize <= waiting.len()),
                },
                5..8 if 0 < going => {
                    going -= 1;
                    lane.end();
                }
                8 if !waiting.is_empty() => {
                    let at = usize::try_from(chance.below(waiting.len() as u64)).unwrap();
                    let (_, place) = waiting.remove(at).unwrap();
                    assert!(lane.leave(place));
                }
                9 => {
                    bounds.in_flight = 1 + u32::try_from(chance.below(4)).unwrap();
                    lane.set(bounds);
                }
                _ => {}
            }
            while let Some(next) = lane.next_grant() {
                assert_eq!(waiting.pop_front().map(|(number, _)| number), Some(next), "who came first goes first");
                going += 1;
            }
            assert_eq!(lane.load(), (going, waiting.len()));
            assert!(waiting.is_empty() || bounds.in_flight <= going, "nobody waits while there is room");
        }
    }
}
