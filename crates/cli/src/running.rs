//! What a running Tierce does: it answers commands, and goes down without losing a request.
//!
//! Its parts are the edge, an application or none, and the upstreams of services. Invariant: whoever asks is answered, also
//! while everything ends; who asks for the end is answered when it has come.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Config, Problems};
use control::{Admin, Answer, Ask, Call, Differs, First, Place, Recorded, Server};
use policy::{Duty, Farewell, Standing};
use proxy::{Edge, Keepers, Service};
use supervise::{ChangeError, Watch};
use telemetry::{LogSink, Metrics};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::timeout,
};

use crate::{
    application::{self, Application},
    certificates::Certificates,
    differences::Told,
    ended::Ended,
    exit::Exit,
    notify::notify,
    say,
    signals::{Signals, Stop, Wish},
};

/// What the edge's threads need to close connections that wait for nothing, even when no time is given to the others.
const CLOSING_TIME: Duration = Duration::from_millis(250);

const FINISHING: &str = "finishing what was accepted; Ctrl-C again stops at once";

const HUNG_UP: &str = "the terminal was closed; finishing what was accepted";

/// A running Tierce.
pub(crate) struct Running {
    /// The configuration as it is when this is called.
    pub(crate) load: Box<dyn Fn() -> Result<Config, Problems>>,
    /// The one that counts.
    pub(crate) config: RefCell<Arc<Config>>,
    pub(crate) app: Option<Application>,
    pub(crate) upstreams: RefCell<Keepers>,
    pub(crate) edge: RefCell<Option<Edge>>,
    pub(crate) admin: RefCell<Admin>,
    /// Of the https listeners, if there are any.
    pub(crate) certificates: Certificates,
    pub(crate) place: Place,
    pub(crate) sink: LogSink,
    pub(crate) quiet: bool,
    pub(crate) metrics: Metrics,
    /// Reloads that were made, and that failed.
    pub(crate) reloads: [Cell<u64>; 2],
}

impl Running {
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
            let mut discovering = std::pin::pin!(self.discover());
            let mut keeping = std::pin::pin!(self.certificates.keep());
            loop {
                tokio::select! {
                    never = &mut developing => match never {},
                    never = &mut keeping => match never {},
                    never = &mut discovering => match never {},
                    call = calls.recv() => match call {
                        Some(Call { ask: Ask::Down, answer, .. }) => {
                            waiting.push(answer);
                            break None;
                        }
                        Some(call) => self.begin(call),
                        None => break None,
                    },
                    wish = signals.next() => match wish {
                        Wish::Stop(Stop::TerminalLost) => {
                            self.note(HUNG_UP);
                            break Some(Stop::TerminalLost);
                        }
                        Wish::Stop(stop) => break Some(stop),
                        Wish::Reload => self.hang_up(),
                    },
                }
            }
        };
        let stop = until_stopped.await;
        notify("STOPPING=1");
        let farewell = self.farewell(Instant::now());
        if let (Some(farewell), Some(Stop::Terminate)) = (&farewell, stop) {
            self.give_notice(farewell, &mut calls, &mut waiting, signals).await;
        }
        if matches!(stop, Some(Stop::Interrupt | Stop::Terminate)) {
            self.note(FINISHING);
        }
        let ended = tokio::select! {
            ended = self.go_down(farewell.as_ref()) => ended,
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
    fn begin(self: &Rc<Self>, Call { ask, first, answer: asker }: Call) {
        let this = Rc::clone(self);
        spawn_local(async move {
            let answer = this.answer(ask, first).await;
            if let Answer::Refused { text, .. } = &answer {
                // Whoever looks for the reason later does not know who has asked.
                this.sink.record(text);
            }
            // A client that has gone does not want it.
            let _ = asker.send(answer);
        });
    }

    /// Reloads for somebody who cannot be answered.
    fn hang_up(self: &Rc<Self>) {
        let this = Rc::clone(self);
        spawn_local(async move {
            match this.reload(Told::Log).await {
                Answer::Refused { text, .. } => this.sink.message(&text),
                Answer::Done { text } => this.note(&text),
                Answer::Ps { .. } | Answer::Differs { .. } => {}
            }
        });
    }

    /// While everything ends, it can be watched, and waited for.
    pub(crate) async fn answer_while_ending(
        &self,
        calls: &mut mpsc::Receiver<Call>,
        waiting: &mut Vec<oneshot::Sender<Answer>>,
    ) -> Infallible {
        while let Some(Call { ask, answer, .. }) = calls.recv().await {
            let now = match ask {
                Ask::Down => {
                    waiting.push(answer);
                    continue;
                }
                Ask::Ps => Answer::Ps { ps: self.ps() },
                Ask::Scale { .. }
                | Ask::Reload { .. }
                | Ask::Compare
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

    async fn go_down(&self, farewell: Option<&Farewell>) -> Ended {
        let now = Instant::now();
        let limit = farewell.map_or_else(|| self.config().limits.drain, |farewell| farewell.drain_limit(now));
        let until = now + limit;
        if let Some(app) = &self.app {
            app.supervisor.wind_down();
        }
        let mut edge = self.edge.borrow_mut().take();
        let mut connections_cut = false;
        if let Some(edge) = &mut edge {
            edge.drain();
            // What is not finished in time is cut off below.
            connections_cut = timeout(limit.max(CLOSING_TIME), edge.drained()).await.is_err();
        }
        let mut cut = 0;
        if connections_cut {
            cut = self.upstreams.borrow().outlooks().map(|(_, outlook)| u64::from(outlook.in_flight)).sum();
        }
        if let Some(app) = &self.app {
            cut += app.supervisor.down(until.saturating_duration_since(Instant::now())).await.cut;
        }
        drop(edge);
        Ended::after(cut, connections_cut, limit)
    }

    /// The configuration that counts.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
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

    async fn answer(&self, ask: Ask, first: oneshot::Sender<Differs>) -> Answer {
        match (ask, &self.app) {
            (Ask::Ps, _) => Answer::Ps { ps: self.ps() },
            (Ask::Reload { first: First::Differences }, _) => self.reload(Told::Asker(first)).await,
            (Ask::Reload { first: First::Nothing }, _) => self.reload(Told::Nobody).await,
            (Ask::Compare, _) => self.compare(Told::Asker(first)),
            (Ask::Scale { .. }, Some(_)) if self.config().node.is_some() => refused(
                "this is one node, in a container\n  hint: its platform starts more of them: `docker compose up --scale web=5`",
            ),
            (Ask::Scale { app: name, nodes }, Some(app)) if name == self.config().name => {
                app.scale(nodes, &self.place, &self.sink).await
            }
            (Ask::Scale { app: name, nodes }, Some(_)) => {
                let ours = &self.config().name;
                let hint = format!("this project has {ours}: `tierce scale {ours}={nodes}`");
                refused(&format!("there is no service {name:?} with nodes\n  hint: {hint}"))
            }
            (Ask::Restart, Some(app)) => app.restart().await,
            (Ask::Refork { nodes }, Some(app)) => app.refork(&nodes).await,
            (Ask::Scale { .. } | Ask::Restart | Ask::Refork { .. }, None) => {
                refused("there are no nodes here: other servers answer (`upstream`)")
            }
            (Ask::Drain { node }, _) => self.stand(&node, |standing| standing.duty = Duty::Rests),
            (Ask::Ready { node }, _) => self.stand(&node, |standing| standing.duty = Duty::Serves),
            (Ask::Weight { node, weight }, _) => self.stand(&node, |standing| standing.weight = weight),
            // [`Self::run`] has taken it.
            (Ask::Down, _) => Answer::Done { text: "stopping".to_owned() },
        }
    }

    /// Changes how a node or an upstream takes part.
    fn stand(&self, node: &str, change: impl FnOnce(&mut Standing)) -> Answer {
        let upstreams = self.upstreams.borrow();
        let stands = match (&upstreams.named(node)[..], &self.app) {
            ([upstream], _) => Ok(upstream.stand(change)),
            ([], Some(app)) => app.supervisor.stand(node, change),
            ([], None) => Err(ChangeError::NoNode { name: node.to_owned(), known: Vec::new() }),
            (several, _) => {
                let services = several.len();
                let hint = "write SERVICE/ADDRESS, as in `tierce ps`";
                return refused(&format!("{node:?} is an upstream of {services} services\n  hint: {hint}"));
            }
        };
        match stands {
            Ok((Standing { duty, weight }, in_flight)) => {
                let text = match duty {
                    Duty::Serves => format!("{node} gets requests, with weight {weight}"),
                    Duty::Rests => format!("{node} gets no requests until `tierce ready {node}`; it has {in_flight}"),
                };
                self.record(&text);
                Answer::Done { text }
            }
            Err(ChangeError::NoNode { name, mut known }) => {
                known.extend(upstreams.names());
                application::refused(&ChangeError::NoNode { name, known })
            }
            Err(error) => application::refused(&error),
        }
    }

    /// All services, for the edge.
    pub(crate) fn services(&self, config: &Config) -> Vec<Service> {
        services(self.app.as_ref(), &self.upstreams.borrow(), config)
    }
}

/// The application first.
pub(crate) fn services(app: Option<&Application>, upstreams: &Keepers, config: &Config) -> Vec<Service> {
    app.map(|app| app.service(config)).into_iter().chain(upstreams.services()).collect()
}

fn refused(text: &str) -> Answer {
    Answer::Refused { code: Exit::USAGE.0, text: format!("error: {text}") }
}
