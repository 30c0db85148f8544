//! The edge as its owner sees it: threads that are started, told new settings and where to accept, drained or stopped.
//!
//! Invariant: a thread that was started stays until the end. One that is not needed any more serves its connections and rests.

use std::{io, sync::Arc, time::Duration};

use config::{
    AccessLog, Balance, Compression, Config, Expose, HashOn, Listen, OnDisconnect, ProxyProtocol, RetryOn,
    ServerTiming, Tracing, TrustedProxies,
};
use telemetry::{AccessFormat, Counted, LogSink, Metrics};
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
    task::LocalSet,
};

use crate::{
    admission::Protection,
    clients::Clients,
    listener::{BindError, Bound, Change, Door, Made},
    page::Page,
    route::Routes,
    service::{Backend, Service},
    thread,
};

/// Long enough for any network that is not broken; a slot or a handler may be waiting.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// What the edge has to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of a request's head.
    pub head: http::Limits,
    /// The longest body, in bytes.
    pub body: u64,
    /// How long a client may keep us waiting for the bytes of its body.
    pub patience: Duration,
    /// From the start of a handler to the head of its response.
    pub time: Duration,
    /// The longest wait for a worker that starts the request.
    pub queue: Duration,
    /// How long a connection that has left HTTP may be silent.
    pub tunnel: Duration,
    /// The longest body of a response, in bytes.
    pub response: u64,
    /// For what else a request is tried again on another upstream.
    pub retry_on: RetryOn,
    /// Who may speak for the client.
    pub trusted_proxies: TrustedProxies,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// The port of https that plain requests are sent to.
    pub https_redirect: Option<u16>,
    /// Where requests go.
    pub services: Vec<Service>,
    /// Under what their requests are counted, in the same order.
    pub(crate) counted: Vec<Counted>,
    /// Which of them, and what else becomes of requests.
    pub(crate) routes: Arc<Routes>,
    /// What protects the application from too much of them.
    pub(crate) protection: Arc<Protection>,
    /// What becomes of a handler whose client has gone.
    pub on_disconnect: OnDisconnect,
    /// Whether responses say which worker made them.
    pub expose: Expose,
    /// Whether responses say how long what has taken.
    pub server_timing: ServerTiming,
    /// Which requests belong to a trace.
    pub tracing: Tracing,
    /// Whether responses are compressed.
    pub compression: Compression,
    /// What of a request decides where it goes, where a hash does.
    pub(crate) hash_on: Option<HashOn>,
    /// The cookies by which clients stick to a node, one for each service by its number; none where they do not.
    pub(crate) cookies: Vec<String>,
    /// How the access log is written, if it is.
    pub access_log: Option<AccessFormat>,
}

/// Whom the access log is for: "auto" writes text for a person and JSON for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Standard output is a terminal.
    Person,
    /// It is a file or a pipe.
    Program,
}

impl Settings {
    /// The part of `config` that concerns the edge, and the services that it names.
    pub fn new(config: &Config, reader: Reader, services: Vec<Service>) -> Self {
        let access_log = match config.access_log {
            AccessLog::Off => None,
            AccessLog::Text => Some(AccessFormat::Text),
            AccessLog::Json => Some(AccessFormat::Json),
            AccessLog::Combined => Some(AccessFormat::Combined),
            AccessLog::Auto if reader == Reader::Person => Some(AccessFormat::Text),
            AccessLog::Auto => Some(AccessFormat::Json),
        };
        Self {
            head: http::Limits::default(),
            body: config.limits.body.count(),
            patience: BODY_PATIENCE,
            time: config.limits.time,
            queue: config.limits.queue,
            tunnel: config.limits.tunnel,
            response: config.protection.response.map_or(u64::MAX, units::Bytes::count),
            retry_on: config.retry_on.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
            https_redirect: config.https_redirect,
            routes: Arc::new(Routes::new(&config.routes, config.limits.queue_length, &config.name, &services)),
            protection: Arc::new(Protection::new(&config.protection)),
            cookies: cookies(config, &services),
            services,
            counted: Vec::new(),
            on_disconnect: config.limits.on_disconnect,
            expose: config.expose,
            server_timing: config.server_timing,
            tracing: config.tracing,
            compression: config.compression,
            hash_on: match &config.balance {
                Balance::ConsistentHash(hash_on) => Some(hash_on.clone()),
                _ => None,
            },
            access_log,
        }
    }

    /// Requests that wait, or are with the application, under `old` settings count under these.
    fn keep_lanes(&mut self, old: &Self) {
        if let Some(routes) = Arc::get_mut(&mut self.routes) {
            routes.keep_lanes(&old.routes);
        }
    }

    /// Requests are counted there from now on, each under the name of its service.
    fn count_in(&mut self, metrics: &Metrics) {
        self.counted = self.services.iter().map(|service| metrics.counted(&service.name)).collect();
    }

    /// Whether workers run beside the edge.
    fn has_workers(&self) -> bool {
        self.services.iter().any(|service| matches!(service.backend, Backend::Workers(_)))
    }

    /// How many of a thread's descriptors are for connections: all, or half where each request may need one to an upstream.
    pub(crate) fn connections_max(&self, descriptors: usize) -> usize {
        let forwards = self.services.iter().any(|service| matches!(service.backend, Backend::Upstreams(_)));
        (if forwards { descriptors / 2 } else { descriptors }).max(16)
    }
}

/// A service of a route has a cookie of its own, as clients bring those of all services together.
fn cookies(config: &Config, services: &[Service]) -> Vec<String> {
    let Some(cookie) = &config.sticky else { return Vec::new() };
    let of = |name: &str| if name == config.name { cookie.clone() } else { format!("{cookie}-{name}") };
    services.iter().map(|service| of(&service.name)).collect()
}

/// Where in its life the edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Serves, and ends each connection with its next response, so that clients that keep theirs come elsewhere.
    Leaving,
    /// Accepts what has connected, finishes what has begun.
    Draining,
    Stopped,
}

/// What the threads are told; always the whole.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) settings: Settings,
    pub(crate) stage: Stage,
    /// For whom a shut gate sends away.
    pub(crate) page: Option<Arc<Page>>,
    pub(crate) doors: Arc<[Door]>,
    /// The first so many threads serve; the others end what they have begun, and rest.
    pub(crate) threads: usize,
    /// Descriptors that each may have for connections.
    pub(crate) descriptors: usize,
    /// What TLS handshakes are answered with.
    pub(crate) tls: Option<tls::Server>,
}

/// The edge could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread of the edge: {0}")]
pub struct EdgeError(#[from] io::Error);

/// Another list of addresses, or number of threads, cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread.
    #[error(transparent)]
    Edge(#[from] EdgeError),
}

/// The running edge. Dropping it stops it at once.
#[derive(Debug)]
pub struct Edge {
    commands: watch::Sender<Command>,
    /// Those that serve, and behind them those that rest.
    threads: Vec<Running>,
    clients: Arc<Clients>,
    metrics: Metrics,
    sink: LogSink,
    /// The limit of open files.
    descriptors: u64,
    bound: Bound,
}

#[derive(Debug)]
struct Running {
    emptied: oneshot::Receiver<()>,
    handle: Option<std::thread::JoinHandle<()>>,
}

/// What one thread may have of the `descriptors` that may be open in the process: of nine tenths, as workers' links, logs and
/// the control socket need some.
fn share(descriptors: u64, threads: usize) -> usize {
    let share = descriptors.saturating_mul(9) / 10 / threads.max(1) as u64;
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// Starts as many threads as were `bound` for. `descriptors` is the limit of open files.
pub fn serve(mut bound: Bound, mut settings: Settings, sink: &LogSink, descriptors: u64) -> Result<Edge, EdgeError> {
    let (clients, metrics) = (Arc::default(), Metrics::default());
    settings.count_in(&metrics);
    let threads = bound.threads;
    let command = Command {
        settings,
        stage: Stage::Serving,
        page: None,
        doors: bound.doors(),
        threads,
        descriptors: share(descriptors, threads),
        tls: bound.tls.take(),
    };
    let (commands, _) = watch::channel(command);
    let mut edge = Edge { commands, threads: Vec::new(), clients, metrics, sink: sink.clone(), descriptors, bound };
    edge.start_threads(threads)?;
    Ok(edge)
}

impl Edge {
    /// Starts threads until there are so many. They do what they are told to, so that more than are to serve do no harm.
    fn start_threads(&mut self, threads: usize) -> Result<(), EdgeError> {
        let shares_cores = self.commands.borrow().settings.has_workers();
        for index in self.threads.len()..threads {
            let (emptied, ended) = oneshot::channel();
            let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
            let start = thread::Start {
                index,
                clients: Arc::clone(&self.clients),
                commands: self.commands.subscribe(),
                sink: self.sink.clone(),
                counts: self.metrics.of_thread(index),
                emptied,
            };
            let handle = std::thread::Builder::new().name(format!("edge-{index}")).spawn(move || {
                if shares_cores {
                    // Longer turns, fewer switches: 3 to 10 % less CPU a request under load, where it is permitted. Beside
                    // others that are not ours an edge would only wait longer.
                    let _ = sys::use_batch_scheduling();
                }
                LocalSet::new().block_on(&runtime, thread::run(start));
            })?;
            self.threads.push(Running { emptied: ended, handle: Some(handle) });
        }
        Ok(())
    }

    /// Binds what it takes to listen on `listen` with so many threads, and starts those that are missing. They rest, and
    /// nothing else is different, until the change is made by [`Self::set`].
    pub fn prepare(&mut self, listen: &[Listen], threads: usize) -> Result<Change, PrepareError> {
        let change = self.bound.prepare(listen, threads)?;
        self.start_threads(threads)?;
        Ok(change)
    }

    /// How many threads there are, those included that rest. A worker has a link to each: none ends before the edge does.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// What is counted of requests and connections, also after the edge has gone.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// New settings for requests from now on, and other listeners for connections. Handshakes are answered as before where
    /// `tls` says nothing: some may be under way.
    pub fn set(&mut self, mut settings: Settings, change: Change, tls: Option<tls::Server>) -> Made {
        settings.count_in(&self.metrics);
        let made = self.bound.make(change);
        self.commands.send_modify(|command| {
            settings.keep_lanes(&command.settings);
            command.settings = settings;
            command.doors = self.bound.doors();
            command.threads = self.bound.threads;
            command.descriptors = share(self.descriptors, self.bound.threads);
            command.tls = tls.or_else(|| command.tls.take());
        });
        made
    }

    /// What requests are answered with that the dispatch sends away ([`policy::Gate::Shut`]); to be told before it does.
    pub fn set_page(&self, page: Page) {
        self.commands.send_modify(|command| command.page = Some(Arc::new(page)));
    }

    /// Goes on serving, but keeps no connection after its next response: whoever asks is to go elsewhere from now on.
    pub fn leave(&mut self) {
        self.commands.send_modify(|command| command.stage = command.stage.max(Stage::Leaving));
    }

    /// Accepts what has already connected and nothing more, closes idle connections, finishes what has begun.
    pub fn drain(&mut self) {
        self.bound.close();
        self.commands.send_modify(|command| {
            command.stage = command.stage.max(Stage::Draining);
            command.doors = Arc::default();
        });
    }

    /// Returns when the last connection has ended after [`Edge::drain`].
    pub async fn drained(&mut self) {
        for thread in &mut self.threads {
            // A thread that has gone in any way has no connections.
            let _ = (&mut thread.emptied).await;
        }
    }

    /// Ends every connection at once.
    pub fn stop(&mut self) {
        self.commands.send_modify(|command| command.stage = Stage::Stopped);
        self.threads.iter_mut().for_each(Running::join);
    }
}

impl Running {
    fn join(&mut self) {
        if let Some(handle) = self.handle.take() {
            // A thread that panicked has printed why; there is nothing left of it to wait for.
            let _ = handle.join();
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
    }
}
