//! How many things each client has at a time.
//!
//! Invariant: only those are known that have some, so that there are never more than there are things.

use std::collections::HashMap;

/// A count for each client that has any. They are known by numbers, which whoever asks gives them.
#[derive(Debug, Default)]
pub struct Tally(HashMap<u128, u32>);

impl Tally {
    /// One more, unless the client has `most` already.
    #[must_use]
    pub fn add(&mut self, name: u128, most: u32) -> bool {
        let count = self.0.entry(name).or_insert(0);
        if most <= *count {
            if *count == 0 {
                self.0.remove(&name);
            }
            return false;
        }
        *count += 1;
        true
    }

    /// One fewer.
    pub fn remove(&mut self, name: u128) {
        if let Some(count) = self.0.get_mut(&name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&name);
            }
        }
    }

    /// How many clients have any.
    pub fn clients(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_at_most_and_nobody_is_kept() {
        let mut tally = Tally::default();
        assert_eq!((0..5).filter(|_| tally.add(1, 2)).count(), 2);
        assert!(tally.add(2, 2));
        tally.remove(1);
        assert!(tally.add(1, 2) && !tally.add(1, 2), "who has given one back may have one more");
        assert!(!tally.add(3, 0));
        [1, 1, 2, 2].into_iter().for_each(|name| tally.remove(name));
        assert_eq!(tally.clients(), 0);
    }
}
