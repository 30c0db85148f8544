//! `tierce edge`, and `tierce up` where the configuration has upstreams: the balancer alone, without an application.
//!
//! Invariant: as in [`crate::running`], whoever asks is answered, and whoever asks for the end when it has come.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Config, Overrides, Problems};
use control::{Admin, Answer, AppReasons, AppStatus, Ask, Call, Place, Ps, Server, Sight};
use policy::{Duty, Outlook, Shared, Standing};
use proxy::{Address, Backend, Keeper, Settings, UpstreamStatus};
use supervise::NodeStatus;
use telemetry::{LogSink, Messages, Metrics, Output};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::timeout,
};

use crate::{
    args::{Args, Edge},
    certificates::{self, Certificates},
    detach,
    ended::Ended,
    exit::Exit,
    notify::notify,
    project,
    refuse::{Refusal, cannot_lock},
    say,
    signals::{Signals, Stop, Wish},
    up::{Listeners, line_format, listen, listens_elsewhere, reader},
};

/// What the edge's threads need to close connections that wait for nothing.
const CLOSING_TIME: Duration = Duration::from_millis(250);

pub(crate) fn run(args: &Args, edge: &Edge) -> Exit {
    if edge.detach && !detach::is_detached() {
        return detach::start(args);
    }
    let overrides = project::edge_overrides(edge);
    match project::load_or_say(args, &overrides) {
        Ok(config) => serve(args, config, overrides),
        Err(exit) => exit,
    }
}

/// Serves until it is told to stop.
pub(crate) fn serve(args: &Args, config: Config, overrides: Overrides) -> Exit {
    let began = Instant::now();
    let place = Place::of(&config.project, &project::environment());
    let lock = match place.lock() {
        Ok(lock) => lock,
        Err(error) => return cannot_lock(&error, &place).say(),
    };
    let listeners = match listen(&config, &place) {
        Ok(listeners) => listeners,
        Err(exit) => return exit,
    };
    let clients = match certificates::open_clients(&config) {
        Ok(clients) => clients,
        Err(exit) => return exit,
    };
    let output = if detach::is_detached() { Output::FileOnly } else { Output::Stdout };
    let sink = Messages::start(say::message)
        .and_then(|messages| LogSink::start(place.log(), output, line_format(&config), messages));
    let sink = match sink {
        Ok(sink) => sink,
        Err(error) => return Refusal::failed("cannot start the log", &error).say(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Refusal::failed("cannot start", &error).say(),
    };
    let again = project::again(args);
    let load = move || again(&overrides);
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let started =
            Running::start(args.quiet, &config, (listeners, place), &clients, (&sink, began), Box::new(load))?;
        Ok(started.run().await)
    });
    drop(local);
    let exit = ended.unwrap_or_else(|refusal: Refusal| {
        sink.messages().show(&refusal.explanation.to_string());
        refusal.exit
    });
    sink.close();
    drop(lock);
    exit
}

/// A running edge.
struct Running {
    load: Box<dyn Fn() -> Result<Config, Problems>>,
    config: RefCell<Config>,
    shared: Arc<Shared>,
    keeper: RefCell<Keeper>,
    edge: RefCell<Option<proxy::Edge>>,
    certificates: Certificates,
    metrics: Metrics,
    /// Reloads that were made, and that failed.
    reloads: [Cell<u64>; 2],
    sink: LogSink,
    quiet: bool,
}

/// It, and what tells it what to do.
struct Started {
    running: Rc<Running>,
    server: Server,
    calls: mpsc::Receiver<Call>,
    signals: Signals,
    _admin: Option<Admin>,
}

impl Running {
    fn start(
        quiet: bool,
        config: &Config,
        (listeners, place): (Listeners, Place),
        clients: &tls::Clients,
        (sink, began): (&LogSink, Instant),
        load: Box<dyn Fn() -> Result<Config, Problems>>,
    ) -> Result<Started, Refusal> {
        let descriptors = sys::raise_open_files();
        let signals = Signals::new().map_err(|error| Refusal::failed("cannot listen for signals", &error))?;
        let shared = Shared::new(config.limits.queue_length, sys::available_cores());
        shared.change(began, |dispatch| dispatch.bound_in_flight(config.limits.in_flight));
        let keeper = Keeper::start(&shared, (config, clients), sink);
        let Listeners { bound, admin, certificates } = listeners;
        let addresses = bound.addresses().to_vec();
        let (server, calls) = Server::start(&place)
            .map_err(|error| Refusal::failed(format!("cannot open {}", place.socket().display()), &error))?;
        let backend = Backend::Upstreams(keeper.table());
        let edge = proxy::serve(bound, Settings::new(config, reader()), &shared, &backend, sink, descriptors)
            .map_err(|error| Refusal::failed("the edge cannot be started", &error))?;
        let running = Rc::new(Self {
            load,
            config: RefCell::new(config.clone()),
            shared,
            keeper: RefCell::new(keeper),
            metrics: edge.metrics(),
            edge: RefCell::new(Some(edge)),
            certificates: Certificates::new(certificates, sink.clone(), quiet),
            reloads: Default::default(),
            sink: sink.clone(),
            quiet,
        });
        let seen = Rc::downgrade(&running);
        let name = config.name.clone();
        let look = move || seen.upgrade().map_or_else(|| Sight::of_start(&name), |running| running.sight());
        let admin = admin.map(|admin| Admin::start(admin, look)).transpose();
        let admin = admin.map_err(|error| Refusal::failed("the admin listener cannot be started", &error))?;
        if !quiet {
            sink.messages().show(&announcement(config, &addresses, began));
        }
        notify(&detach::ready_state());
        sink.messages().then(detach::ready);
        Ok(Started { running, server, calls, signals, _admin: admin })
    }

    async fn go_down(&self) -> Ended {
        let limit = self.config.borrow().limits.drain;
        let mut edge = self.edge.borrow_mut().take();
        let drained = match &mut edge {
            Some(edge) => {
                edge.drain();
                timeout(limit.max(CLOSING_TIME), edge.drained()).await
            }
            None => Ok(()),
        };
        let cut = if drained.is_err() { u64::from(self.shared.outlook().in_flight) } else { 0 };
        Ended::after(cut, drained.is_err(), limit)
    }

    async fn answer_while_ending(&self, calls: &mut mpsc::Receiver<Call>, waiting: &mut Vec<oneshot::Sender<Answer>>) {
        while let Some(Call { ask, answer }) = calls.recv().await {
            match ask {
                Ask::Down => waiting.push(answer),
                // A client that has gone does not want it.
                Ask::Ps => drop(answer.send(self.answer(&Ask::Ps))),
                _ => drop(answer.send(refused(Exit::NOT_RUNNING, "tierce is stopping"))),
            }
        }
        std::future::pending().await
    }

    fn answer(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Ps => Answer::Ps { ps: self.ps() },
            Ask::Reload => self.reload(),
            // [`Self::run`] has taken it.
            Ask::Down => Answer::Done { text: "stopping".to_owned() },
            Ask::Scale { .. } | Ask::Restart | Ask::Refork { .. } => {
                refused(Exit::USAGE, "there are no nodes here: other servers answer (`upstream`)")
            }
            Ask::Drain { node } => self.stand(node, |standing| standing.duty = Duty::Rests),
            Ask::Ready { node } => self.stand(node, |standing| standing.duty = Duty::Serves),
            Ask::Weight { node, weight } => self.stand(node, |standing| standing.weight = *weight),
        }
    }

    fn note(&self, text: &str) {
        say::note(&self.sink, self.quiet, text);
    }

    fn stand(&self, node: &str, change: impl FnOnce(&mut Standing)) -> Answer {
        let (Standing { duty, weight }, in_flight) = match self.keeper.borrow().stand(node, change) {
            Ok(stands) => stands,
            Err(known) => {
                let text = format!("there is no upstream {node:?}\n  hint: there are {}", known.join(", "));
                return refused(Exit::USAGE, &text);
            }
        };
        let text = match duty {
            Duty::Serves => format!("{node} gets requests, with weight {weight}"),
            Duty::Rests => format!("{node} gets no requests until `tierce ready {node}`; it has {in_flight}"),
        };
        self.sink.record(&text);
        Answer::Done { text }
    }

    fn sight(&self) -> Sight {
        let [made, failed] = &self.reloads;
        Sight {
            ps: self.ps(),
            obstacle: None,
            metrics: self.metrics.clone(),
            worker_ends: Vec::new(),
            reloads: [("made", made.get()), ("failed", failed.get())],
        }
    }

    fn ps(&self) -> Ps {
        let Outlook { queued, in_flight, bound } = self.shared.outlook();
        let reasons = Some(AppReasons { in_flight, bound, staff: None });
        let apps = vec![AppStatus { name: self.config.borrow().name.clone(), queued, reasons }];
        Ps { schema: 1, apps, items: self.keeper.borrow().status().into_iter().map(item).collect() }
    }

    /// The list of upstreams, limits and the log follow the configuration; a mistake in it changes nothing.
    fn reload(&self) -> Answer {
        let answer = self.try_reload();
        let [made, failed] = &self.reloads;
        let count = if matches!(answer, Answer::Done { .. }) { made } else { failed };
        count.set(count.get() + 1);
        answer
    }

    fn try_reload(&self) -> Answer {
        let began = Instant::now();
        let config = match (self.load)() {
            Ok(config) => config,
            Err(problems) => {
                let text = format!("{}\nnothing was changed", problems.to_string().trim_end());
                return Answer::Refused { code: Exit::CONFIG.0, text };
            }
        };
        if config.upstreams.is_empty() {
            return refused(
                Exit::CONFIG,
                "an application in the place of upstreams needs `tierce down` and `tierce up`",
            );
        }
        let read =
            certificates::load(&config).and_then(|certificates| Ok((certificates, certificates::clients(&config)?)));
        let (certificates, clients) = match read {
            Ok(read) => read,
            Err(refusals) => {
                let texts: Vec<_> = refusals.iter().map(|refusal| refusal.explanation.to_string()).collect();
                let code = refusals.first().map_or(Exit::FAILED, |refusal| refusal.exit).0;
                return Answer::Refused { code, text: format!("{}\nnothing was changed", texts.join("\n")) };
            }
        };
        self.certificates.exchange(certificates);
        clients.notices.iter().for_each(|notice| self.sink.message(&certificates::warning(notice)));
        let (came, went) = self.keeper.borrow_mut().follow((&config, &clients));
        if let Some(edge) = &*self.edge.borrow() {
            edge.set(Settings::new(&config, reader()));
        }
        self.sink.set_format(line_format(&config));
        self.shared.change(began, |dispatch| {
            dispatch.bound_queue(config.limits.queue_length);
            dispatch.bound_in_flight(config.limits.in_flight);
        });
        let mut text = format!("reloaded in {:.1} s: {came} new, {went} gone", began.elapsed().as_secs_f64());
        let before = self.config.replace(config);
        let now = self.config.borrow();
        if before.admin != now.admin {
            text.push_str("; `admin` counts from the next start on");
        }
        if listens_elsewhere(&before.listen, &now.listen) || before.cores != now.cores {
            text.push_str("; `listen` and `cores` count from the next start on");
        }
        Answer::Done { text }
    }
}

impl Started {
    async fn run(self) -> Exit {
        let Self { running, server, mut calls, mut signals, _admin } = self;
        let mut waiting = Vec::new();
        let until_stopped = async {
            let mut keeping = std::pin::pin!(running.certificates.keep());
            loop {
                tokio::select! {
                    never = &mut keeping => match never {},
                    call = calls.recv() => match call {
                        Some(Call { ask: Ask::Down, answer }) => break waiting.push(answer),
                        // A client that has gone does not want it.
                        Some(Call { ask, answer }) => drop(answer.send(running.answer(&ask))),
                        None => break,
                    },
                    wish = signals.next() => match wish {
                        Wish::Stop(Stop::TerminalLost) => {
                            break running.note("the terminal was closed; finishing what was accepted");
                        }
                        Wish::Stop(_) => break running.note("finishing what was accepted; Ctrl-C again stops at once"),
                        Wish::Reload => match running.reload() {
                            Answer::Refused { text, .. } => running.sink.message(&text),
                            Answer::Done { text } => running.note(&text),
                            Answer::Ps { .. } => {}
                        },
                    },
                }
            }
        };
        until_stopped.await;
        notify("STOPPING=1");
        let ended = tokio::select! {
            ended = running.go_down() => ended,
            () = running.answer_while_ending(&mut calls, &mut waiting) => return Exit::FAILED,
            _ = signals.again() => Ended { exit: Exit::INTERRUPTED, text: "stopped at once".to_owned() },
        };
        match ended.exit {
            Exit::FAILED => running.sink.message(&format!("error: {}", ended.text)),
            _ => running.note(&ended.text),
        }
        for answer in waiting {
            // A client that has gone does not want it.
            let _ = answer.send(ended.answer());
        }
        drop(calls);
        server.finish().await;
        ended.exit
    }
}

fn refused(exit: Exit, text: &str) -> Answer {
    Answer::Refused { code: exit.0, text: format!("error: {text}") }
}

/// An upstream in the form of a node, which it is for whoever looks.
fn item(status: UpstreamStatus) -> NodeStatus {
    NodeStatus {
        node: status.address,
        state: status.state.to_owned(),
        weight: status.standing.weight,
        drained: status.standing.duty == Duty::Rests,
        hostname: status.host,
        isolation: status.trouble.unwrap_or_else(|| "upstream".to_owned()),
        generation: 1,
        pid: 0,
        requests: status.load.requests,
        in_flight: status.load.in_flight,
        slots: status.load.slots,
        rss: 0,
        uptime: status.since.elapsed().as_secs_f64(),
        workers: Vec::new(),
    }
}

fn announcement(config: &Config, addresses: &[Address], began: Instant) -> String {
    let upstreams: Vec<_> = config.upstreams.iter().map(|upstream| upstream.address.to_string()).collect();
    let mut lines = vec![format!("✓ requests go to {}", upstreams.join(", "))];
    for address in addresses {
        let shown = address.to_string().replace("http://0.0.0.0:", "http://localhost:");
        lines.push(format!("✓ {shown}  ready in {:.1} s", began.elapsed().as_secs_f64()));
    }
    let program = say::program();
    let mut next: Vec<_> = ["ps", "logs -f", "reload"].iter().map(|command| format!("{program} {command}")).collect();
    next.push(if detach::is_detached() { format!("{program} down") } else { "Ctrl-C to stop".to_owned() });
    lines.extend(say::folded(&next));
    lines.join("\n")
}
