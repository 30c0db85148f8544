//! Connections of one thread that wait for their next request: the one used last is used next, so that those which are not
//! needed grow old and are closed.
//!
//! Invariant: at most [`IDLE_MAX`] for each upstream, none for longer than its time; none of an upstream that has gone.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use config::Protocol;
use http::ReceivedHead;
use policy::{RetryBudget, Shared, WorkerId, is_idempotent};
use tokio::sync::watch;

use super::{Upstream, UpstreamTable, wire::Wire};

/// Idle connections to one upstream, in one thread.
const IDLE_MAX: usize = 512;

/// Below the limits of nearly all servers, which close first otherwise.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// A request that must not be sent twice gets no connection that has waited for longer: it may be closed in this moment.
const FRESH: Duration = Duration::from_secs(1);

/// Upstreams and idle connections of one thread.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) shared: Arc<Shared>,
    table: watch::Receiver<Arc<UpstreamTable>>,
    by_worker: RefCell<HashMap<WorkerId, Rc<Pool>>>,
    budget: Cell<RetryBudget>,
    heads: RefCell<Vec<ReceivedHead>>,
}

/// One upstream as one thread knows it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) upstream: Arc<Upstream>,
    idle: RefCell<VecDeque<Idle>>,
    closed: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    wire: Wire,
    since: Instant,
    until: Instant,
}

impl Pools {
    pub(crate) fn new(shared: Arc<Shared>, table: watch::Receiver<Arc<UpstreamTable>>) -> Self {
        Self { shared, table, by_worker: RefCell::default(), budget: Cell::default(), heads: RefCell::default() }
    }

    /// The upstream that has this place in the dispatch.
    pub(super) fn find(&self, worker: WorkerId) -> Option<Rc<Pool>> {
        let known = self.by_worker.borrow().get(&worker).map(Rc::clone);
        known.or_else(|| {
            self.follow();
            self.by_worker.borrow().get(&worker).map(Rc::clone)
        })
    }

    /// Takes the table over: whoever is new, whoever has gone.
    fn follow(&self) {
        let table = Arc::clone(&self.table.borrow());
        let mut pools = self.by_worker.borrow_mut();
        pools.retain(|worker, pool| {
            let stays = table.iter().any(|upstream| upstream.worker == *worker);
            if !stays {
                pool.closed.set(true);
                pool.idle.borrow_mut().clear();
            }
            stays
        });
        for upstream in table.iter() {
            let new =
                || Rc::new(Pool { upstream: Arc::clone(upstream), idle: RefCell::default(), closed: Cell::new(false) });
            pools.entry(upstream.worker).or_insert_with(new);
        }
    }

    /// Looks at the table, and closes what has been idle for too long; to be called now and then.
    pub(crate) fn tidy(&self, now: Instant) {
        if self.table.has_changed().unwrap_or(false) {
            self.follow();
        }
        for pool in self.by_worker.borrow().values() {
            let mut idle = pool.idle.borrow_mut();
            while idle.front().is_some_and(|oldest| oldest.until <= now) {
                idle.pop_front();
            }
        }
    }

    pub(super) fn earn(&self) {
        let mut budget = self.budget.get();
        budget.earn();
        self.budget.set(budget);
    }

    pub(super) fn spend(&self) -> bool {
        let mut budget = self.budget.get();
        let spent = budget.spend();
        self.budget.set(budget);
        spent
    }

    pub(super) fn take_head(&self) -> ReceivedHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn put_head(&self, head: ReceivedHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < IDLE_MAX {
            heads.push(head);
        }
    }
}

impl Pool {
    /// An idle connection for a request with this method, if there is one that still stands.
    pub(super) fn take(&self, now: Instant, method: &[u8]) -> Option<Wire> {
        let mut idle = self.idle.borrow_mut();
        // Whoever uses it will say by whom it is to be woken.
        let mut context = Context::from_waker(Waker::noop());
        while let Some(newest) = idle.back() {
            if FRESH < now.saturating_duration_since(newest.since) && !is_idempotent(method) {
                return None;
            }
            let Idle { mut wire, until, .. } = idle.pop_back()?;
            if now < until && wire.is_usable(&mut context) {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection; `allowed` is how long the upstream says that it does so.
    pub(super) fn put(&self, wire: Wire, now: Instant, allowed: Option<Duration>) {
        let mut idle = self.idle.borrow_mut();
        // In uwsgi a connection is for one request.
        if self.closed.get() || IDLE_MAX <= idle.len() || self.upstream.protocol() == Protocol::Uwsgi {
            return;
        }
        let time = allowed.map_or(IDLE_TIME, |allowed| allowed.saturating_sub(FRESH).min(IDLE_TIME));
        if !time.is_zero() {
            idle.push_back(Idle { wire, since: now, until: now + time });
        }
    }
}
