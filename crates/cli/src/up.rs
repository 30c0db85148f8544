//! `tierce up`: everything is prepared step by step, then it runs.

use std::{
    cell::OnceCell,
    io::IsTerminal,
    rc::{Rc, Weak},
    sync::Arc,
    time::Instant,
};

use config::{AccessLog, Config, Listen, Workers};
use control::{Admin, AdminBound, Place, Recorded, Server, Sight, wanted_nodes};
use policy::Shared;
use proxy::{Address, Backend, Bound, Reader, Settings};
use supervise::{
    Explanation, Extension, Interpreter, ListenerName, Parts, PrepareError, StartError, Step, Supervisor, Watch,
};
use telemetry::{LineFormat, LogSink, Messages, Output};
use tokio::{sync::watch, task::LocalSet};

use crate::{
    args::{Args, Up, name_and_number},
    balance, certificates, detach, edge,
    exit::Exit,
    failure::Failure,
    notify::notify,
    project,
    refuse::{Refusal, cannot_bind, cannot_bind_admin, cannot_lock, cannot_start, status},
    running::Running,
    say,
    signals::Signals,
    steps::Steps,
};

/// The worker extension, built with this binary.
pub(crate) static WORKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tierce_worker.so"));

pub(crate) fn run(args: &Args, up: &Up) -> Exit {
    // As in Compose, whoever waits does not want to be in the foreground.
    if (up.detach || up.wait) && !detach::is_detached() {
        return detach::start(args);
    }
    let overrides = project::overrides(up);
    match project::load_or_say(args, &overrides) {
        Ok(config) if !config.upstreams.is_empty() => edge::serve(args, config, overrides),
        Ok(config) => match prepare(args, up, config) {
            Ok(prepared) => prepared.run(args, up),
            Err(exit) => exit,
        },
        Err(exit) => exit,
    }
}

struct Prepared {
    config: Config,
    nodes: u32,
    place: Place,
    /// Not there only while an application is developed, which then cannot be loaded.
    interpreter: Result<Interpreter, PrepareError>,
    bound: Bound,
    admin: Option<AdminBound>,
    /// Of the https listeners, if there are any.
    certificates: Option<tls::Store>,
    began: Instant,
    // Given back when everything else has ended.
    _lock: control::RunLock,
}

fn prepare(args: &Args, up: &Up, config: Config) -> Result<Prepared, Exit> {
    let began = Instant::now();
    let scale = wanted_scale(up, &config)?;
    let place = Place::of(&config.project, &project::environment());
    let lock = place.lock().map_err(|error| cannot_lock(&error, &place).say())?;
    if let Some(found) = &config.app.found_in {
        let file = found.strip_prefix(&config.project).unwrap_or(found).display();
        let step = Step::Note { what: format!("found {} in {file}", config.app) };
        Steps::new(args).show(step);
    }
    let interpreter = match find_interpreter(args, &config) {
        Err(error) if !up.reload => return Err(not_prepared(error).say()),
        found => found,
    };
    let Listeners { bound, admin, certificates } = listen(&config, &place)?;
    let recorded = Recorded::read(&place);
    let nodes = wanted_nodes(scale, recorded, config.nodes);
    if scale.is_none() && recorded.is_some() && nodes != config.nodes {
        let source = config.file.as_deref().and_then(std::path::Path::file_name);
        let source = source.map_or_else(|| "the default is".to_owned(), |name| format!("{} says", name.display()));
        let nodes = units::plural(nodes, "node");
        Steps::new(args).show(Step::Note { what: format!("{nodes}, as scaled before ({source} {})", config.nodes) });
    }
    Ok(Prepared { config, nodes, place, interpreter, bound, admin, certificates, began, _lock: lock })
}

/// All that is listened on.
pub(crate) struct Listeners {
    pub(crate) bound: Bound,
    pub(crate) admin: Option<AdminBound>,
    /// Of the https listeners, if there are any.
    pub(crate) certificates: Option<tls::Store>,
}

pub(crate) fn listen(config: &Config, place: &Place) -> Result<Listeners, Exit> {
    let certificates = certificates::open(config)?;
    let mut bound = proxy::bind(&config.listen, config.cores as usize).map_err(|error| cannot_bind(&error))?;
    if let Some(store) = &certificates {
        bound.secure(store.server());
    }
    let admin = match &config.admin {
        config::Admin::Off => None,
        config::Admin::Socket => Some(None),
        config::Admin::At(listen) => Some(Some(listen)),
    };
    let admin = admin.map(|listen| AdminBound::bind(listen, place)).transpose();
    let admin = admin.map_err(|error| cannot_bind_admin(&error))?;
    Ok(Listeners { bound, admin, certificates })
}

fn wanted_scale(up: &Up, config: &Config) -> Result<Option<u32>, Exit> {
    let Some(text) = &up.scale else { return Ok(None) };
    match name_and_number(text) {
        Ok((name, nodes)) if name == config.name => Ok(Some(nodes)),
        Ok((name, _)) => {
            say::message(&format!(
                "error: there is no service {name:?}\n  hint: this project has {0}: `tierce up --scale {0}=5`",
                config.name
            ));
            Err(Exit::USAGE)
        }
        Err(text) => {
            say::message(&text);
            Err(Exit::USAGE)
        }
    }
}

/// Records how many nodes run; that it could not be written is said and changes nothing else.
pub(crate) fn record(place: &Place, nodes: u32, config: &Config, sink: &LogSink) {
    if let Err(error) = Recorded::keep(place, nodes, config.nodes) {
        sink.message(&format!("error: the number of nodes could not be recorded for the next start: {error}"));
    }
}

pub(crate) fn interpreter(args: &Args, config: &Config) -> Result<Interpreter, Refusal> {
    find_interpreter(args, config).map_err(not_prepared)
}

fn not_prepared(error: PrepareError) -> Refusal {
    Refusal { explanation: error.0, exit: status(error.1) }
}

fn find_interpreter(args: &Args, config: &Config) -> Result<Interpreter, PrepareError> {
    let mut steps = Steps::new(args);
    supervise::find_or_make(config, &project::environment(), &mut |step| steps.show(step))
}

/// Whom the log is written for.
pub(crate) fn reader() -> Reader {
    // In the background only `tierce logs` reads it.
    if std::io::stdout().is_terminal() || detach::is_detached() { Reader::Person } else { Reader::Program }
}

pub(crate) fn line_format(config: &Config) -> LineFormat {
    match (config.access_log, reader()) {
        (AccessLog::Json, _) | (AccessLog::Auto, Reader::Program) => LineFormat::Json,
        _ => LineFormat::Text,
    }
}

/// Parts for the supervisor.
pub(crate) fn parts(
    config: &Arc<Config>,
    interpreter: &Interpreter,
    place: &Place,
    sink: &LogSink,
    listeners: Vec<ListenerName>,
) -> Result<(Parts, watch::Receiver<Arc<proxy::NodeTable>>), Refusal> {
    let extension = Extension::new(WORKER)
        .map_err(|error| Refusal::failed("the worker's code cannot be put into memory", &error))?;
    let shared = Shared::new(config.limits.queue_length, sys::available_cores());
    let (sender, table) = watch::channel(Arc::default());
    let parts = Parts {
        config: Arc::clone(config),
        interpreter: interpreter.clone(),
        extension,
        state_directory: place.directory().to_owned(),
        sink: sink.clone(),
        shared,
        table: sender,
        edge_threads: config.cores as usize,
        listeners,
    };
    Ok((parts, table))
}

impl Prepared {
    fn run(self, args: &Args, up: &Up) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return Refusal::failed("cannot start", &error).say(),
        };
        let output = if detach::is_detached() { Output::FileOnly } else { Output::Stdout };
        let sink = Messages::start(say::message)
            .and_then(|messages| LogSink::start(self.place.log(), output, line_format(&self.config), messages));
        let sink = match sink {
            Ok(sink) => sink,
            Err(error) => return Refusal::failed("cannot start the log", &error).say(),
        };
        let local = LocalSet::new();
        let ended = local.block_on(&runtime, self.serve(args, up, &sink));
        // Whatever still runs on it ends here, child processes included.
        drop(local);
        let exit = ended.unwrap_or_else(|refusal| {
            sink.messages().show(&refusal.explanation.to_string());
            refusal.exit
        });
        sink.close();
        exit
    }

    async fn serve(self, args: &Args, up: &Up, sink: &LogSink) -> Result<Exit, Refusal> {
        let descriptors = sys::raise_open_files();
        let mut signals = Signals::new().map_err(|error| Refusal::failed("cannot listen for signals", &error))?;
        let config = Arc::new(self.config);
        // Before the application is imported, so that no change is missed.
        let watch = up.reload.then(|| Watch::start(&config)).transpose();
        let watch = watch.map_err(|explanation| Refusal { explanation, exit: Exit::FAILED })?;
        let running = Rc::<OnceCell<Weak<Running>>>::default();
        let _admin = answer_watchers(self.admin, &config, &running)
            .map_err(|error| Refusal::failed("the admin listener cannot be started", &error))?;
        let (python, missing) = match self.interpreter {
            Ok(python) => (python, None),
            Err(PrepareError(why, _)) => (Interpreter::none(), Some(why)),
        };
        let (parts, table) = parts(&config, &python, &self.place, sink, listener_names(&self.bound))?;
        let balancing = balance::prepare(&config, &self.place).map_err(|error| Refusal {
            explanation: Box::new(balance::explain(&error, &self.place)),
            exit: Exit::FAILED,
        })?;
        balance::follow(&parts.shared, &config, balancing);
        let shared = Arc::clone(&parts.shared);
        let started = tokio::select! {
            started = begin(parts, self.nodes, missing.as_deref(), up) => started,
            stop = signals.stop() => {
                if !args.quiet {
                    sink.messages().show("stopped before it was ready");
                }
                return Ok(stop.exit());
            }
        };
        let (supervisor, failure) = started.map_err(|error| cannot_start(&error))?;
        record(&self.place, self.nodes, &config, sink);
        let addresses = self.bound.addresses().to_vec();
        // Before the edge, which must not be stopped in the moment of its start.
        let (server, calls) = Server::start(&self.place)
            .map_err(|error| Refusal::failed(format!("cannot open {}", self.place.socket().display()), &error))?;
        let settings = Settings::new(&config, reader());
        let edge = proxy::serve(self.bound, settings, &shared, &Backend::Workers(table), sink, descriptors)
            .map_err(|error| Refusal::failed("the edge cannot be started", &error))?;
        let place = (self.place, sink.clone());
        let secured = self.certificates;
        let watched = running;
        let running = Running::new((args, up), (supervisor, self.nodes), (edge, secured), shared, place);
        // It is told once.
        let _ = watched.set(Rc::downgrade(&running));
        if let Some(failure) = &failure {
            running.show(failure, None);
            running.settle_gate();
            running.say(&failure.text);
        }
        if !args.quiet {
            let ready = Ready { nodes: self.nodes, addresses: &addresses, began: self.began, develops: up.reload };
            sink.messages().show(&match failure {
                None => announcement(&config, &python, &ready),
                Some(_) => failed_announcement(&config, &ready),
            });
        }
        notify(&detach::ready_state());
        sink.messages().then(detach::ready);
        Ok(running.run(server, calls, &mut signals, watch).await)
    }
}

/// Answers whoever watches, from now on: that it is starting, and later what runs.
fn answer_watchers(
    bound: Option<AdminBound>,
    config: &Config,
    running: &Rc<OnceCell<Weak<Running>>>,
) -> std::io::Result<Option<Admin>> {
    let (running, name) = (Rc::clone(running), config.name.clone());
    let look = move || match running.get().and_then(Weak::upgrade) {
        Some(running) => running.sight(),
        None => Sight::of_start(&name),
    };
    bound.map(|bound| Admin::start(bound, look)).transpose()
}

/// Starts everything; `missing` says why there is no Python for it. While an application is developed it is no reason to
/// end that it cannot be loaded: that is returned, to be shown.
async fn begin(
    parts: Parts,
    nodes: u32,
    missing: Option<&Explanation>,
    up: &Up,
) -> Result<(Supervisor, Option<Failure>), StartError> {
    if !up.reload {
        return Ok((Supervisor::start(parts, nodes).await?, None));
    }
    let project = parts.config.project.clone();
    let supervisor = Supervisor::without_nodes(parts);
    let failure = |why: &Explanation| Some(Failure::of_explanation(why, &project, Exit::CONFIG));
    let failure = match missing {
        Some(why) => failure(why),
        None => supervisor.scale(nodes).await.err().and_then(|error| failure(&error.explanation())),
    };
    Ok((supervisor, failure))
}

fn listener_names(bound: &Bound) -> Vec<ListenerName> {
    let system = rustix::system::uname();
    let machine = system.nodename().to_str().ok().filter(|name| !name.is_empty()).unwrap_or("localhost");
    let name = |address: &Address| match address {
        Address::Tcp { host, port, .. } => {
            ListenerName { name: server_name(host, machine), port: port.to_string(), scheme: "http".to_owned() }
        }
        Address::Unix { .. } => {
            ListenerName { name: "localhost".to_owned(), port: "80".to_owned(), scheme: "http".to_owned() }
        }
    };
    bound.addresses().iter().map(name).collect()
}

/// What `SERVER_NAME` says (RFC 3875 §4.1.14): an IPv6 address in brackets, and this machine's name for a wildcard, which
/// is no name that a client could use.
fn server_name(host: &str, machine: &str) -> String {
    match host {
        "0.0.0.0" | "::" => machine.to_owned(),
        // A zone says something only on this machine.
        host if host.contains(':') => format!("[{}]", host.split('%').next().unwrap_or(host)),
        host => host.to_owned(),
    }
}

/// Whether the addresses have changed, which needs a restart of Tierce itself.
pub(crate) fn listens_elsewhere(before: &[Listen], now: &[Listen]) -> bool {
    before != now
}

/// What is said when it serves.
struct Ready<'a> {
    nodes: u32,
    addresses: &'a [Address],
    began: Instant,
    develops: bool,
}

impl Ready<'_> {
    /// A wildcard is no address that a browser can open.
    fn shown(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().map(|address| address.to_string().replace("://0.0.0.0:", "://localhost:"))
    }
}

fn announcement(config: &Config, interpreter: &Interpreter, ready: &Ready<'_>) -> String {
    let program = say::program();
    let (nodes, workers) = (units::plural(ready.nodes, "node"), workers(config.workers));
    let mut lines = vec![format!("✓ {} on {interpreter}: {nodes} of {workers}", config.app)];
    let develops = if ready.develops { ", reloads when a file changes" } else { "" };
    for shown in ready.shown() {
        lines.push(format!("✓ {shown}  ready in {:.1} s{develops}", ready.began.elapsed().as_secs_f64()));
    }
    lines.extend(certificates::how_to_trust(config));
    let mut next = vec![format!("{program} scale {}={}", config.name, ready.nodes.max(1) + 1)];
    next.extend(["ps", "logs -f", "reload"].map(|command| format!("{program} {command}")));
    next.push(if detach::is_detached() { format!("{program} down") } else { "Ctrl-C to stop".to_owned() });
    lines.extend(say::folded(&next));
    lines.join("\n")
}

fn workers(workers: Workers) -> String {
    if workers.adapts() { format!("{workers} workers") } else { units::plural(workers.least, "worker") }
}

fn failed_announcement(config: &Config, ready: &Ready<'_>) -> String {
    let line = |shown| format!("✗ {shown}  shows why {} cannot be loaded; waiting for a change", config.app);
    ready.shown().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_names_that_are_hosts_in_a_url() {
        for (host, expected) in [
            ("example.org", "example.org"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("fe80::1%eth0", "[fe80::1]"),
            ("0.0.0.0", "machine"),
            ("::", "machine"),
        ] {
            assert_eq!(server_name(host, "machine"), expected, "{host}");
        }
    }
}
