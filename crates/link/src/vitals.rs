//! What a worker tells of itself, in words of the memory that it shares with the edge: for `ps -v` and the log only.
//!
//! Invariant: nothing is decided by it, so that a worker which writes nonsense there deceives nobody but its reader.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// Words behind the places of a ledger.
pub(crate) const VITALS_WORDS: usize = 16;

const GIL_WAIT_US: usize = 0;
const SWITCH_INTERVAL_US: usize = 1;
const THREADS: usize = 2;
const VERDICT: usize = 3;

/// Why a worker has as many threads as it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Nothing has made it want more.
    #[default]
    Enough = 0,
    /// Handlers wait for something, so that others can run meanwhile.
    Grows = 1,
    /// It has as many as `threads` allows.
    AtThreads = 2,
    /// The machine, or its memory cgroup, has hardly any memory left.
    NoMemory = 3,
    /// The system gives it no more.
    NoThread = 4,
}

/// What a worker tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// How long a thread that was called to run a request waited for the GIL, as a moving average.
    pub gil_wait: Duration,
    /// `sys.getswitchinterval()`, as Tierce has set it.
    pub switch_interval: Duration,
    /// Threads that run the application, or wait to.
    pub threads: u32,
    /// Why there are not more.
    pub verdict: Verdict,
}

impl Vitals {
    /// Worker: writes it where the edge can read it.
    pub fn write(self, words: &[AtomicU32]) {
        let us = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        for (word, value) in [
            (GIL_WAIT_US, us(self.gil_wait)),
            (SWITCH_INTERVAL_US, us(self.switch_interval)),
            (THREADS, self.threads),
            (VERDICT, self.verdict as u32),
        ] {
            if let Some(word) = place(words, word) {
                word.store(value, Relaxed);
            }
        }
    }

    /// Supervisor: reads what was written last.
    pub fn read(words: &[AtomicU32]) -> Self {
        let word = |at| place(words, at).map_or(0, |word| word.load(Relaxed));
        let us = |at| Duration::from_micros(u64::from(word(at)));
        let verdict = match word(VERDICT) {
            1 => Verdict::Grows,
            2 => Verdict::AtThreads,
            3 => Verdict::NoMemory,
            4 => Verdict::NoThread,
            _ => Verdict::Enough,
        };
        Self { gil_wait: us(GIL_WAIT_US), switch_interval: us(SWITCH_INTERVAL_US), threads: word(THREADS), verdict }
    }
}

fn place(words: &[AtomicU32], at: usize) -> Option<&AtomicU32> {
    words.get(words.len().checked_sub(VITALS_WORDS)? + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExchangeId, LEDGER_PLACES, LEDGER_WORDS, Ledger, State};

    #[test]
    fn what_is_written_is_read_and_disturbs_no_exchange() {
        let words: Vec<_> = (0..LEDGER_WORDS).map(|_| AtomicU32::new(0)).collect();
        assert_eq!(Vitals::read(&words), Vitals::default());
        let last = ExchangeId::new(u16::try_from(LEDGER_PLACES - 1).unwrap(), 3);
        Ledger(&words).offer(last);
        let vitals = Vitals {
            gil_wait: Duration::from_micros(70),
            switch_interval: Duration::from_millis(1),
            threads: 12,
            verdict: Verdict::AtThreads,
        };
        vitals.write(&words);
        assert_eq!((Vitals::read(&words), Ledger(&words).state(last)), (vitals, State::Offered));
        let beyond = ExchangeId::new(u16::try_from(LEDGER_PLACES).unwrap(), 3);
        Ledger(&words).offer(beyond);
        assert!(!Ledger(&words).start(beyond), "there is no such place");
        assert_eq!(Vitals::read(&words), vitals);
        assert_eq!(Vitals::read(&[]), Vitals::default());
    }
}
