//! Who owns a request on a link: settled in shared memory, so that "started" is true the moment it is written.
//!
//! | word      | set by | means                                                            |
//! |-----------|--------|------------------------------------------------------------------|
//! | Free      |        | no exchange has this place                                        |
//! | Offered   | edge   | the worker may run it                                             |
//! | Started   | worker | won from Offered: the application is being called, exactly here   |
//! | Withdrawn | edge   | won from Offered: the worker must drop it; it runs elsewhere      |
//!
//! Invariant: Offered is left by exactly one of worker and edge. A frame could say "started" only late (it waits in a
//! batch, or dies with the worker); a word in memory that both see costs neither a system call nor a round trip.
//! The worker's process can scribble on it, which harms its own requests alone.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::{ExchangeId, vitals::VITALS_WORDS};

/// Words of a ledger and of the worker's vitals: four pages.
pub const LEDGER_WORDS: usize = 4096;

/// Places in a ledger: how many exchanges one link can carry at a time.
pub const LEDGER_PLACES: usize = LEDGER_WORDS - VITALS_WORDS;

/// What the ledger says of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No exchange of this id is there.
    Free,
    /// The worker may start it; the edge may take it back.
    Offered,
    /// The application runs it or has run it.
    Started,
    /// The edge has taken it back.
    Withdrawn,
}

/// A view of the words of one link.
#[derive(Clone, Copy, Debug)]
pub struct Ledger<'a>(pub &'a [AtomicU32]);

const OFFERED: u32 = 1;
const STARTED: u32 = 2;
const WITHDRAWN: u32 = 3;

impl Ledger<'_> {
    /// Edge: offers the exchange. Before the Request frame is sent.
    pub fn offer(&self, id: ExchangeId) {
        if let Some(word) = self.word(id) {
            word.store(value(id, OFFERED), SeqCst);
        }
    }

    /// Worker: claims the exchange just before the application is called. False: drop the request without a word.
    #[must_use]
    pub fn start(&self, id: ExchangeId) -> bool {
        self.leave_offered(id, STARTED)
    }

    /// Edge: takes the exchange back. False: it has started.
    #[must_use]
    pub fn withdraw(&self, id: ExchangeId) -> bool {
        self.leave_offered(id, WITHDRAWN)
    }

    /// What is known of the exchange.
    pub fn state(&self, id: ExchangeId) -> State {
        let word = self.word(id).map_or(0, |word| word.load(SeqCst));
        if word >> 16 != u32::from(id.generation()) {
            return State::Free;
        }
        match word & 0xffff {
            OFFERED => State::Offered,
            STARTED => State::Started,
            WITHDRAWN => State::Withdrawn,
            _ => State::Free,
        }
    }

    fn leave_offered(&self, id: ExchangeId, to: u32) -> bool {
        let swap = |word: &AtomicU32| word.compare_exchange(value(id, OFFERED), value(id, to), SeqCst, SeqCst);
        self.word(id).is_some_and(|word| swap(word).is_ok())
    }

    fn word(&self, id: ExchangeId) -> Option<&AtomicU32> {
        self.0.get(usize::from(id.index())).filter(|_| usize::from(id.index()) < LEDGER_PLACES)
    }
}

fn value(id: ExchangeId, state: u32) -> u32 {
    u32::from(id.generation()) << 16 | state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU32> {
        (0..4).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn only_one_side_wins_an_offer() {
        let words = words();
        let ledger = Ledger(&words);
        let id = ExchangeId::new(2, 5);
        assert_eq!(ledger.state(id), State::Free);
        ledger.offer(id);
        assert_eq!(ledger.state(id), State::Offered);
        assert!(ledger.start(id));
        assert!(!ledger.withdraw(id));
        assert_eq!(ledger.state(id), State::Started);

        let next = ExchangeId::new(2, 6);
        ledger.offer(next);
        assert!(ledger.withdraw(next));
        assert!(!ledger.start(next));
        assert_eq!(ledger.state(next), State::Withdrawn);
    }

    #[test]
    fn an_old_generation_or_a_wild_index_wins_nothing() {
        let words = words();
        let ledger = Ledger(&words);
        ledger.offer(ExchangeId::new(1, 8));
        assert!(!ledger.start(ExchangeId::new(1, 7)));
        assert_eq!(ledger.state(ExchangeId::new(1, 7)), State::Free);
        ledger.offer(ExchangeId::new(4_000, 1));
        assert!(!ledger.start(ExchangeId::new(4_000, 1)));
    }
}
