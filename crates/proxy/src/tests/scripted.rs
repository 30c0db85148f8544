//! An edge of one thread and its only worker, which does what a test says.
//!
//! Invariant: every wait for a frame has a deadline, so that a test that goes wrong fails.

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Expose, Listen, OnDisconnect, Protocol};
use link::{ExchangeId, Inbound, Kind, LEDGER_WORDS, LinkEnd, ResponseHead, State, flags, write_frame, write_response};
use policy::{NodeLabel, Shared, WorkerEntry, WorkerId};
use sys::SharedWords;
use telemetry::{Exposition, LineFormat, LogSink, Messages, Output};
use tempfile::TempDir;
use testkit::Client;
use tokio::{runtime::Builder, sync::watch, time::timeout};

use crate::{Address, Backend, Edge, NodeTable, Service, Settings, route::Routes};

/// Nothing in a test takes longer on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(30);

/// The edge and the worker's end of the link.
pub(super) struct Scripted {
    port: u16,
    end: Arc<LinkEnd>,
    socket: UnixStream,
    inbound: Inbound,
    shared: Arc<Shared>,
    worker: WorkerId,
    edge: Edge,
    settings: Settings,
    _table: watch::Sender<Arc<NodeTable>>,
    _log: TempDir,
}

impl Scripted {
    /// Generous limits, but for what `change` makes of them.
    pub(super) fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_descriptors(1000, change)
    }

    /// The same with so many descriptors.
    pub(super) fn with_descriptors(descriptors: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let (socket, ours) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let end = Arc::new(LinkEnd::new(OwnedFd::from(ours), SharedWords::create(LEDGER_WORDS).unwrap().0));
        let shared = Shared::new(100, 1);
        let id = shared.change(Instant::now(), |dispatch| {
            let node = dispatch.add_node();
            dispatch.add_worker(node, 100)
        });
        let node = Arc::new(NodeLabel { name: "web.1".to_owned(), generation: 1 });
        let entry = WorkerEntry { id, pid: 1, node, draining: false, links: vec![Arc::clone(&end)] };
        let (table, nodes) = watch::channel(Arc::new(NodeTable { workers: vec![entry] }));
        let log = tempfile::tempdir().unwrap();
        let sink =
            LogSink::start(log.path().to_owned(), Output::FileOnly, LineFormat::Json, Messages::start(|_| ()).unwrap())
                .unwrap();
        let bound =
            crate::bind(&[Listen::Tcp { host: "127.0.0.1".to_owned(), port: 0, protocol: Protocol::Http }], 1).unwrap();
        let Address::Tcp { port, .. } = bound.addresses()[0] else { panic!("it was bound as TCP") };
        let services =
            vec![Service { name: "web".to_owned(), shared: Arc::clone(&shared), backend: Backend::Workers(nodes) }];
        let mut settings = Settings {
            retry_on: Default::default(),
            trusted_proxies: Default::default(),
            routes: Arc::new(Routes::new(&config::Routes::default(), 100, "web", &services)),
            services,
            counted: Vec::new(),
            protection: Default::default(),
            response: u64::MAX,
            head: http::Limits::default(),
            body: 1 << 20,
            patience: DEADLINE,
            time: DEADLINE,
            queue: DEADLINE,
            tunnel: DEADLINE,
            proxy_protocol: config::ProxyProtocol::Unused,
            https_redirect: None,
            on_disconnect: OnDisconnect::Finish,
            expose: Expose::Hidden,
            server_timing: config::ServerTiming::Hidden,
            tracing: config::Tracing::Make,
            compression: config::Compression::Off,
            hash_on: None,
            cookies: Vec::new(),
            access_log: None,
        };
        change(&mut settings);
        let edge = crate::serve(bound, settings.clone(), &sink, descriptors).unwrap();
        let inbound = Inbound::default();
        Self { port, end, socket, inbound, shared, worker: id, edge, settings, _table: table, _log: log }
    }

    /// A new connection to the edge.
    pub(super) fn client(&self) -> Client {
        Client::connect(self.port).unwrap()
    }

    /// Where it listens at first.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Listens on these addresses and no others.
    pub(super) fn listen(&mut self, listen: &[Listen]) {
        let change = self.edge.prepare(listen, 1).unwrap();
        let made = self.edge.set(self.settings.clone(), change, None);
        assert!(made.failed.is_empty(), "{:?}", made.failed);
    }

    /// Requests whose slots are leased.
    pub(super) fn in_flight(&self) -> u32 {
        self.shared.load(self.worker).in_flight
    }

    /// Drains the edge, which is done when no connection is left, and returns what has been counted.
    pub(super) fn drained(mut self) -> String {
        self.edge.drain();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let drained = runtime.block_on(async { timeout(DEADLINE, self.edge.drained()).await });
        drained.expect("every connection has ended");
        let mut counted = Exposition::default();
        self.edge.metrics().write(&mut counted);
        counted.finish()
    }

    /// The next frame.
    fn next(&mut self) -> (Kind, ExchangeId, Vec<u8>) {
        loop {
            if let Some(frame) = self.inbound.next_frame().unwrap() {
                return (frame.kind, frame.id, frame.payload.to_vec());
            }
            let mut piece = [0; 4096];
            let count = self.socket.read(&mut piece).expect("the edge sends what the test waits for");
            assert_ne!(count, 0, "the edge has closed the link");
            self.inbound.spare(count).extend_from_slice(&piece[..count]);
        }
    }

    /// Waits for a request, which is not started.
    pub(super) fn request(&mut self) -> ExchangeId {
        loop {
            if let (Kind::Request, id, _) = self.next() {
                return id;
            }
        }
    }

    /// Waits for a frame of an exchange.
    pub(super) fn next_of(&mut self, wanted: ExchangeId, kind: Kind) -> Vec<u8> {
        loop {
            match self.next() {
                (found, id, payload) if (found, id) == (kind, wanted) => return payload,
                _ => {}
            }
        }
    }

    /// Claims a request, as a worker does when it calls the application.
    pub(super) fn start(&self, id: ExchangeId) {
        assert!(self.end.ledger().start(id), "the edge has taken it back");
    }

    /// Whether a request that was not started must not be started any more.
    pub(super) fn is_taken_back(&self, id: ExchangeId) -> bool {
        self.end.ledger().state(id) == State::Withdrawn
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, kind: Kind, id: ExchangeId, payload: &[u8]) {
        let mut out = Vec::new();
        write_frame(&mut out, kind, 0, 0, id, payload);
        self.socket.write_all(&out).unwrap();
    }

    /// Sends a whole response, with which the work has ended.
    pub(super) fn answer(&mut self, id: ExchangeId, body: &[u8]) {
        let mut out = Vec::new();
        let head = ResponseHead { content_length: Some(body.len() as u64), reason: b"", fields: b"", body };
        write_response(&mut out, id, 200, flags::LAST | flags::DONE, &head);
        self.socket.write_all(&out).unwrap();
    }

    /// Sends the head of a response and the first bytes of its body, which goes on.
    pub(super) fn respond(&mut self, id: ExchangeId, body: &[u8]) {
        let mut out = Vec::new();
        let head = ResponseHead { content_length: None, reason: b"", fields: b"", body };
        write_response(&mut out, id, 200, 0, &head);
        self.socket.write_all(&out).unwrap();
    }
}
