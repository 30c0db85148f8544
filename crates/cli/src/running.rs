//! What a running Tierce does: it answers commands, and goes down without losing a request.
//!
//! Invariant: whoever asks is answered, also while everything ends; who asks for the end is answered when it has come.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    rc::Rc,
    time::{Duration, Instant},
};

use config::{Config, Problems};
use control::{Answer, AppReasons, AppStatus, Ask, Call, Place, Ps, Recorded, Server, Sight};
use policy::{Duty, Outlook, Standing};
use proxy::{Edge, Service};
use supervise::{ChangeError, Changed, Supervisor, Watch};
use telemetry::{LogSink, Metrics};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::timeout,
};

use crate::{
    args::{Args, Up},
    certificates::Certificates,
    ended::{Ended, cut_off},
    exit::Exit,
    notify::notify,
    project,
    refuse::status,
    say,
    signals::{Signals, Stop, Wish},
    up::record,
};

/// What the edge's threads need to close connections that wait for nothing, even when no time is given to the others.
const CLOSING_TIME: Duration = Duration::from_millis(250);

const FINISHING: &str = "finishing what was accepted; Ctrl-C again stops at once";

const HUNG_UP: &str = "the terminal was closed; finishing what was accepted";

/// A running Tierce.
pub(crate) struct Running {
    /// The configuration as it is when this is called.
    pub(crate) load: Box<dyn Fn() -> Result<Config, Problems>>,
    pub(crate) supervisor: Supervisor,
    pub(crate) edge: RefCell<Option<Edge>>,
    /// Of the https listeners, if there are any.
    pub(crate) certificates: Certificates,
    pub(crate) service: Service,
    pub(crate) place: Place,
    pub(crate) sink: LogSink,
    /// As many as there are to be, also when the application cannot be loaded.
    pub(crate) nodes: Cell<u32>,
    /// `--reload`
    pub(crate) develops: bool,
    /// While it develops: what there is now cannot be loaded.
    pub(crate) broken: Cell<bool>,
    pub(crate) quiet: bool,
    metrics: Metrics,
    /// Reloads that were made, and that failed.
    pub(crate) reloads: [Cell<u64>; 2],
}

impl Running {
    pub(crate) fn new(
        (args, up): (&Args, &Up),
        (supervisor, nodes): (Supervisor, u32),
        (edge, certificates): (Edge, Option<tls::Store>),
        service: Service,
        (place, sink): (Place, LogSink),
    ) -> Rc<Self> {
        let overrides = project::overrides(up);
        let metrics = edge.metrics();
        let again = project::again(args);
        Rc::new(Self {
            load: Box::new(move || again(&overrides)),
            supervisor,
            edge: RefCell::new(Some(edge)),
            certificates: Certificates::new(certificates, sink.clone(), args.quiet),
            service,
            place,
            sink,
            nodes: Cell::new(nodes),
            develops: up.reload,
            broken: Cell::new(false),
            quiet: args.quiet,
            metrics,
            reloads: Default::default(),
        })
    }

    /// Serves until it is told to stop, and then until everything has ended. Reloads when `watch` notices a change.
    pub(crate) async fn run(
        self: Rc<Self>,
        server: Server,
        mut calls: mpsc::Receiver<Call>,
        signals: &mut Signals,
        watch: Option<Watch>,
    ) -> Exit {
        let mut waiting = Vec::new();
        let until_stopped = async {
            let mut developing = std::pin::pin!(self.develop(watch));
            let mut keeping = std::pin::pin!(self.certificates.keep());
            loop {
                tokio::select! {
                    never = &mut developing => match never {},
                    never = &mut keeping => match never {},
                    call = calls.recv() => match call {
                        Some(Call { ask: Ask::Down, answer }) => break waiting.push(answer),
                        Some(call) => self.begin(call),
                        None => break,
                    },
                    wish = signals.next() => match wish {
                        Wish::Stop(Stop::TerminalLost) => break self.note(HUNG_UP),
                        Wish::Stop(_) => break self.note(FINISHING),
                        Wish::Reload => self.hang_up(),
                    },
                }
            }
        };
        until_stopped.await;
        notify("STOPPING=1");
        let ended = tokio::select! {
            ended = self.go_down() => ended,
            never = self.answer_while_ending(&mut calls, &mut waiting) => match never {},
            _ = signals.again() => Ended { exit: Exit::INTERRUPTED, text: "stopped at once".to_owned() },
        };
        match ended.exit {
            Exit::FAILED => self.sink.message(&format!("error: {}", ended.text)),
            _ => self.note(&ended.text),
        }
        if !waiting.is_empty() {
            Recorded::clear(&self.place);
        }
        for answer in waiting {
            // A client that has gone does not want it.
            let _ = answer.send(ended.answer());
        }
        // What was asked too late is told so.
        drop(calls);
        server.finish().await;
        ended.exit
    }

    /// Answers in its own time.
    fn begin(self: &Rc<Self>, call: Call) {
        let this = Rc::clone(self);
        spawn_local(async move {
            let answer = this.answer(call.ask).await;
            if let Answer::Refused { text, .. } = &answer {
                // Whoever looks for the reason later does not know who has asked.
                this.sink.record(text);
            }
            // A client that has gone does not want it.
            let _ = call.answer.send(answer);
        });
    }

    /// Reloads for somebody who cannot be answered.
    fn hang_up(self: &Rc<Self>) {
        let this = Rc::clone(self);
        spawn_local(async move {
            match this.answer(Ask::Reload).await {
                Answer::Refused { text, .. } => this.sink.message(&text),
                Answer::Done { text } => this.note(&text),
                Answer::Ps { .. } => {}
            }
        });
    }

    /// While everything ends, it can be watched, and waited for.
    async fn answer_while_ending(
        &self,
        calls: &mut mpsc::Receiver<Call>,
        waiting: &mut Vec<oneshot::Sender<Answer>>,
    ) -> Infallible {
        while let Some(Call { ask, answer }) = calls.recv().await {
            let now = match ask {
                Ask::Down => {
                    waiting.push(answer);
                    continue;
                }
                Ask::Ps => Answer::Ps { ps: self.ps() },
                Ask::Scale { .. }
                | Ask::Reload
                | Ask::Restart
                | Ask::Refork { .. }
                | Ask::Drain { .. }
                | Ask::Ready { .. }
                | Ask::Weight { .. } => Answer::Refused {
                    code: Exit::NOT_RUNNING.0,
                    text:
                        "error: tierce is stopping\n  hint: wait until `tierce ps` finds nothing, then start it again"
                            .to_owned(),
                },
            };
            // A client that has gone does not want it.
            let _ = answer.send(now);
        }
        std::future::pending().await
    }

    async fn go_down(&self) -> Ended {
        let limit = self.supervisor.config().limits.drain;
        let until = Instant::now() + limit;
        self.supervisor.wind_down();
        let mut edge = self.edge.borrow_mut().take();
        let mut connections_cut = false;
        if let Some(edge) = &mut edge {
            edge.drain();
            // What is not finished in time is cut off below.
            connections_cut = timeout(limit.max(CLOSING_TIME), edge.drained()).await.is_err();
        }
        let down = self.supervisor.down(until.saturating_duration_since(Instant::now())).await;
        drop(edge);
        Ended::after(down.cut, connections_cut, limit)
    }

    /// An error, to whoever looks: the terminal now, `tierce logs` later.
    pub(crate) fn say(&self, text: &str) {
        self.sink.message(text);
    }

    /// How things go, which is no error: with `--quiet` only for those who read the log.
    pub(crate) fn note(&self, text: &str) {
        say::note(&self.sink, self.quiet, text);
    }

    /// For `tierce logs` only.
    pub(crate) fn record(&self, text: &str) {
        self.sink.record(text);
    }

    async fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Ps => Answer::Ps { ps: self.ps() },
            Ask::Scale { app, nodes } => self.scale(&app, nodes).await,
            Ask::Reload => self.reload().await,
            Ask::Restart => {
                let began = Instant::now();
                match self.supervisor.restart().await {
                    Ok(changed) => done(format!("restarted in {:.1} s", began.elapsed().as_secs_f64()), changed),
                    Err(error) => refused(&error),
                }
            }
            Ask::Refork { nodes } => {
                let began = Instant::now();
                match self.supervisor.refork(&nodes).await {
                    Ok(changed) => done(format!("reforked in {:.1} s", began.elapsed().as_secs_f64()), changed),
                    Err(error) => refused(&error),
                }
            }
            Ask::Drain { node } => self.stand(&node, |standing| standing.duty = Duty::Rests),
            Ask::Ready { node } => self.stand(&node, |standing| standing.duty = Duty::Serves),
            Ask::Weight { node, weight } => self.stand(&node, |standing| standing.weight = weight),
            // [`Self::run`] has taken it.
            Ask::Down => Answer::Done { text: "stopping".to_owned() },
        }
    }

    fn stand(&self, node: &str, change: impl FnOnce(&mut Standing)) -> Answer {
        match self.supervisor.stand(node, change) {
            Ok((Standing { duty, weight }, in_flight)) => {
                let text = match duty {
                    Duty::Serves => format!("{node} gets requests, with weight {weight}"),
                    Duty::Rests => format!("{node} gets no requests until `tierce ready {node}`; it has {in_flight}"),
                };
                self.record(&text);
                Answer::Done { text }
            }
            Err(error) => refused(&error),
        }
    }

    fn ps(&self) -> Ps {
        let name = self.supervisor.config().name.clone();
        let Outlook { queued, in_flight, bound } = self.supervisor.outlook();
        let staff = self.supervisor.staff();
        let apps = vec![AppStatus { name, queued, reasons: Some(AppReasons { in_flight, bound, staff }) }];
        Ps { schema: 1, apps, items: self.supervisor.status() }
    }

    /// What the admin listener tells.
    pub(crate) fn sight(&self) -> Sight {
        let [made, failed] = &self.reloads;
        Sight {
            ps: self.ps(),
            obstacle: self.broken.get().then_some("the application cannot be loaded"),
            metrics: self.metrics.clone(),
            worker_ends: self.supervisor.worker_ends(),
            reloads: [("made", made.get()), ("failed", failed.get())],
        }
    }

    async fn scale(&self, app: &str, nodes: u32) -> Answer {
        let config = self.supervisor.config();
        if app != config.name {
            let text = format!(
                "error: there is no service {app:?}\n  hint: this project has {0}: `tierce scale {0}={nodes}`",
                config.name
            );
            return Answer::Refused { code: Exit::USAGE.0, text };
        }
        let began = Instant::now();
        match self.supervisor.scale(nodes).await {
            Ok(changed) => {
                self.nodes.set(nodes);
                record(&self.place, nodes, &config, &self.sink);
                let (nodes, took) = (units::plural(nodes, "node"), began.elapsed().as_secs_f64());
                done(format!("{app}: {nodes}, in {took:.1} s"), changed)
            }
            Err(error) => refused(&error),
        }
    }
}

/// It was done; what it has cost makes a failure of it.
pub(crate) fn done(text: String, changed: Changed) -> Answer {
    match changed.cut {
        0 => Answer::Done { text },
        cut => {
            Answer::Refused { code: Exit::FAILED.0, text: format!("error: {text}; {}", cut_off(cut, changed.limit)) }
        }
    }
}

fn refused(error: &ChangeError) -> Answer {
    let mut text = format!("{}\n{}", error.explanation(), error.aftermath());
    if let Some(Changed { cut, limit }) = error.so_far().filter(|changed| 0 < changed.cut) {
        text.push_str(&format!("\n{}", cut_off(cut, limit)));
    }
    let exit = if let ChangeError::NoNode { .. } = error { Exit::USAGE } else { status(error.blame()) };
    Answer::Refused { code: exit.0, text }
}
