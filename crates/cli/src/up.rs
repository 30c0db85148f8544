//! `tierce up`, `tierce edge` and `tierce node`: everything is prepared step by step, then it runs.
//!
//! Invariant: nothing is started before all that can be refused was looked at, and whatever was started ends with this.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io::{self, IsTerminal},
    rc::{Rc, Weak},
    sync::Arc,
    time::Instant,
};

use config::{AccessLog, Config, Overrides};
use control::{Admin, AdminBound, Place, Recorded, Server, Sight, wanted_nodes};
use policy::Shared;
use proxy::{Keepers, NodeTable, Reader, Settings};
use supervise::{Explanation, Extension, Front, Interpreter, Parts, PrepareError, StartError, Step, Supervisor, Watch};
use sys::Side;
use telemetry::{LineFormat, LogSink, Messages, Output};
use tokio::{sync::watch, task::LocalSet};

use crate::{
    announce::Ready,
    application::Application,
    args::{Args, Contained, Edge, Up, name_and_number},
    balance::{self, Balancing},
    certificates::{self, Certificates},
    detach,
    exit::Exit,
    failure::Failure,
    listeners::{Listeners, listen, listener_names},
    notify::notify,
    project,
    refuse::{Refusal, cannot_lock, cannot_start, no_place, status},
    running::{Running, services},
    say,
    signals::Signals,
    steps::Steps,
};

/// The worker extension, built with this binary.
pub(crate) static WORKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tierce_worker.so"));

/// What an application is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Used,
    /// `--reload`
    Developed,
}

pub(crate) fn run(args: &Args, up: &Up) -> Exit {
    // As in Compose, whoever waits does not want to be in the foreground.
    if (up.detach || up.wait) && !detach::is_detached() {
        return detach::start(args);
    }
    let manner = if up.reload { Manner::Developed } else { Manner::Used };
    begin(args, project::overrides(up), up.scale.as_deref(), manner)
}

pub(crate) fn edge(args: &Args, edge: &Edge) -> Exit {
    if edge.detach && !detach::is_detached() {
        return detach::start(args);
    }
    begin(args, project::edge_overrides(edge), None, Manner::Used)
}

/// In a container this is its first process; two processes of it go on.
pub(crate) fn node(args: &Args, node: &Contained) -> Exit {
    match sys::become_init() {
        Ok(Side::Outer(status)) => Exit(status),
        Ok(Side::Inner) => begin(args, project::node_overrides(node), None, Manner::Used),
        Err(error) => Refusal::failed("the second process of a node cannot be started", &error).say(),
    }
}

fn begin(args: &Args, overrides: Overrides, scale: Option<&str>, manner: Manner) -> Exit {
    let prepared =
        project::load_or_say(args, &overrides).and_then(|config| prepare(args, (config, overrides), scale, manner));
    match prepared {
        Ok(prepared) => prepared.run(args),
        Err(exit) => exit,
    }
}

struct Prepared {
    config: Config,
    overrides: Overrides,
    place: Place,
    app: Option<PreparedApp>,
    listeners: Listeners,
    /// What upstreams are met with.
    clients: tls::Clients,
    began: Instant,
    // Given back when everything else has ended.
    _lock: control::RunLock,
}

struct PreparedApp {
    nodes: u32,
    manner: Manner,
    /// Not there only while the application is developed, which then cannot be loaded.
    interpreter: Result<Interpreter, PrepareError>,
}

fn prepare(
    args: &Args,
    (config, overrides): (Config, Overrides),
    scale: Option<&str>,
    manner: Manner,
) -> Result<Prepared, Exit> {
    let began = Instant::now();
    let scale = wanted_scale(scale, &config)?;
    let place = place(&config)?;
    let lock = place.lock().map_err(|error| cannot_lock(&error, &place).say())?;
    let interpreter = if config.has_app() { Some(prepare_interpreter(args, &config, manner)?) } else { None };
    let listeners = listen(&config, &place)?;
    let clients = certificates::open_clients(&config)?;
    let app =
        interpreter.map(|interpreter| PreparedApp { nodes: nodes(args, &config, &place, scale), manner, interpreter });
    Ok(Prepared { config, overrides, place, app, listeners, clients, began, _lock: lock })
}

fn place(config: &Config) -> Result<Place, Exit> {
    let environment = project::environment();
    match config.node {
        Some(_) => Place::of_node(&config.project, &environment).map_err(|error| no_place(&error).say()),
        None => Ok(Place::of(&config.project, &environment)),
    }
}

fn prepare_interpreter(
    args: &Args,
    config: &Config,
    manner: Manner,
) -> Result<Result<Interpreter, PrepareError>, Exit> {
    if let Some(found) = &config.app.found_in {
        let file = found.strip_prefix(&config.project).unwrap_or(found).display();
        let step = Step::Note { what: format!("found {} in {file}", config.app) };
        Steps::new(args).show(step);
    }
    match find_interpreter(args, config) {
        Err(error) if manner == Manner::Used => Err(not_prepared(error).say()),
        found => Ok(found),
    }
}

/// How many there shall be: as it was said now, or when it was scaled last, or in the configuration.
fn nodes(args: &Args, config: &Config, place: &Place, scale: Option<u32>) -> u32 {
    if config.node.is_some() {
        return 1;
    }
    let recorded = Recorded::read(place);
    let nodes = wanted_nodes(scale, recorded, config.nodes);
    if scale.is_none() && recorded.is_some() && nodes != config.nodes {
        let source = config.file.as_deref().and_then(std::path::Path::file_name);
        let source = source.map_or_else(|| "the default is".to_owned(), |name| format!("{} says", name.display()));
        let nodes = units::plural(nodes, "node");
        Steps::new(args).show(Step::Note { what: format!("{nodes}, as scaled before ({source} {})", config.nodes) });
    }
    nodes
}

fn wanted_scale(scale: Option<&str>, config: &Config) -> Result<Option<u32>, Exit> {
    let Some(text) = scale else { return Ok(None) };
    match name_and_number(text) {
        Ok((name, nodes)) if name == config.name && config.has_app() => Ok(Some(nodes)),
        Ok((name, _)) => {
            let hint = match config.has_app() {
                true => format!("this project has {0}: `tierce up --scale {0}=5`", config.name),
                false => "there is no application here: other servers answer (`upstream`)".to_owned(),
            };
            say::message(&format!("error: there is no service {name:?} with nodes\n  hint: {hint}"));
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
    if io::stdout().is_terminal() || detach::is_detached() { Reader::Person } else { Reader::Program }
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
    front: Front,
) -> Result<(Parts, watch::Receiver<Arc<NodeTable>>), Refusal> {
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
        front: Rc::new(front),
    };
    Ok((parts, table))
}

impl Prepared {
    fn run(self, args: &Args) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return Refusal::failed("cannot start", &error).say(),
        };
        let sink = match self.log() {
            Ok(sink) => sink,
            Err(error) => return Refusal::failed("cannot start the log", &error).say(),
        };
        let local = LocalSet::new();
        let ended = local.block_on(&runtime, self.serve(args, &sink));
        // Whatever still runs on it ends here, child processes included.
        drop(local);
        let exit = ended.unwrap_or_else(|refusal| {
            sink.messages().show(&refusal.explanation.to_string());
            refusal.exit
        });
        sink.close();
        exit
    }

    fn log(&self) -> io::Result<LogSink> {
        let (messages, format) = (Messages::start(say::message)?, line_format(&self.config));
        match &self.config.node {
            Some(node) => LogSink::start_of_node(node, format, messages),
            None => {
                let output = if detach::is_detached() { Output::FileOnly } else { Output::Stdout };
                LogSink::start(self.place.log(), output, format, messages)
            }
        }
    }

    async fn serve(self, args: &Args, sink: &LogSink) -> Result<Exit, Refusal> {
        let descriptors = sys::raise_open_files();
        let mut signals = Signals::new().map_err(|error| Refusal::failed("cannot listen for signals", &error))?;
        let config = Arc::new(self.config);
        let Listeners { bound, admin, certificates } = self.listeners;
        // Before the application is imported, so that no change is missed.
        let develops = self.app.as_ref().is_some_and(|app| app.manner == Manner::Developed);
        let watch = develops.then(|| Watch::start(&config)).transpose();
        let watch = watch.map_err(|explanation| Refusal { explanation, exit: Exit::FAILED })?;
        let watched = Rc::<OnceCell<Weak<Running>>>::default();
        let admin = answer_watchers(admin, &config, &watched);
        let balancing = balance::prepare(&config, &self.place).map_err(|error| Refusal {
            explanation: Box::new(balance::explain(&error, &self.place)),
            exit: Exit::FAILED,
        })?;
        let upstreams = Keepers::start((&config, &self.clients), sink);
        upstreams.services().iter().for_each(|service| balancing.follow(&service.shared, &service.name));
        let started = async {
            match self.app {
                Some(app) => {
                    let front = Front { threads: config.cores as usize, listeners: listener_names(bound.numbered()) };
                    app.start((&config, &balancing), &self.place, sink, front).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let started = tokio::select! {
            started = started => started?,
            stop = signals.stop() => {
                if !args.quiet {
                    sink.messages().show("stopped before it was ready");
                }
                return Ok(stop.exit());
            }
        };
        let (app, python, failure) = match started {
            Some((app, python, failure)) => (Some(app), Some(python), failure),
            None => (None, None, None),
        };
        let addresses = bound.addresses();
        // Before the edge, which must not be stopped in the moment of its start.
        let (server, calls) = Server::start(&self.place)
            .map_err(|error| Refusal::failed(format!("cannot open {}", self.place.socket().display()), &error))?;
        let settings = Settings::new(&config, reader(), services(app.as_ref(), &upstreams, &config));
        let edge = proxy::serve(bound, settings, sink, descriptors)
            .map_err(|error| Refusal::failed("the edge cannot be started", &error))?;
        let (again, overrides) = (project::again(args), self.overrides);
        let running = Rc::new(Running {
            load: Box::new(move || again(&overrides)),
            config: RefCell::new(Arc::clone(&config)),
            app,
            upstreams: RefCell::new(upstreams),
            metrics: edge.metrics(),
            edge: RefCell::new(Some(edge)),
            admin: RefCell::new(admin),
            certificates: Certificates::new(certificates, sink.clone(), args.quiet),
            place: self.place,
            sink: sink.clone(),
            quiet: args.quiet,
            reloads: [const { Cell::new(0) }; 2],
        });
        // It is told once.
        let _ = watched.set(Rc::downgrade(&running));
        if let (Some(failure), Some(app)) = (&failure, &running.app) {
            running.show(app, failure, None);
            app.settle_gate();
            running.say(&failure.text);
        }
        if !args.quiet {
            let app = running.app.as_ref().zip(python.as_ref());
            let ready = Ready { config: &config, app, addresses: &addresses, began: self.began };
            sink.messages().show(&ready.announcement());
        }
        running.tell_of_grace();
        notify(&detach::ready_state());
        sink.messages().then(detach::ready);
        Ok(running.run(server, calls, &mut signals, watch).await)
    }
}

/// Answers whoever watches, from now on: that it is starting, and later what runs.
fn answer_watchers(bound: AdminBound, config: &Config, running: &Rc<OnceCell<Weak<Running>>>) -> Admin {
    let running = Rc::clone(running);
    let app = Some(config.name.clone()).filter(|_| config.has_app());
    let names: Vec<_> = app.into_iter().chain(config.services().into_iter().map(|service| service.name)).collect();
    Admin::start(bound, move || match running.get().and_then(Weak::upgrade) {
        Some(running) => running.sight(),
        None => Sight::of_start(&names),
    })
}

impl PreparedApp {
    /// Starts it. While it is developed it is no reason to end that it cannot be loaded: that is returned, to be shown.
    async fn start(
        self,
        (config, balancing): (&Arc<Config>, &Balancing),
        place: &Place,
        sink: &LogSink,
        front: Front,
    ) -> Result<(Application, Interpreter, Option<Failure>), Refusal> {
        let Self { nodes, manner, interpreter } = self;
        let (python, missing) = match interpreter {
            Ok(python) => (python, None),
            Err(PrepareError(why, _)) => (Interpreter::none(), Some(why)),
        };
        let (parts, table) = parts(config, &python, place, sink, front)?;
        let shared = Arc::clone(&parts.shared);
        balancing.follow(&shared, &config.name);
        let started = start_nodes(parts, nodes, missing.as_deref(), manner).await;
        let (supervisor, failure) = started.map_err(|error| cannot_start(&error))?;
        record(place, nodes, config, sink);
        Ok((Application::new((supervisor, nodes), shared, table, manner), python, failure))
    }
}

/// `missing` says why there is no Python for it.
async fn start_nodes(
    parts: Parts,
    nodes: u32,
    missing: Option<&Explanation>,
    manner: Manner,
) -> Result<(Supervisor, Option<Failure>), StartError> {
    if manner == Manner::Used {
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
