//! Connections of one thread that wait for their next request: the one used last is used next, so that those which are not
//! needed grow old and are closed.
//!
//! Invariant: at most [`IDLE_MAX`] for each upstream, none for longer than its time; none of an upstream that has gone, or to an
//! address that its name no longer stands for. One that began with a client's name is for that client only.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::SocketAddr,
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
    /// What the upstream's name stood for when this was last looked at.
    addresses: RefCell<Arc<[SocketAddr]>>,
    closed: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    wire: Box<Wire>,
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
            pools.entry(upstream.worker).or_insert_with(|| Rc::new(Pool::new(upstream)));
        }
    }

    /// Looks at the table, and closes what has been idle for too long; to be called now and then.
    pub(crate) fn tidy(&self, now: Instant) {
        if self.table.has_changed().unwrap_or(false) {
            self.follow();
        }
        for pool in self.by_worker.borrow().values() {
            pool.follow();
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
    fn new(upstream: &Arc<Upstream>) -> Self {
        let addresses = RefCell::new(upstream.names().addresses());
        Self { upstream: Arc::clone(upstream), idle: RefCell::default(), addresses, closed: Cell::new(false) }
    }

    /// Closes what leads to addresses that have gone.
    fn follow(&self) {
        let addresses = self.upstream.names().addresses();
        if !Arc::ptr_eq(&addresses, &self.addresses.borrow()) {
            let stays = |idle: &Idle| idle.wire.address.is_none_or(|address| addresses.contains(&address));
            self.idle.borrow_mut().retain(stays);
            self.addresses.replace(addresses);
        }
    }

    /// An idle connection for a request with this method, if there is one that still stands and has begun with this header.
    pub(super) fn take(&self, now: Instant, method: &[u8], header: &[u8]) -> Option<Box<Wire>> {
        let mut idle = self.idle.borrow_mut();
        // Whoever uses it will say by whom it is to be woken.
        let mut context = Context::from_waker(Waker::noop());
        while let Some(newest) = idle.iter().rposition(|idle| idle.wire.header == header) {
            if FRESH < now.saturating_duration_since(idle[newest].since) && !is_idempotent(method) {
                return None;
            }
            let Idle { mut wire, until, .. } = idle.remove(newest)?;
            if now < until && wire.is_usable(&mut context) {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection; `allowed` is how long the upstream says that it does so.
    pub(super) fn put(&self, wire: Box<Wire>, now: Instant, allowed: Option<Duration>) {
        let has_gone = wire.address.is_some_and(|address| !self.addresses.borrow().contains(&address));
        // In uwsgi a connection is for one request.
        if self.closed.get() || has_gone || self.upstream.protocol() == Protocol::Uwsgi {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if IDLE_MAX <= idle.len() {
            idle.pop_front();
        }
        let time = allowed.map_or(IDLE_TIME, |allowed| allowed.saturating_sub(FRESH).min(IDLE_TIME));
        if !time.is_zero() {
            idle.push_back(Idle { wire, since: now, until: now + time });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use config::UpstreamAddress;
    use policy::Shared;

    use super::*;
    use crate::{stream::Stream, upstream::names::Names};

    struct Server {
        pool: Pool,
        listener: TcpListener,
    }

    impl Server {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let config = config::Upstream {
                address: Self::address(&listener),
                container: None,
                protocol: Protocol::Http,
                weight: 1,
                role: config::UpstreamRole::Usual,
                max_concurrency: 1,
                tls: None,
                proxy_protocol: None,
            };
            let probe = config::Health { path: None, every: Duration::from_secs(1), fail: 1, rise: 1 };
            let upstream = Upstream::new(&config, None, &probe, &Shared::new(1, 1));
            Self { pool: Pool::new(&Arc::new(upstream)), listener }
        }

        fn address(listener: &TcpListener) -> UpstreamAddress {
            UpstreamAddress::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() }
        }

        /// Both ends of a connection that begins with `header`.
        async fn connect(&self, header: &[u8]) -> (Box<Wire>, std::net::TcpStream) {
            let address = self.listener.local_addr().unwrap();
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            (
                Box::new(Wire::new(Stream::Tcp(stream), Some(address), header.to_vec())),
                self.listener.accept().unwrap().0,
            )
        }
    }

    fn is_closed(mut end: std::net::TcpStream) -> bool {
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        end.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_leads_to_an_address_that_has_gone_is_closed() {
        let server = Server::start();
        let (wire, idle) = server.connect(b"").await;
        server.pool.put(wire, Instant::now(), None);
        let (busy, busy_end) = server.connect(b"").await;
        // The same again is no change.
        server.pool.follow();
        assert_eq!(server.pool.idle.borrow().len(), 1);
        let elsewhere = UpstreamAddress::Tcp { host: "127.0.0.2".to_owned(), port: 1 };
        *server.pool.upstream.names() = Names::of(&elsewhere);
        server.pool.follow();
        assert!(is_closed(idle));
        // One that was in use meanwhile goes when it would be kept.
        server.pool.put(busy, Instant::now(), None);
        assert!(is_closed(busy_end));
        assert!(server.pool.take(Instant::now(), b"GET", b"").is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_that_names_a_client_is_for_that_client() {
        let server = Server::start();
        let mut ends = Vec::new();
        for header in [&b"a"[..], b"b"] {
            let (wire, end) = server.connect(header).await;
            server.pool.put(wire, Instant::now(), None);
            ends.push(end);
        }
        let take = |header: &[u8]| server.pool.take(Instant::now(), b"GET", header).map(|wire| wire.header.clone());
        assert_eq!(take(b"a").as_deref(), Some(&b"a"[..]));
        assert_eq!(take(b"a"), None);
        assert_eq!(take(b""), None);
        assert_eq!(take(b"b").as_deref(), Some(&b"b"[..]));
    }
}
