//! A choice by chance in which each place has as many lots as it is to be chosen.
//!
//! Invariant: each sum is that of the two below it.

/// Places and their lots.
#[derive(Debug)]
pub(super) struct Lots {
    /// Below sum `n` are `2n` and `2n + 1`; the upper half are the places. The first is unused.
    sums: Vec<u64>,
}

impl Default for Lots {
    fn default() -> Self {
        Self { sums: vec![0, 0] }
    }
}

impl Lots {
    fn places(&self) -> usize {
        self.sums.len() / 2
    }

    pub(super) fn total(&self) -> u64 {
        self.sums[1]
    }

    pub(super) fn set(&mut self, place: u32, lots: u64) {
        while self.places() <= place as usize {
            self.grow();
        }
        let mut at = self.places() + place as usize;
        self.sums[at] = lots;
        while 1 < at {
            at /= 2;
            self.sums[at] = self.sums[2 * at] + self.sums[2 * at + 1];
        }
    }

    /// Whose lot this is, and which is the first of theirs; numbers are below [`Self::total`].
    pub(super) fn draw(&self, lot: u64) -> (u32, u64) {
        let (mut at, mut first) = (1, 0);
        while at < self.places() {
            at *= 2;
            if first + self.sums[at] <= lot {
                first += self.sums[at];
                at += 1;
            }
        }
        (u32::try_from(at - self.places()).expect("fewer places than 2^32"), first)
    }

    /// How many lots a place has.
    pub(super) fn of(&self, place: u32) -> u64 {
        self.sums.get(self.places() + place as usize).copied().unwrap_or(0)
    }

    fn grow(&mut self) {
        let leaves = self.sums.split_off(self.places());
        let length = leaves.len() * 2;
        self.sums = vec![0; length];
        self.sums.extend(leaves);
        self.sums.resize(2 * length, 0);
        for at in (1..length).rev() {
            self.sums[at] = self.sums[2 * at] + self.sums[2 * at + 1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_lots() {
        let mut lots = Lots::default();
        for (place, count) in [(0, 2), (5, 1), (2, 0), (3, 4), (5, 3), (9, 1), (9, 0)] {
            lots.set(place, count);
        }
        let drawn: Vec<_> = (0..lots.total()).map(|lot| lots.draw(lot).0).collect();
        assert_eq!(drawn, [0, 0, 3, 3, 3, 3, 5, 5, 5]);
        assert_eq!((lots.draw(7), lots.of(3), lots.of(99)), ((5, 6), 4, 0));
    }
}
