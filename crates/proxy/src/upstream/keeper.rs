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

use config::{UpstreamAddress, UpstreamRole};
use http::{Limits, ReceivedHead};
use policy::{Health, HealthChange, HealthRules, HealthState, Load, NodeLabel, Rank, Shared, Standing};
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
use crate::stream::Stream;

/// A probe that takes longer has failed.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// An upstream that has not answered yet is looked at so often, so that it is there soon.
const STARTING_EVERY: Duration = Duration::from_millis(50);

/// What a probe reads of a response.
const PROBE_LIMITS: Limits = Limits { head: 64 * 1024, target: 0, fields: 256, field: 32 * 1024 };

/// The upstreams of one service; on a local task set. Dropping it ends the probes.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
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
    /// Keeps these upstreams from now on, which get requests through `shared`.
    pub fn start(shared: &Arc<Shared>, config: (&config::Config, &tls::Clients), sink: &LogSink) -> Self {
        let (table, _) = watch::channel(Arc::default());
        let mut keeper = Self { shared: Arc::clone(shared), table, sink: sink.clone(), tasks: Vec::new() };
        keeper.follow(config);
        keeper
    }

    /// The list, for the edge.
    pub fn table(&self) -> watch::Receiver<Arc<UpstreamTable>> {
        self.table.subscribe()
    }

    /// Follows the configuration: what stays as it was keeps its health and its connections; what has gone finishes what it
    /// has. Returns how many came and went.
    pub fn follow(&mut self, (config, clients): (&config::Config, &tls::Clients)) -> (usize, usize) {
        let now = Instant::now();
        let probe = Arc::new(config.health.clone());
        let same_probe = |task: &Arc<Upstream>| config.upstreams.contains(&task.config);
        let (stay, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.tasks).into_iter().partition(|(u, _)| same_probe(u));
        let left = gone.len();
        for (upstream, task) in gone {
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
        let known = self.tasks.len();
        for wanted in &config.upstreams {
            if !self.tasks.iter().any(|(upstream, _)| upstream.config == *wanted) {
                let upstream = Arc::new(Upstream::new(wanted, clients.of(wanted), &probe, &self.shared));
                self.keep(upstream, &probe);
            }
        }
        let table = self.tasks.iter().map(|(upstream, _)| Arc::clone(upstream)).collect();
        self.table.send_replace(Arc::new(table));
        (self.tasks.len() - known, left)
    }

    /// Changes how the upstream with this address takes part; returns how it does now, and how many requests it has.
    ///
    /// # Errors
    ///
    /// The addresses that there are, when there is no such.
    pub fn stand(&self, address: &str, change: impl FnOnce(&mut Standing)) -> Result<(Standing, u32), Vec<String>> {
        let mut upstreams = self.tasks.iter().map(|(upstream, _)| upstream);
        let Some(upstream) = upstreams.find(|upstream| upstream.label.name == address) else {
            return Err(self.tasks.iter().map(|(upstream, _)| upstream.label.name.clone()).collect());
        };
        let standing = self.shared.change(Instant::now(), |dispatch| {
            let mut standing = dispatch.standing(upstream.node);
            change(&mut standing);
            dispatch.set_standing(upstream.node, standing);
            standing
        });
        Ok((standing, self.shared.load(upstream.worker).in_flight))
    }

    /// How each of them is.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        self.tasks.iter().map(|(upstream, _)| upstream.status()).collect()
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
            HealthState::Ejected { until } => next.min(until),
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
            upstream.tell_of_ejection(sink);
        } else if let Some(change) = upstream.change_health(|health| health.look(Instant::now())) {
            upstream.apply(change);
            sink.message(&format!("{name} gets requests again, to see how it is"));
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
        let (node, worker) = shared
            .change(Instant::now(), |dispatch| dispatch.add_upstream(config.weight, rank, config.max_concurrency));
        let rules = HealthRules { fall: probe.fail, rise: probe.rise };
        Self {
            config: config.clone(),
            node,
            worker,
            label: Arc::new(NodeLabel { name: config.address.to_string(), generation: 1 }),
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

    fn apply(&self, change: HealthChange) {
        self.shared.change(Instant::now(), |dispatch| match change {
            HealthChange::Up => dispatch.resume_worker(self.worker),
            HealthChange::Down => dispatch.drain_worker(self.worker),
            HealthChange::Eject(_) => {}
        });
    }

    fn tell_of_ejection(&self, sink: &LogSink) {
        let name = &self.label.name;
        match self.state() {
            HealthState::Ejected { until } => {
                let left = until.saturating_duration_since(Instant::now());
                let left =
                    units::show_duration(Duration::from_secs(left.as_secs() + u64::from(0 < left.subsec_nanos())));
                sink.message(&format!(
                    "{name} gets no requests for {left}: connections have failed one after the other"
                ));
            }
            _ => sink.message(&format!("{name} fails, but is the last one that takes requests")),
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

    fn status(&self) -> UpstreamStatus {
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
            HealthState::Ejected { .. } => {
                let why = self.trouble().map(|why| format!(": {why}")).unwrap_or_default();
                ("unhealthy", Some(format!("connections have failed{why}")))
            }
        };
        let load = self.shared.load(self.worker);
        let standing = self.shared.standing(self.node);
        UpstreamStatus { address: self.label.name.clone(), host, state, trouble, load, standing, since: self.since }
    }

    /// Connects, and asks for the path if there is one.
    async fn probe(&self, rules: &config::Health) -> Result<(), String> {
        let host = match &self.config.address {
            UpstreamAddress::Unix { .. } => "localhost",
            UpstreamAddress::Tcp { .. } => self.label.name.as_str(),
        };
        let probe = async {
            let header = open::header(self.config.proxy_protocol, None);
            let (stream, _) = open::open(self, &header).await.map_err(|unreached| unreached.to_string())?;
            let path = rules.path.as_deref();
            match stream {
                Stream::Tcp(stream) => ask(stream, path, host).await,
                Stream::Unix(stream) => ask(stream, path, host).await,
                Stream::Tls(mut stream) => {
                    ask(&mut stream, path, host).await?;
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

/// Asks for `path`, if there is one: 2xx and 3xx pass.
async fn ask(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    path: Option<&str>,
    host: &str,
) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let failed = |error: io::Error| match tls::refusal(&error) {
        Some(why) => why,
        None => format!("GET {path}: {error}"),
    };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tierce-probe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
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
