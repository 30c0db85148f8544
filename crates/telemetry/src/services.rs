//! By what name requests are counted: the service that they have asked for a slot, or Tierce itself.
//!
//! Invariant: a name keeps its number until the process ends, also when a reload has taken the service away, so that nothing
//! that was counted is forgotten. There are [`NAMES_MAX`] numbers and no more.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// More services than people have, so that all names that a configuration ever had are bounded.
const NAMES_MAX: usize = 64;

/// Requests that the edge has answered itself, or refused before they asked for a slot. `Proxy-Status` has the same word.
const EDGE: &str = "tierce";

/// What there was no number left for. No service has such a name.
const OTHER: &str = "_OTHER";

/// Under which name a request is counted; by default Tierce's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted(u8);

impl Counted {
    /// How many there are.
    pub(crate) const ALL: usize = NAMES_MAX + 2;

    const OTHER: Self = Self(1);

    /// As an index.
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// The names of all services that there are and were.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Vec<String>>);

impl Names {
    /// What requests of the service with this name are counted under.
    pub(crate) fn counted(&self, name: &str) -> Counted {
        if name == EDGE {
            return Counted::default();
        }
        let mut names = self.lock();
        let known = names.iter().position(|known| known == name);
        let at = known.unwrap_or(names.len());
        if at == NAMES_MAX {
            return Counted::OTHER;
        }
        if known.is_none() {
            names.push(name.to_owned());
        }
        u8::try_from(at + 2).map_or(Counted::OTHER, Counted)
    }

    /// All names, by number.
    pub(crate) fn all(&self) -> Vec<String> {
        [EDGE, OTHER].map(str::to_owned).into_iter().chain(self.lock().iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // A list of names is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_and_are_bounded() {
        let names = Names::default();
        let first: Vec<_> = (0..NAMES_MAX).map(|at| names.counted(&format!("a{at}"))).collect();
        assert_eq!(first.len(), NAMES_MAX);
        for (at, counted) in first.iter().enumerate() {
            assert_eq!((counted.number(), names.counted(&format!("a{at}"))), (at + 2, *counted));
        }
        assert_eq!(["b", "c", "tierce"].map(|name| names.counted(name)), [Counted(1), Counted(1), Counted(0)]);
        let all = names.all();
        assert_eq!(
            (all.len(), all[0].as_str(), all[1].as_str(), all[2].as_str()),
            (Counted::ALL, "tierce", "_OTHER", "a0")
        );
    }
}
