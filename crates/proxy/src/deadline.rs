//! One deadline for each connection: the phase it is in sets it, a sweep every [`TICK`] finds those that have passed.
//!
//! Setting one is a store, which is why this is not a timer of the runtime: a request sets several and few ever fire.
//! Invariant: a deadline fires at most one tick late and never early.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use slab::Slab;

/// How often deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(25);

/// What a connection is waiting for; idle ones may be closed early to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For the first byte of a request.
    Idle,
    /// For anything else.
    Busy,
}

#[derive(Debug)]
struct Entry {
    at: Cell<Option<Instant>>,
    passed: Cell<Passed>,
    waits: Cell<Waits>,
    /// Since when it waits.
    since: Cell<Instant>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    No,
    InTime,
    /// To make room, or because all is to end.
    Early,
}

impl Entry {
    fn fire(&self, passed: Passed) {
        self.at.set(None);
        self.passed.set(passed);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// All deadlines of one thread.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    entries: RefCell<Slab<Rc<Entry>>>,
}

impl Deadlines {
    /// A deadline that is not set.
    pub(crate) fn register(self: &Rc<Self>) -> Deadline {
        let entry = Rc::new(Entry {
            at: Cell::new(None),
            passed: Cell::new(Passed::No),
            waits: Cell::new(Waits::Busy),
            since: Cell::new(Instant::now()),
            waker: RefCell::new(None),
        });
        let key = self.entries.borrow_mut().insert(Rc::clone(&entry));
        Deadline { entry, key, all: Rc::clone(self) }
    }

    /// Fires what has passed at `now`.
    pub(crate) fn sweep(&self, now: Instant) {
        for (_, entry) in self.entries.borrow().iter() {
            if entry.at.get().is_some_and(|at| at <= now) {
                entry.fire(Passed::InTime);
            }
        }
    }

    /// Fires those of all idle connections, or of the one that has been idle longest.
    pub(crate) fn end_idle(&self, which: Which) {
        let entries = self.entries.borrow();
        let idle = entries.iter().map(|(_, entry)| entry).filter(|entry| entry.waits.get() == Waits::Idle);
        match which {
            Which::All => idle.for_each(|entry| entry.fire(Passed::Early)),
            Which::Longest => {
                let waiting = idle.filter(|entry| entry.passed.get() == Passed::No);
                if let Some(entry) = waiting.min_by_key(|entry| entry.since.get()) {
                    entry.fire(Passed::Early);
                }
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }
}

/// Which idle connections are to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// Every one.
    All,
    /// The one that has waited longest.
    Longest,
}

/// The deadline of one connection.
#[derive(Debug)]
pub(crate) struct Deadline {
    entry: Rc<Entry>,
    key: usize,
    all: Rc<Deadlines>,
}

impl Deadline {
    /// It passes `after` from `now`, unless it is set again.
    pub(crate) fn set(&self, now: Instant, after: Duration, waits: Waits) {
        self.entry.at.set(now.checked_add(after));
        self.entry.passed.set(Passed::No);
        self.entry.waits.set(waits);
        self.entry.since.set(now);
    }

    /// It does not pass.
    pub(crate) fn clear(&self) {
        self.entry.at.set(None);
        self.entry.passed.set(Passed::No);
        self.entry.waits.set(Waits::Busy);
    }

    /// Whether it can pass.
    pub(crate) fn is_set(&self) -> bool {
        self.entry.at.get().is_some() || self.entry.passed.get() != Passed::No
    }

    /// Whether it has passed before its time: the connection is to end.
    pub(crate) fn was_cut_short(&self) -> bool {
        self.entry.passed.get() == Passed::Early
    }

    /// Whether it has passed; if not, the task is woken when it does.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        if self.entry.passed.get() != Passed::No {
            return true;
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        false
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.entries.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(deadline: &Deadline) -> bool {
        deadline.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_deadline_passes_once_its_time_has_come() {
        let (all, now) = (Rc::new(Deadlines::default()), Instant::now());
        let deadline = all.register();
        deadline.set(now, Duration::from_secs(1), Waits::Busy);
        all.sweep(now + Duration::from_millis(999));
        assert!(!passed(&deadline));
        all.sweep(now + Duration::from_secs(1));
        assert!(passed(&deadline));
        deadline.set(now, Duration::from_secs(5), Waits::Busy);
        assert!(!passed(&deadline));
        deadline.clear();
        all.sweep(now + Duration::from_secs(9));
        assert!(!passed(&deadline));
        drop(deadline);
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn only_idle_ones_can_be_ended_early() {
        let (all, now) = (Rc::new(Deadlines::default()), Instant::now());
        let [busy, old, new] = [(); 3].map(|()| all.register());
        busy.set(now, Duration::from_secs(1), Waits::Busy);
        old.set(now, Duration::from_secs(9), Waits::Idle);
        new.set(now + Duration::from_secs(1), Duration::from_secs(1), Waits::Idle);
        all.end_idle(Which::Longest);
        assert_eq!([&busy, &old, &new].map(passed), [false, true, false]);
        assert_eq!([&busy, &old, &new].map(Deadline::was_cut_short), [false, true, false]);
        all.end_idle(Which::All);
        assert_eq!([&busy, &old, &new].map(passed), [false, true, true]);
    }
}
