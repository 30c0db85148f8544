//! A place for requests: a worker of ours, or another server.

use super::tournament::Key;
use crate::Window;

/// Names a worker within one run of Tierce; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    pub(super) place: u32,
    pub(super) serial: u32,
}

/// How far a request has come that a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The application has not been called.
    Given,
    /// The application has been called: [`super::Dispatch::start`].
    Started,
    /// It was called, and the request's time is up: [`super::Dispatch::expire`].
    Expired,
}

/// What a worker has to do at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests given to it whose work has not ended.
    pub in_flight: u32,
    /// Those of them that it has not started.
    pub unstarted: u32,
    /// Those of them whose time is up: they have been answered, and nobody waits for their end.
    pub expired: u32,
    /// How many it may hold unstarted.
    pub window: u32,
    /// How many could be in flight now: what it runs and its window, at most `threads`.
    pub slots: u32,
    /// Requests that it has ended.
    pub requests: u64,
}

impl Load {
    /// Whether it has a request for whose answer somebody waits.
    pub fn is_awaited(self) -> bool {
        0 < self.awaited()
    }

    /// How many of its requests somebody waits for.
    pub fn awaited(self) -> u64 {
        u64::from(self.in_flight.saturating_sub(self.expired))
    }
}

/// What a place for requests is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A worker of ours, which starts what it was given in its own time.
    Own,
    /// Another server, which has started what it was given as far as we can know.
    Upstream,
}

/// Whether a worker gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// It does.
    Open,
    /// It gets so many more, to see how it is.
    Ajar(u32),
    /// It does not.
    Closed,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) serial: u32,
    /// The place of its node, and its own place there.
    pub(super) node: u32,
    pub(super) seat: u32,
    pub(super) door: Door,
    pub(super) kind: Kind,
    pub(super) threads: u32,
    pub(super) in_flight: u32,
    pub(super) unstarted: u32,
    pub(super) expired: u32,
    pub(super) requests: u64,
    pub(super) window: Window,
    pub(super) last_turn: u64,
}

impl Worker {
    pub(super) fn has_room(&self) -> bool {
        let may = match self.door {
            Door::Open => true,
            Door::Ajar(tries) => 0 < tries,
            Door::Closed => false,
        };
        if self.kind == Kind::Upstream {
            return may && self.in_flight < self.threads;
        }
        // What waits in the window does not run yet: it may be beyond `threads`.
        let most = self.threads.saturating_add(self.window.size());
        may && self.unstarted < self.window.size() && self.in_flight < most
    }

    /// Its turn among the workers of its node, if it has room: who has the least in flight, then who waited longest.
    pub(super) fn key(&self) -> Option<Key> {
        self.has_room().then_some((u64::from(self.in_flight), self.last_turn))
    }

    /// It gets a request.
    pub(super) fn give(&mut self, turn: u64) {
        self.in_flight += 1;
        self.unstarted += u32::from(self.kind == Kind::Own);
        self.last_turn = turn;
        if let Door::Ajar(tries) = &mut self.door {
            *tries = tries.saturating_sub(1);
        }
    }

    /// The work of a request has ended. False: it had not been begun.
    pub(super) fn end(&mut self, stage: Stage) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let stage = if self.kind == Kind::Upstream { Stage::Started } else { stage };
        match stage {
            Stage::Given => self.unstarted = self.unstarted.saturating_sub(1),
            Stage::Started => self.requests += 1,
            Stage::Expired => {
                self.requests += 1;
                self.expired = self.expired.saturating_sub(1);
            }
        }
        stage != Stage::Given
    }

    pub(super) fn load(&self) -> Load {
        let started = self.in_flight.saturating_sub(self.unstarted);
        let slots = match (self.door, self.kind) {
            (Door::Closed, _) => 0,
            (Door::Ajar(tries), _) => self.in_flight.saturating_add(tries),
            (Door::Open, Kind::Own) => (started + self.window.size()).min(self.threads),
            (Door::Open, Kind::Upstream) => self.threads,
        };
        let Self { in_flight, unstarted, expired, requests, .. } = *self;
        Load { in_flight, unstarted, expired, window: self.window.size(), slots, requests }
    }
}
