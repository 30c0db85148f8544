//! What the connections of one edge thread share, and the thread's life from the first accept to the last answer.
//!
//! Invariant: everything here belongs to one thread; nothing is locked but the dispatch.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{DateCache, RequestHead, Scheme};
use telemetry::{Counts, LogSink};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::spawn_local,
};
use units::{Cause, RequestId, RequestIds, TraceContext};

use crate::{
    Settings, arrive,
    buffers::Buffers,
    clients::{Clients, Who},
    connection::{Connection, Peer},
    credentials::Credentials,
    deadline::{Deadlines, TICK, Which},
    doors::{Accepted, Doors},
    edge::{Command, Stage},
    encode::Encoders,
    files::{FileSlots, KeptFiles},
    listener::Entry,
    page::Page,
    service::{Service, Way},
    stream::Stream,
};

/// Access-log bytes that are gathered before they go to the log as one block; what is less goes with the next tick.
const LOG_BLOCK: usize = 32 * 1024;

/// Heads kept for the next connection.
const SPARE: usize = 256;

/// Buffers that are not needed are looked for once in so many ticks.
const TIDY_TICKS: u32 = 40;

/// After so many connections at a time it is worth giving memory back once they have ended.
const BURST: usize = 128;

/// So seldom a thread says the same of what gateways send, and it does not take.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// A thread that rests, as others are enough, looks around so seldom.
const REST_TICK: Duration = Duration::from_secs(1);

/// After the kernel has refused a new descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The state of one edge thread.
#[derive(Debug)]
pub(crate) struct Thread {
    index: usize,
    /// What clients use up, in all threads.
    pub(crate) clients: Arc<Clients>,
    pub(crate) deadlines: Rc<Deadlines>,
    /// Those of TLS handshakes, which bound their number too.
    pub(crate) handshakes: Rc<Deadlines>,
    tls: RefCell<Option<tls::Server>>,
    settings: RefCell<Rc<Settings>>,
    /// The ways to the services of the settings, in their order.
    ways: RefCell<Vec<Rc<Way>>>,
    commands: watch::Receiver<Command>,
    stage: Cell<Stage>,
    /// It accepts nothing, as there are more threads than are to serve.
    rests: Cell<bool>,
    connections: Cell<usize>,
    /// The most there were since memory was last given back.
    peak: Cell<usize>,
    /// Descriptors for connections of both sides.
    descriptors: Cell<usize>,
    connection_ended: Notify,
    pub(crate) file_slots: FileSlots,
    pub(crate) kept_files: KeptFiles,
    pub(crate) credentials: Credentials,
    pub(crate) encoders: Rc<Encoders>,
    dates: RefCell<DateCache>,
    ids: RefCell<RequestIds>,
    wall: Cell<(Instant, u64)>,
    /// Which complaints were made, and when.
    complaints: RefCell<HashMap<&'static str, Instant>>,
    sink: LogSink,
    pub(crate) counts: Arc<Counts>,
    log: RefCell<Vec<u8>>,
    pub(crate) buffers: Buffers,
    heads: RefCell<Vec<RequestHead>>,
}

/// What a thread is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) clients: Arc<Clients>,
    pub(crate) commands: watch::Receiver<Command>,
    pub(crate) sink: LogSink,
    /// Nobody else counts there.
    pub(crate) counts: Arc<Counts>,
    /// Told when the thread has been drained.
    pub(crate) emptied: oneshot::Sender<()>,
}

/// The whole life of a thread; returns when it is stopped.
pub(crate) async fn run(start: Start) {
    let Start { index, clients, mut commands, sink, counts, emptied } = start;
    let (settings, descriptors) = {
        let command = commands.borrow();
        (command.settings.clone(), command.descriptors)
    };
    let thread = Rc::new(Thread {
        index,
        clients,
        deadlines: Rc::default(),
        handshakes: Rc::default(),
        tls: RefCell::default(),
        file_slots: FileSlots::new(settings.connections_max(descriptors)),
        kept_files: KeptFiles::new(settings.connections_max(descriptors)),
        settings: RefCell::new(Rc::new(settings)),
        ways: RefCell::default(),
        commands: commands.clone(),
        stage: Cell::new(Stage::Serving),
        rests: Cell::new(false),
        connections: Cell::new(0),
        peak: Cell::new(0),
        descriptors: Cell::new(descriptors),
        connection_ended: Notify::new(),
        credentials: Credentials::default(),
        encoders: Rc::default(),
        dates: RefCell::default(),
        ids: RefCell::default(),
        wall: Cell::new(wall_clock()),
        complaints: RefCell::default(),
        sink,
        counts,
        log: RefCell::default(),
        buffers: Buffers::default(),
        heads: RefCell::default(),
    });
    let tick = spawn_local(Rc::clone(&thread).tick());

    let stage = thread.obey(&mut commands).await;
    if stage == Stage::Draining {
        let drained = Rc::clone(&thread);
        spawn_local(async move {
            drained.emptied().await;
            // Nobody waits for it when the edge was dropped.
            let _ = emptied.send(());
        });
        // The links stay until the end: workers take leave of them in their own time.
        let _ = commands.wait_for(|command| command.stage == Stage::Stopped).await;
    }
    tick.abort();
    thread.flush_log();
}

impl Thread {
    /// Does what it is told until that is to drain or stop; returns which.
    async fn obey(self: &Rc<Self>, commands: &mut watch::Receiver<Command>) -> Stage {
        let mut doors = Doors::default();
        loop {
            let Command { settings, stage, doors: all, threads, descriptors, tls, page: _ } =
                commands.borrow_and_update().clone();
            self.take_over(settings);
            self.descriptors.set(descriptors);
            *self.tls.borrow_mut() = tls;
            self.stage.set(stage);
            self.rests.set(threads <= self.index);
            doors.follow(self, &all, threads);
            // Whoever keeps this keeps sockets open.
            drop(all);
            match stage {
                Stage::Serving | Stage::Leaving => {}
                Stage::Draining => {
                    doors.closed().await;
                    self.deadlines.end_idle(Which::All);
                    return Stage::Draining;
                }
                Stage::Stopped => return Stage::Stopped,
            }
            // An edge that has gone without a word is as good as one that says stop.
            if commands.changed().await.is_err() {
                return Stage::Stopped;
            }
        }
    }

    /// From now on these count, for requests that begin.
    fn take_over(&self, settings: Settings) {
        let before = self.ways.take();
        let way = |service: &Service| match before.iter().find(|way| way.leads_to(service)) {
            Some(way) => Rc::clone(way),
            None => Rc::new(Way::new(service.clone(), self.index)),
        };
        *self.ways.borrow_mut() = settings.services.iter().map(way).collect();
        *self.settings.borrow_mut() = Rc::new(settings);
    }

    /// Serves what was accepted at an entry.
    pub(crate) async fn take(self: &Rc<Self>, accepted: Accepted, entry: Entry) {
        match accepted {
            Ok((stream, address)) => {
                let ip = address.map(|address| address.ip().to_canonical());
                let (text, port) = (ip.map(|ip| ip.to_string()), address.map_or(0, |address| address.port()));
                let address = text.unwrap_or_default();
                self.admit(stream, Peer { ip, address, port, scheme: Scheme::Http, entry, share: None }).await;
            }
            Err(error) if is_the_clients(&error) => {}
            Err(_) => self.relieve().await,
        }
    }

    /// Makes room where the kernel has refused a new descriptor.
    pub(crate) async fn relieve(&self) {
        self.deadlines.end_idle(Which::Longest);
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Counts a connection under the address that it comes from; false when that has too many.
    pub(crate) fn has_room_for(&self, peer: &mut Peer) -> bool {
        let settings = self.settings();
        let Some(most) = settings.protection.client_connections else { return true };
        if peer.ip.is_none() || settings.trusted_proxies.contains(peer.ip) {
            return true;
        }
        peer.share = self.clients.connection(Who::at(peer.ip), most);
        if peer.share.is_none() {
            self.tell_seldom("client_connections", || {
                format!("{}: a connection was closed: it has {most} already (limits.client_connections)", peer.address)
            });
        }
        peer.share.is_some()
    }

    async fn admit(self: &Rc<Self>, stream: Stream, mut peer: Peer) {
        // Whoever comes through a proxy that names it in a header is counted when that has come.
        if !arrive::expects_header(&peer, self) && !self.has_room_for(&mut peer) {
            return;
        }
        while self.settings().connections_max(self.descriptors.get()) <= self.connections.get() {
            self.deadlines.end_idle(Which::Longest);
            self.connection_ended.notified().await;
        }
        let counted = Counted::new(self);
        if arrive::is_awaited(&peer, self) {
            // Apart, so that what comes first where it has to costs no memory elsewhere.
            spawn_local(async move {
                let arriving = Box::pin(arrive::arrive(stream, peer, Rc::clone(&counted.0)));
                if let Some(mut connection) = arriving.await {
                    connection.serve().await;
                }
                drop(counted);
            });
            return;
        }
        let mut connection = Connection::new(stream, peer, Rc::clone(self));
        spawn_local(async move {
            connection.serve().await;
            drop(connection);
            drop(counted);
        });
    }

    fn began(&self) {
        self.connections.set(self.connections.get() + 1);
        self.counts.connection_accepted();
        self.peak.set(self.peak.get().max(self.connections.get()));
    }

    fn ended(&self) {
        self.connections.set(self.connections.get() - 1);
        self.counts.connection_closed();
        self.connection_ended.notify_one();
    }

    async fn emptied(&self) {
        while 0 < self.connections.get() {
            self.connection_ended.notified().await;
        }
    }

    async fn tick(self: Rc<Self>) {
        let mut ticks = 0u32;
        loop {
            ticks = ticks.wrapping_add(1);
            let rests = self.rests.get() && self.connections.get() == 0;
            tokio::time::sleep(if rests { REST_TICK } else { TICK }).await;
            let now = Instant::now();
            self.deadlines.sweep(now);
            self.handshakes.sweep(now);
            self.ways.borrow().iter().for_each(|way| way.tidy(now));
            self.wall.set(wall_clock());
            self.flush_log();
            if ticks.is_multiple_of(TIDY_TICKS) {
                self.buffers.tidy();
                self.kept_files.tidy();
            }
            if self.connections.get() == 0 && BURST <= self.peak.replace(0) {
                self.buffers.clear();
                sys::release_memory();
            }
        }
    }

    /// Its number among all threads.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The way to a service of the present settings.
    pub(crate) fn way(&self, number: usize) -> Option<Rc<Way>> {
        self.ways.borrow().get(number).map(Rc::clone)
    }

    pub(crate) fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// The page for requests that a shut gate sends away, as it is at this moment: they may be quicker than [`Self::obey`].
    pub(crate) fn page(&self) -> Option<Arc<Page>> {
        self.commands.borrow().page.clone()
    }

    /// Whether connections may outlive their next response.
    pub(crate) fn keeps_connections(&self) -> bool {
        self.stage.get() == Stage::Serving
    }

    pub(crate) fn is_draining(&self) -> bool {
        Stage::Draining <= self.stage.get()
    }

    pub(crate) fn make_id(&self) -> RequestId {
        self.ids.borrow_mut().make()
    }

    pub(crate) fn make_trace(&self) -> TraceContext {
        TraceContext::make(&mut self.ids.borrow_mut())
    }

    /// Microseconds since 1970 at `at`.
    pub(crate) fn unix_us(&self, at: Instant) -> u64 {
        let (known, unix_us) = self.wall.get();
        let between =
            |later: Instant, earlier: Instant| u64::try_from((later - earlier).as_micros()).unwrap_or(u64::MAX);
        if known <= at {
            unix_us.saturating_add(between(at, known))
        } else {
            unix_us.saturating_sub(between(known, at))
        }
    }

    /// Appends the Date field's value at `now` (RFC 9110 §6.6.1).
    pub(crate) fn write_date(&self, now: Instant, out: &mut Vec<u8>) {
        out.extend_from_slice(self.dates.borrow_mut().at(self.unix_us(now) / 1_000_000));
    }

    /// What TLS handshakes are answered with.
    pub(crate) fn tls(&self) -> Option<tls::Server> {
        self.tls.borrow().clone()
    }

    /// Tells the operator that a gateway was refused, and why; now and then.
    pub(crate) fn complain(&self, peer: &Peer, start: &[u8], why: &'static str) {
        let first = &start[..start.len().min(4)];
        self.tell_seldom(why, || {
            format!("uwsgi: a request from {} was refused: {why}; it begins with the bytes {first:?}", origin(peer))
        });
    }

    /// The same of a proxy that did not say for whom it speaks.
    pub(crate) fn complain_of_header(&self, peer: &Peer, why: &'static str) {
        self.tell_seldom(why, || format!("PROXY protocol: a connection from {} was refused: {why}", origin(peer)));
    }

    /// Tells the operator something of a kind that clients can bring about as often as they like.
    pub(crate) fn tell_seldom(&self, kind: &'static str, text: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut complaints = self.complaints.borrow_mut();
        if complaints.get(kind).is_some_and(|last| now < *last + COMPLAINT_PAUSE) {
            return;
        }
        complaints.insert(kind, now);
        self.sink.message(&text());
    }

    /// The same of an upstream whose response is none.
    pub(crate) fn complain_of_upstream(&self, address: &str, why: &'static str) {
        self.tell_seldom(why, || format!("{address}: a response was refused: {why}"));
    }

    /// The same of an upstream to which no connection can be made that is to be trusted.
    pub(crate) fn complain_of_way(&self, address: &str, cause: Cause, why: &str) {
        self.tell_seldom(cause.name(), || format!("{address}: {why}"));
    }

    /// Adds a line to the access log.
    pub(crate) fn log(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let full = {
            let mut log = self.log.borrow_mut();
            write(&mut log);
            LOG_BLOCK <= log.len()
        };
        if full {
            self.flush_log();
        }
    }

    fn flush_log(&self) {
        let block = std::mem::take(&mut *self.log.borrow_mut());
        if !block.is_empty() {
            self.sink.offer_access_block(block);
        }
    }

    pub(crate) fn take_head(&self) -> RequestHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn put_head(&self, head: RequestHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE {
            heads.push(head);
        }
    }
}

/// A connection's place among those of its thread, which is free again however the connection's task ends.
struct Counted(Rc<Thread>);

impl Counted {
    fn new(thread: &Rc<Thread>) -> Self {
        thread.began();
        Self(Rc::clone(thread))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// Errors of accept that concern one connection, which has gone before it was accepted (accept(2), "Error handling").
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable | TimedOut
    )
}

fn wall_clock() -> (Instant, u64) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), u64::try_from(unix.as_micros()).unwrap_or(u64::MAX))
}

/// Where it comes from, for people.
fn origin(peer: &Peer) -> &str {
    if peer.address.is_empty() { "a Unix socket" } else { &peer.address }
}
