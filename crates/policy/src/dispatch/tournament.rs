//! The least of many places whose keys change one at a time.
//!
//! Each match remembers who has won it: a changed key asks for one match on each level, and for none above a match whose
//! winner stays who it was.
//!
//! Invariant: who wins a match has the lesser key of the two below it; of equal ones the first.

/// What places are compared by, the first part before the second.
pub(super) type Key = (u64, u64);

/// Behind every key that a place can have.
const ABSENT: Key = (u64::MAX, u64::MAX);

/// Places and their keys.
#[derive(Debug)]
pub(super) struct Tournament {
    /// By place; as many as a power of two.
    keys: Vec<Key>,
    /// Below match `n` are `2n` and `2n + 1`; from the number of keys on these are the places themselves. The first is unused.
    winners: Vec<u32>,
}

impl Default for Tournament {
    fn default() -> Self {
        Self { keys: vec![ABSENT], winners: vec![0] }
    }
}

impl Tournament {
    /// The place has this key from now on, or takes no part.
    pub(super) fn set(&mut self, place: u32, key: Option<Key>) {
        while self.keys.len() <= place as usize {
            self.grow();
        }
        let known = &mut self.keys[place as usize];
        let key = key.unwrap_or(ABSENT);
        if *known == key {
            return;
        }
        *known = key;
        let mut at = (self.keys.len() + place as usize) / 2;
        while 0 < at {
            let winner = self.play(at);
            let before = std::mem::replace(&mut self.winners[at], winner);
            if before == winner && winner != place {
                return;
            }
            at /= 2;
        }
    }

    /// The key of a place that takes part.
    pub(super) fn key(&self, place: u32) -> Option<Key> {
        self.keys.get(place as usize).copied().filter(|key| *key != ABSENT)
    }

    /// The place with the least key.
    pub(super) fn first(&self) -> Option<u32> {
        let winner = self.winner(1);
        (self.keys[winner as usize] != ABSENT).then_some(winner)
    }

    /// The place with the least key of those that fit. Whoever comes before it is asked, and nobody else below a match that it
    /// has won.
    pub(super) fn first_that(&self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let mut found = None;
        self.search(1, &fits, &mut found);
        found
    }

    fn search(&self, at: usize, fits: &impl Fn(u32) -> bool, found: &mut Option<u32>) {
        let winner = self.winner(at);
        let least = found.map_or(ABSENT, |found| self.keys[found as usize]);
        if least <= self.keys[winner as usize] {
            return;
        }
        if fits(winner) {
            *found = Some(winner);
        } else if at < self.keys.len() {
            self.search(2 * at, fits, found);
            self.search(2 * at + 1, fits, found);
        }
    }

    fn winner(&self, at: usize) -> u32 {
        match at.checked_sub(self.keys.len()) {
            Some(place) => u32::try_from(place).expect("fewer places than 2^32"),
            None => self.winners[at],
        }
    }

    fn play(&self, at: usize) -> u32 {
        let (one, other) = (self.winner(2 * at), self.winner(2 * at + 1));
        if self.keys[other as usize] < self.keys[one as usize] { other } else { one }
    }

    fn grow(&mut self) {
        let length = self.keys.len() * 2;
        self.keys.resize(length, ABSENT);
        self.winners.resize(length, 0);
        for at in (1..length).rev() {
            self.winners[at] = self.play(at);
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers are small")]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn it_finds_whom_a_search_through_all_finds() {
        for seed in 0..50 {
            let mut chance = Chance::new(seed);
            let mut below = |bound: u32| (chance.unit() * f64::from(bound)) as u32;
            let (mut tournament, mut keys) = (Tournament::default(), vec![None; 40]);
            for _ in 0..400 {
                let place = below(40);
                let key = (below(4) < 3).then(|| (u64::from(below(5)), u64::from(below(3))));
                tournament.set(place, key);
                keys[place as usize] = key;
                let least = |fits: &dyn Fn(u32) -> bool| {
                    let all = (0..40u32).filter_map(|place| Some((keys[place as usize]?, place)));
                    all.filter(|(_, place)| fits(*place)).min().map(|(_, place)| place)
                };
                let third = |place: u32| place.is_multiple_of(3);
                assert_eq!(tournament.first(), least(&|_| true), "seed {seed}");
                assert_eq!(tournament.first_that(third), least(&third), "seed {seed}");
                assert_eq!(tournament.key(place), key);
            }
        }
    }
}
