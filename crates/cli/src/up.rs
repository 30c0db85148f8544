//! `tierce up`: everything is prepared step by step, then it runs.

use std::{io::IsTerminal, sync::Arc, time::Instant};

use config::{AccessLog, Config, Listen};
use control::{Place, Recorded, Server, wanted_nodes};
use policy::Shared;
use proxy::{Address, Bound, Reader, Settings};
use supervise::{Explanation, Extension, Interpreter, ListenerName, Parts, Step, Supervisor};
use telemetry::{LineFormat, LogSink, Output};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::LocalSet,
};

use crate::{
    args::{Args, Up, name_and_number},
    detach,
    exit::Exit,
    notify::notify,
    project,
    refuse::{cannot_bind, cannot_lock, cannot_start, fail},
    running, say,
    steps::Steps,
};

/// The worker extension, built with this binary.
pub(crate) static WORKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tierce_worker.so"));

pub(crate) fn run(args: &Args, up: &Up) -> Exit {
    if up.detach && !detach::is_detached() {
        return detach::start(args);
    }
    match prepare(args, up) {
        Ok(prepared) => prepared.run(args, up),
        Err(exit) => exit,
    }
}

struct Prepared {
    config: Config,
    nodes: u32,
    place: Place,
    interpreter: Interpreter,
    bound: Bound,
    began: Instant,
    // Given back when everything else has ended.
    _lock: control::RunLock,
}

fn prepare(args: &Args, up: &Up) -> Result<Prepared, Exit> {
    let began = Instant::now();
    let config = project::load_or_say(args, &project::overrides(up))?;
    let scale = wanted_scale(up, &config)?;
    let place = Place::of(&config.project, &project::environment());
    let lock = place.lock().map_err(|error| cannot_lock(&error, &place))?;
    if let Some(found) = &config.app.found_in {
        let file = found.strip_prefix(&config.project).unwrap_or(found).display();
        let step = Step::Note { what: format!("found {} in {file}", config.app) };
        Steps::new(args).show(step);
    }
    let interpreter = interpreter(args, &config)?;
    let bound = proxy::bind(&config.listen, config.cores as usize).map_err(|error| cannot_bind(&error))?;
    let recorded = Recorded::read(&place);
    let nodes = wanted_nodes(scale, recorded, config.nodes);
    if let Some(wanted) = scale {
        record(&place, Recorded::new(wanted, config.nodes));
    } else if recorded.is_some() && nodes != config.nodes {
        Steps::new(args)
            .show(Step::Note { what: format!("{nodes} nodes, as scaled before (tierce.toml says {})", config.nodes) });
    }
    Ok(Prepared { config, nodes, place, interpreter, bound, began, _lock: lock })
}

fn wanted_scale(up: &Up, config: &Config) -> Result<Option<u32>, Exit> {
    let Some(text) = &up.scale else { return Ok(None) };
    match name_and_number(text) {
        Ok((name, nodes)) if name == config.name => Ok(Some(nodes)),
        Ok((name, _)) => {
            say::message(&format!(
                "error: there is no service {name:?}\n  hint: this project has {0}: --scale {0}=5",
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

/// Writes a record; that it could not be written is said and changes nothing else.
pub(crate) fn record(place: &Place, recorded: Recorded) {
    if let Err(error) = recorded.write(place) {
        say::message(&format!("error: the number of nodes could not be recorded for the next start: {error}"));
    }
}

pub(crate) fn interpreter(args: &Args, config: &Config) -> Result<Interpreter, Exit> {
    let mut steps = Steps::new(args);
    let found = supervise::find_or_make(config, &project::environment(), &mut |step| steps.show(step));
    drop(steps);
    found.map_err(|error| fail(&error.0, Exit::CONFIG))
}

/// What stops a running Tierce from outside.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) interrupt: Signal,
    pub(crate) terminate: Signal,
    pub(crate) hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that asks to stop.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whom the log is written for.
pub(crate) fn reader() -> Reader {
    // In the background only `tierce logs` reads it.
    if std::io::stdout().is_terminal() || detach::is_detached() { Reader::Person } else { Reader::Program }
}

fn line_format(config: &Config) -> LineFormat {
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
) -> Result<(Parts, watch::Receiver<Arc<proxy::NodeTable>>), Exit> {
    let extension = Extension::new(WORKER).map_err(|error| {
        fail(&Explanation::new("the worker's code cannot be put into memory").cause(error.to_string()), Exit::FAILED)
    })?;
    let shared = Shared::new(config.limits.queue_length, sys::available_cores());
    shared.change(Instant::now(), |dispatch| dispatch.bound_in_flight(config.limits.in_flight));
    let (sender, table) = watch::channel(Arc::default());
    let parts = Parts {
        config: Arc::clone(config),
        interpreter: interpreter.path.clone(),
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
            Err(error) => return fail(&Explanation::new("cannot start").cause(error.to_string()), Exit::FAILED),
        };
        let output = if detach::is_detached() { Output::FileOnly } else { Output::Stdout };
        let sink = match LogSink::start(self.place.log(), output, line_format(&self.config)) {
            Ok(sink) => sink,
            Err(error) => {
                return fail(&Explanation::new("cannot start the log").cause(error.to_string()), Exit::FAILED);
            }
        };
        let local = LocalSet::new();
        let exit = local.block_on(&runtime, self.serve(args, up, &sink));
        // Whatever still runs on it ends here, child processes included.
        drop(local);
        sink.close();
        exit
    }

    async fn serve(self, args: &Args, up: &Up, sink: &LogSink) -> Exit {
        let descriptors = sys::raise_open_files();
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                return fail(&Explanation::new("cannot listen for signals").cause(error.to_string()), Exit::FAILED);
            }
        };
        let config = Arc::new(self.config);
        let (parts, table) = match parts(&config, &self.interpreter, &self.place, sink, listener_names(&self.bound)) {
            Ok(parts) => parts,
            Err(exit) => return exit,
        };
        let shared = Arc::clone(&parts.shared);
        let started = tokio::select! {
            started = Supervisor::start(parts, self.nodes) => started,
            () = signals.stop() => return Exit::INTERRUPTED,
        };
        let supervisor = match started {
            Ok(supervisor) => supervisor,
            Err(error) => return cannot_start(&error),
        };
        let addresses = self.bound.addresses().to_vec();
        // Before the edge, which must not be stopped in the moment of its start.
        let (server, calls) = match Server::start(&self.place) {
            Ok(started) => started,
            Err(error) => {
                let what = format!("cannot open {}", self.place.socket().display());
                return fail(&Explanation::new(what).cause(error.to_string()), Exit::FAILED);
            }
        };
        let edge = match proxy::serve(self.bound, Settings::new(&config, reader()), &shared, &table, sink, descriptors)
        {
            Ok(edge) => edge,
            Err(error) => return fail(&Explanation::new(error.to_string()), Exit::FAILED),
        };
        if !args.quiet {
            announce(&config, self.nodes, &self.interpreter, &addresses, self.began);
        }
        notify(&detach::ready_state());
        detach::ready();
        let running = running::Running::new(args, up, supervisor, edge, shared, (self.place, sink.clone()));
        running.run(server, calls, &mut signals).await
    }
}

fn listener_names(bound: &Bound) -> Vec<ListenerName> {
    let name = |address: &Address| match address {
        Address::Tcp { host, port, .. } => {
            ListenerName { name: host.clone(), port: port.to_string(), scheme: "http".to_owned() }
        }
        Address::Unix { .. } => {
            ListenerName { name: "localhost".to_owned(), port: "80".to_owned(), scheme: "http".to_owned() }
        }
    };
    bound.addresses().iter().map(name).collect()
}

/// Whether the addresses have changed, which needs a restart of Tierce itself.
pub(crate) fn listens_elsewhere(before: &[Listen], now: &[Listen]) -> bool {
    before != now
}

fn announce(config: &Config, nodes: u32, interpreter: &Interpreter, addresses: &[Address], began: Instant) {
    let program = say::program();
    let plural = |count: u32, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    say::message(&format!(
        "✓ {} on {}: {} of {}",
        config.app,
        interpreter,
        plural(nodes, "node"),
        plural(config.workers, "worker")
    ));
    for address in addresses {
        // A wildcard is no address that a browser can open.
        let shown = address.to_string().replace("http://0.0.0.0:", "http://localhost:");
        say::message(&format!("✓ {shown}  ready in {:.1} s", began.elapsed().as_secs_f64()));
    }
    let stop = if detach::is_detached() { format!("{program} down") } else { "Ctrl-C".to_owned() };
    say::message(&format!(
        "  {program} scale {}={}   {program} ps   {program} logs -f   {program} reload   {stop} to stop",
        config.name,
        nodes.max(1) + 1
    ));
}
