//! Who keeps the list of upstreams: probes them, lets them have requests or not, and tells of it.
//!
//! Invariant: an upstream gets requests only after a probe has passed; what `policy::Health` decides is carried out here, but
//! for ejection, which the thread carries out that has met the failure.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, Instant},
};

use config::{Protocol, UpstreamAddress, UpstreamRole};
use http::{Limits, PacketWriter, ReceivedHead, Refusal};
use policy::{Fault, Health, HealthChange, HealthRules, HealthState, Load, NodeLabel, Rank, Shared, Standing};
use telemetry::LogSink;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, watch},
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use super::{
    Upstream, UpstreamTable,
    names::{self, Names},
    open,
};
use crate::{
    service::{Backend, Service},
    stream::Stream,
};

/// A probe that takes longer has failed.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// An upstream that has not answered yet is looked at so often, so that it is there soon.
const STARTING_EVERY: Duration = Duration::from_millis(50);

/// What a probe reads of a response.
const PROBE_LIMITS: Limits = Limits { head: 64 * 1024, target: 0, fields: 256, field: 32 * 1024 };

/// The upstreams of one service; on a local task set. Dropping it ends the probes.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    table: watch::Sender<Arc<UpstreamTable>>,
    sink: LogSink,
    tasks: Vec<(Arc<Upstream>, JoinHandle<()>)>,
}

/// What is told of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    /// Its address.
    pub address: String,
    /// Its host, or nothing.
    pub host: String,
    /// `starting`, `ready`, `unhealthy`
    pub state: &'static str,
    /// Why it gets no requests.
    pub trouble: Option<String>,
    /// What it has to do.
    pub load: Load,
    /// How its operator wants it to take part.
    pub standing: Standing,
    /// Since when it is known here.
    pub since: Instant,
}

impl Keeper {
    /// Of a service without upstreams.
    pub(super) fn new(name: &str, shared: Arc<Shared>, sink: &LogSink) -> Self {
        let (table, _) = watch::channel(Arc::default());
        Self { name: name.to_owned(), shared, table, sink: sink.clone(), tasks: Vec::new() }
    }

    /// The service, for the edge.
    pub(super) fn service(&self) -> Service {
        let backend = Backend::Upstreams(self.table.subscribe());
        Service { name: self.name.clone(), shared: Arc::clone(&self.shared), backend }
    }

    /// Keeps these from now on: what stays as it was keeps its health and its connections; what has gone finishes what it
    /// has. Returns the addresses of those that came, and of those that went.
    pub(super) fn follow(
        &mut self,
        (config, clients): (&config::Config, &tls::Clients),
        wanted: &[config::Upstream],
    ) -> (Vec<String>, Vec<String>) {
        let now = Instant::now();
        let probe = Arc::new(config.health.clone());
        let stays = |upstream: &Arc<Upstream>| wanted.contains(&upstream.config);
        let (stay, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tasks).into_iter().partition(|(u, _)| stays(u));
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for (upstream, task) in gone {
            went.push(upstream.label.name.clone());
            task.abort();
            self.shared.change(now, |dispatch| dispatch.drain_worker(upstream.worker));
            let shared = Arc::clone(&self.shared);
            spawn_local(async move {
                shared.drained(&[upstream.worker]).await;
                shared.change(Instant::now(), |dispatch| dispatch.remove_node(upstream.node));
            });
        }
        // How they are probed may have changed: what is known of them stays.
        for (upstream, task) in stay {
            task.abort();
            // Files that are named may hold something else by now.
            *upstream.client.lock().unwrap_or_else(PoisonError::into_inner) = clients.of(&upstream.config);
            self.keep(upstream, &probe);
        }
        for wanted in wanted {
            if !self.tasks.iter().any(|(upstream, _)| upstream.config == *wanted) {
                let upstream = Arc::new(Upstream::new(wanted, clients.of(wanted), &probe, &self.shared));
                came.push(upstream.label.name.clone());
                self.keep(upstream, &probe);
            }
        }
        let table = self.tasks.iter().map(|(upstream, _)| Arc::clone(upstream)).collect();
        self.table.send_replace(Arc::new(table));
        (came, went)
    }

    pub(super) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.tasks.iter().map(|(upstream, _)| upstream)
    }

    fn keep(&mut self, upstream: Arc<Upstream>, probe: &Arc<config::Health>) {
        let (known, probe, sink) = (Arc::clone(&upstream), Arc::clone(probe), self.sink.clone());
        let task = async move {
            // After a reload it is known already.
            let is_known = !known.names().addresses().is_empty();
            let due = if is_known { Instant::now() } else { names::look_up(&known, &names::system, &sink).await };
            tokio::join!(names::follow(&known, &names::system, &sink, due), watch_over(&known, &probe, &sink));
        };
        self.tasks.push((upstream, spawn_local(task)));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|(_, task)| task.abort());
    }
}

/// The life of an upstream: one probe after the other, and what requests have met in between.
async fn watch_over(upstream: &Upstream, rules: &config::Health, sink: &LogSink) {
    let name = upstream.label.name.as_str();
    let mut next = Instant::now();
    let jitter = Jitter::default();
    loop {
        let now = Instant::now();
        if next <= now {
            let probed = upstream.probe(rules).await;
            let change = upstream.change_health(|health| health.probed(probed.is_ok()));
            if let Some(change) = change {
                upstream.apply(change);
                match &probed {
                    Ok(()) => sink.message(&format!("{name} is ready")),
                    Err(why) => sink.message(&format!("{name} is unhealthy and gets no requests: {why}")),
                }
            }
            let starting = upstream.state() == HealthState::Starting;
            if starting
                && upstream.trouble().is_none()
                && let Err(why) = &probed
            {
                sink.message(&format!("{name} gets no requests yet: {why}"));
            }
            if probed.is_err() {
                upstream.failing.notify_one();
            }
            upstream.set_trouble(probed.err());
            let every = if starting { rules.every.min(STARTING_EVERY) } else { rules.every };
            next = Instant::now() + jitter.vary(every);
        }
        let until = match upstream.state() {
            HealthState::Ejected { until, .. } | HealthState::Trial { until } => next.min(until),
            _ => next,
        };
        let changed = tokio::select! {
            () = tokio::time::sleep_until(until.into()) => false,
            () = upstream.changed.notified() => true,
            () = upstream.moved.notified() => {
                next = Instant::now();
                continue;
            }
        };
        if changed {
            upstream.tell(sink);
        } else if let Some(change) = upstream.change_health(|health| health.look(Instant::now())) {
            upstream.apply(change);
        }
    }
}

impl Upstream {
    pub(super) fn new(
        config: &config::Upstream,
        client: Option<tls::Client>,
        probe: &config::Health,
        shared: &Arc<Shared>,
    ) -> Self {
        let rank = match config.role {
            UpstreamRole::Usual => Rank::Usual,
            UpstreamRole::Backup => Rank::Backup,
        };
        let name = match &config.container {
            Some(container) => container.name.clone(),
            None => config.address.to_string(),
        };
        let (node, worker) = shared.change(Instant::now(), |dispatch| {
            let (node, worker) = dispatch.add_upstream(config.weight, rank, config.max_concurrency);
            dispatch.name_node(node, &name);
            (node, worker)
        });
        let rules = HealthRules { fall: probe.fail, rise: probe.rise };
        Self {
            config: config.clone(),
            node,
            worker,
            label: Arc::new(NodeLabel { name, generation: 1 }),
            health: Mutex::new(Health::new(rules)),
            suspect: AtomicBool::new(false),
            trouble: Mutex::default(),
            names: Mutex::new(Names::of(&config.address)),
            turn: AtomicUsize::new(0),
            client: Mutex::new(client),
            moved: Notify::new(),
            failing: Notify::new(),
            changed: Notify::new(),
            since: Instant::now(),
            shared: Arc::clone(shared),
        }
    }

    /// Changes how it takes part; returns how it does now, and how many requests it has.
    pub fn stand(&self, change: impl FnOnce(&mut Standing)) -> (Standing, u64) {
        let standing = self.shared.change(Instant::now(), |dispatch| {
            let mut standing = dispatch.standing(self.node);
            change(&mut standing);
            dispatch.set_standing(self.node, standing);
            standing
        });
        (standing, self.shared.load(self.worker).in_flight.into())
    }

    fn apply(&self, change: HealthChange) {
        let now = Instant::now();
        self.shared.change(now, |dispatch| match change {
            HealthChange::Up => dispatch.resume_worker(now, self.worker),
            HealthChange::Down => dispatch.drain_worker(self.worker),
            HealthChange::Try => dispatch.try_worker(self.worker),
            HealthChange::Eject(_) => {}
        });
    }

    /// Tells what requests have brought about.
    fn tell(&self, sink: &LogSink) {
        let name = &self.label.name;
        match self.state() {
            HealthState::Ejected { until, fault } => {
                let left = until.saturating_duration_since(Instant::now());
                let left =
                    units::show_duration(Duration::from_secs(left.as_secs() + u64::from(0 < left.subsec_nanos())));
                sink.message(&format!("{name} gets no requests for {left}: {}", why(fault)));
            }
            HealthState::Ready if self.change_health(|health| health.has_answered()) => {
                sink.message(&format!("{name} answers, and gets requests again"));
            }
            HealthState::Ready => {
                sink.message(&format!("{name} fails, but is one of the last that take requests"));
            }
            HealthState::Starting | HealthState::Unhealthy | HealthState::Trial { .. } => {}
        }
    }

    fn state(&self) -> HealthState {
        self.change_health(|health| health.state())
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn status(&self) -> UpstreamStatus {
        let host = match &self.config.address {
            UpstreamAddress::Tcp { host, .. } => host.clone(),
            UpstreamAddress::Unix { .. } => String::new(),
        };
        let (state, trouble) = match self.state() {
            // It is not that it takes its time.
            HealthState::Starting if self.names().trouble().is_some() => ("unhealthy", self.trouble()),
            HealthState::Starting => ("starting", self.trouble()),
            HealthState::Ready => ("ready", None),
            HealthState::Unhealthy => ("unhealthy", self.trouble()),
            HealthState::Ejected { fault, .. } => {
                let last = self.trouble().map(|why| format!(": {why}")).unwrap_or_default();
                ("unhealthy", Some(format!("{}{last}", why(fault))))
            }
            HealthState::Trial { .. } => ("unhealthy", Some("it gets one request, to see how it is".to_owned())),
        };
        let load = self.shared.load(self.worker);
        let standing = self.shared.standing(self.node);
        UpstreamStatus { address: self.label.name.clone(), host, state, trouble, load, standing, since: self.since }
    }

    /// Connects, and asks for the path if there is one.
    async fn probe(&self, rules: &config::Health) -> Result<(), String> {
        let host = match &self.config.address {
            UpstreamAddress::Unix { .. } => "localhost".to_owned(),
            address @ UpstreamAddress::Tcp { .. } => address.to_string(),
        };
        let host = host.as_str();
        let probe = async {
            let header = open::header(self.config.proxy_protocol, None);
            let (stream, _) = open::open(self, &header).await.map_err(|unreached| unreached.to_string())?;
            let (protocol, path) = (self.protocol(), rules.path.as_deref());
            match stream {
                Stream::Tcp(stream) => ask(stream, protocol, path, host).await,
                Stream::Unix(stream) => ask(stream, protocol, path, host).await,
                Stream::Tls(mut stream) => {
                    ask(&mut stream, protocol, path, host).await?;
                    // It has answered: that it does not hear the end of it is no matter.
                    let _ = stream.shutdown().await;
                    Ok(())
                }
            }
        };
        match timeout(PROBE_TIME, probe).await {
            Ok(probed) => probed,
            Err(_) => Err(format!("the probe was not answered within {}", units::show_duration(PROBE_TIME))),
        }
    }
}

fn why(fault: Fault) -> &'static str {
    match fault {
        Fault::Connection => "connections have failed one after the other",
        Fault::Answer => "it has answered 502, 503 or 504 too often, or not in time",
    }
}

/// Asks for `path`, if there is one: 2xx and 3xx pass.
async fn ask(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    protocol: Protocol,
    path: Option<&str>,
    host: &str,
) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let failed = |error: io::Error| match tls::refusal(&error) {
        Some(why) => why,
        None => format!("GET {path}: {error}"),
    };
    let question = match protocol {
        Protocol::Http | Protocol::Https => {
            let fields = format!("Host: {host}\r\nUser-Agent: tierce-probe\r\nConnection: close\r\n");
            format!("GET {path} HTTP/1.1\r\n{fields}\r\n").into_bytes()
        }
        Protocol::Uwsgi => packet(path, host).map_err(|refusal| format!("GET {path}: {}", refusal.why))?,
    };
    stream.write_all(&question).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let (mut input, mut head) = (Vec::new(), ReceivedHead::default());
    loop {
        if stream.read_buf(&mut input).await.map_err(failed)? == 0 {
            return Err(format!("GET {path}: the connection was closed without an answer"));
        }
        match http::parse_response(&input, &PROBE_LIMITS, false, &mut head) {
            Ok(Some(length)) if head.is_interim() => drop(input.drain(..length)),
            Ok(Some(_)) if matches!(head.status, 200..=399) => return Ok(()),
            Ok(Some(_)) => return Err(format!("GET {path}: status {}", head.status)),
            Ok(None) => {}
            Err(refusal) => return Err(format!("GET {path}: {}", refusal.why)),
        }
    }
}

/// The same question in uwsgi.
fn packet(path: &str, host: &str) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    let mut packet = PacketWriter::begin(&mut out);
    let (plain, query) = path.split_once('?').unwrap_or((path, ""));
    packet.path(b"PATH_INFO", plain.as_bytes());
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", path),
        ("SCRIPT_NAME", ""),
        ("QUERY_STRING", query),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", name),
        ("SERVER_PORT", port),
        ("REQUEST_SCHEME", "http"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", host),
        ("HTTP_USER_AGENT", "tierce-probe"),
    ] {
        packet.variable(name.as_bytes(), value.as_bytes());
    }
    packet.end().map(|()| out)
}

/// Spreads what would happen at the same time.
#[derive(Debug, Default)]
struct Jitter(RandomState);

impl Jitter {
    /// A tenth more or less.
    fn vary(&self, usual: Duration) -> Duration {
        let part = self.0.hash_one(Instant::now()) % 1000;
        usual.mul_f64(0.9 + part as f64 / 5000.0)
    }
}
