//! `tierce edge`, and `tierce up` where the configuration has upstreams: the balancer alone, without an application.
//!
//! Invariant: as in [`crate::running`], whoever asks is answered, and whoever asks for the end when it has come.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use config::{Config, Overrides, Problems};
use control::{Answer, AppReasons, AppStatus, Ask, Call, Place, Ps, Server};
use policy::{Outlook, Shared};
use proxy::{Address, Backend, Bound, Keeper, Settings, UpstreamStatus};
use supervise::NodeStatus;
use telemetry::{LogSink, Messages, Output};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::timeout,
};

use crate::{
    args::{Args, Edge},
    detach,
    ended::Ended,
    exit::Exit,
    notify::notify,
    project,
    refuse::{Refusal, cannot_bind, cannot_lock},
    say,
    signals::{Signals, Stop, Wish},
    up::{line_format, listens_elsewhere, reader},
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
    let bound = match proxy::bind(&config.listen, config.cores as usize) {
        Ok(bound) => bound,
        Err(error) => return cannot_bind(&error),
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
        let running = Running::start(args.quiet, &config, (bound, place), (&sink, began), Box::new(load))?;
        Ok(running.run().await)
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
    shared: std::sync::Arc<Shared>,
    keeper: RefCell<Keeper>,
    edge: RefCell<Option<proxy::Edge>>,
    server: Option<Server>,
    calls: Option<mpsc::Receiver<Call>>,
    signals: Option<Signals>,
    sink: LogSink,
    quiet: bool,
}

impl Running {
    fn start(
        quiet: bool,
        config: &Config,
        (bound, place): (Bound, Place),
        (sink, began): (&LogSink, Instant),
        load: Box<dyn Fn() -> Result<Config, Problems>>,
    ) -> Result<Self, Refusal> {
        let descriptors = sys::raise_open_files();
        let signals = Signals::new().map_err(|error| Refusal::failed("cannot listen for signals", &error))?;
        let shared = Shared::new(config.limits.queue_length, sys::available_cores());
        shared.change(began, |dispatch| dispatch.bound_in_flight(config.limits.in_flight));
        let keeper = Keeper::start(&shared, config, sink);
        let addresses = bound.addresses().to_vec();
        let (server, calls) = Server::start(&place)
            .map_err(|error| Refusal::failed(format!("cannot open {}", place.socket().display()), &error))?;
        let backend = Backend::Upstreams(keeper.table());
        let edge = proxy::serve(bound, Settings::new(config, reader()), &shared, &backend, sink, descriptors)
            .map_err(|error| Refusal::failed("the edge cannot be started", &error))?;
        if !quiet {
            sink.messages().show(&announcement(config, &addresses, began));
        }
        notify(&detach::ready_state());
        sink.messages().then(detach::ready);
        Ok(Self {
            load,
            config: RefCell::new(config.clone()),
            shared,
            keeper: RefCell::new(keeper),
            edge: RefCell::new(Some(edge)),
            server: Some(server),
            calls: Some(calls),
            signals: Some(signals),
            sink: sink.clone(),
            quiet,
        })
    }

    async fn run(mut self) -> Exit {
        let (Some(server), Some(mut calls), Some(mut signals)) =
            (self.server.take(), self.calls.take(), self.signals.take())
        else {
            return Exit::FAILED;
        };
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(Call { ask: Ask::Down, answer }) => break waiting.push(answer),
                    // A client that has gone does not want it.
                    Some(Call { ask, answer }) => drop(answer.send(self.answer(&ask))),
                    None => break,
                },
                wish = signals.next() => match wish {
                    Wish::Stop(Stop::TerminalLost) => break self.note("the terminal was closed; finishing what was accepted"),
                    Wish::Stop(_) => break self.note("finishing what was accepted; Ctrl-C again stops at once"),
                    Wish::Reload => match self.reload() {
                        Answer::Refused { text, .. } => self.sink.message(&text),
                        Answer::Done { text } => self.note(&text),
                        Answer::Ps { .. } => {}
                    },
                },
            }
        }
        notify("STOPPING=1");
        let ended = tokio::select! {
            ended = self.go_down() => ended,
            () = self.answer_while_ending(&mut calls, &mut waiting) => return Exit::FAILED,
            _ = signals.again() => Ended { exit: Exit::INTERRUPTED, text: "stopped at once".to_owned() },
        };
        match ended.exit {
            Exit::FAILED => self.sink.message(&format!("error: {}", ended.text)),
            _ => self.note(&ended.text),
        }
        for answer in waiting {
            // A client that has gone does not want it.
            let _ = answer.send(ended.answer());
        }
        drop(calls);
        server.finish().await;
        ended.exit
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
        }
    }

    fn note(&self, text: &str) {
        if self.quiet { self.sink.record(text) } else { self.sink.message(text) }
    }

    fn ps(&self) -> Ps {
        let Outlook { queued, in_flight, bound } = self.shared.outlook();
        let reasons = Some(AppReasons { in_flight, bound, staff: None });
        let apps = vec![AppStatus { name: self.config.borrow().name.clone(), queued, reasons }];
        Ps { schema: 1, apps, items: self.keeper.borrow().status().into_iter().map(item).collect() }
    }

    /// The list of upstreams, limits and the log follow the configuration; a mistake in it changes nothing.
    fn reload(&self) -> Answer {
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
        let (came, went) = self.keeper.borrow_mut().follow(&config);
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
        if listens_elsewhere(&before.listen, &now.listen) || before.cores != now.cores {
            text.push_str("; `listen` and `cores` count from the next start on");
        }
        Answer::Done { text }
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
