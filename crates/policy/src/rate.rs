//! How often somebody may come: the generic cell rate algorithm (ITU-T I.371), which keeps one instant for each client.
//!
//! A client is granted one request every so often, and has a burst to its credit. What is kept is the instant at which all of that
//! burst is there again: it moves one interval on with each request, and who would move it further ahead than the burst reaches is
//! refused.
//!
//! Invariant: who is remembered never gets more than the rate and one burst. No more than so many are remembered; beyond, one whose
//! burst is there again is forgotten, for whom that changes nothing, and only if none of those looked at is so, the nearest to it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// So many places are looked at for one that can be given away: a bound of the work, and nearly always enough.
const LOOKS: usize = 16;

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// One in this time, in the long run.
    pub every: Duration,
    /// So many at once; at least one.
    pub burst: u32,
}

/// What clients have used up. They are known by numbers, which whoever asks gives them.
#[derive(Debug)]
pub struct Rates {
    places: HashMap<u128, usize>,
    clients: Vec<Client>,
    /// Where the next one to be forgotten is looked for.
    hand: usize,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    name: u128,
    /// When all of its burst is there again.
    whole: Instant,
}

impl Rates {
    /// Remembers so many clients at most, at least one. Nothing is allocated before there is one.
    pub fn new(most: usize) -> Self {
        Self { places: HashMap::new(), clients: Vec::new(), hand: 0, most: most.max(1) }
    }

    /// Takes one of what a client may have, or tells how long until there is one.
    pub fn take(&mut self, name: u128, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let at = self.places.get(&name).copied();
        let whole = at.map_or(now, |at| self.clients[at].whole.max(now));
        let ahead = whole.saturating_duration_since(now).saturating_add(rate.every);
        let most = rate.every.saturating_mul(rate.burst.max(1));
        if most < ahead {
            return Err(ahead - most);
        }
        // So far ahead that the clock cannot say it is for ever.
        let whole = now.checked_add(ahead).unwrap_or(whole);
        match at {
            Some(at) => self.clients[at].whole = whole,
            None => self.remember(Client { name, whole }, now),
        }
        Ok(())
    }

    /// One that was taken does not count.
    pub fn give_back(&mut self, name: u128, rate: &Rate) {
        if let Some(client) = self.places.get(&name).and_then(|at| self.clients.get_mut(*at)) {
            client.whole = client.whole.checked_sub(rate.every).unwrap_or(client.whole);
        }
    }

    /// How many clients are remembered.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    fn remember(&mut self, client: Client, now: Instant) {
        if self.clients.len() < self.most {
            self.places.insert(client.name, self.clients.len());
            self.clients.push(client);
            return;
        }
        let at = self.place_to_give_away(now);
        self.places.remove(&self.clients[at].name);
        self.places.insert(client.name, at);
        self.clients[at] = client;
    }

    fn place_to_give_away(&mut self, now: Instant) -> usize {
        let count = self.clients.len();
        let mut best = self.hand;
        for step in 0..LOOKS.min(count) {
            let at = (self.hand + step) % count;
            if self.clients[at].whole < self.clients[best].whole {
                best = at;
            }
            if self.clients[best].whole <= now {
                break;
            }
        }
        self.hand = (best + 1) % count;
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{self, Chance};

    const TEN: Rate = Rate { every: Duration::from_millis(100), burst: 3 };

    fn taken(rates: &mut Rates, name: u128, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| rates.take(name, &TEN, now).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_one_in_each_interval() {
        let (mut rates, begin) = (Rates::new(10), Instant::now());
        let after = |ms| begin + Duration::from_millis(ms);
        assert_eq!(taken(&mut rates, 1, begin, 9), 3);
        assert_eq!(rates.take(1, &TEN, after(30)), Err(Duration::from_millis(70)));
        assert_eq!(taken(&mut rates, 1, after(99), 9), 0);
        assert_eq!(taken(&mut rates, 1, after(100), 9), 1);
        assert_eq!(taken(&mut rates, 1, after(301), 9), 2);
        assert_eq!(taken(&mut rates, 1, after(60_000), 9), 3, "no more than a burst is saved up");
        assert_eq!(taken(&mut rates, 2, begin, 9), 3, "another is not concerned");
        assert_eq!(taken(&mut rates, 1, begin, 9), 0, "a clock of another thread that is behind gives nothing");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (mut rates, now) = (Rates::new(10), Instant::now());
        assert_eq!(taken(&mut rates, 1, now, 3), 3);
        rates.give_back(1, &TEN);
        rates.give_back(7, &TEN);
        assert_eq!(taken(&mut rates, 1, now, 9), 1);
    }

    #[test]
    fn who_is_forgotten_had_all_of_its_burst() {
        let (mut rates, begin) = (Rates::new(4), Instant::now());
        for name in 0..4 {
            assert_eq!(taken(&mut rates, name, begin, 9), 3);
        }
        // The first two come later, so that the others have rested.
        let rested = begin + Duration::from_millis(300);
        assert_eq!((taken(&mut rates, 0, rested, 9), taken(&mut rates, 1, rested, 9)), (3, 3));
        assert_eq!((taken(&mut rates, 10, rested, 9), taken(&mut rates, 11, rested, 9)), (3, 3));
        assert_eq!(rates.len(), 4);
        assert_eq!((0..2).map(|name| taken(&mut rates, name, rested, 9)).sum::<usize>(), 0, "they are remembered");
    }

    /// Nobody whom there was room for ever gets more than the rate and a burst, in any stretch of time; nobody who keeps to the rate is
    /// refused.
    #[test]
    fn the_rate_holds_in_any_stretch_of_time() {
        chance::check(|seed| seed, |_| String::new(), |seed| story(&mut Chance::new(*seed)));
    }

    fn story(chance: &mut Chance) {
        let mut rates = Rates::new(8);
        let begin = Instant::now();
        let (mut now, mut came, mut steady) = (begin, vec![Vec::new(); 4], begin);
        for _ in 0..2000 {
            now += Duration::from_millis(chance.below(60));
            let name = chance.below(4);
            if rates.take(u128::from(name), &TEN, now).is_ok() {
                came[usize::try_from(name).unwrap()].push(now);
            }
            if steady <= now {
                assert_eq!(rates.take(99, &TEN, now), Ok(()), "it keeps to the rate");
                steady = now + TEN.every;
            }
        }
        for times in came {
            for (first, from) in times.iter().enumerate() {
                for (nth, to) in times[first..].iter().enumerate() {
                    let granted = 3 + (*to - *from).as_millis() / 100;
                    assert!((nth as u128) < granted, "{nth} in {:?}", *to - *from);
                }
            }
        }
    }
}
