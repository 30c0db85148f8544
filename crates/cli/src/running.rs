//! What a running Tierce does: it answers commands, and goes down without losing a request.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Instant};

use config::{Config, Problems};
use control::{Answer, AppStatus, Ask, Call, Place, Ps, Recorded};
use policy::Shared;
use proxy::{Edge, Settings};
use supervise::{ChangeError, Interpreter, PrepareError, Supervisor};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::timeout,
};

use crate::{
    args::{Args, Up},
    exit::Exit,
    notify::{monotonic_us, notify},
    project, say,
    up::{Signals, listens_elsewhere, reader, record},
};

/// A running Tierce.
pub(crate) struct Running {
    reload: Box<dyn Fn() -> Result<Config, Problems>>,
    supervisor: Supervisor,
    edge: RefCell<Option<Edge>>,
    shared: Arc<Shared>,
    place: Place,
}

/// Why it goes down.
enum Reason {
    Signal,
    Command(oneshot::Sender<Answer>),
}

impl Running {
    pub(crate) fn new(
        args: &Args,
        up: &Up,
        supervisor: Supervisor,
        edge: Edge,
        shared: Arc<Shared>,
        place: Place,
    ) -> Rc<Self> {
        let overrides = project::overrides(up);
        let again = project::again(args);
        let reload = Box::new(move || again(&overrides));
        Rc::new(Self { reload, supervisor, edge: RefCell::new(Some(edge)), shared, place })
    }

    /// Serves until it is told to stop.
    pub(crate) async fn run(self: Rc<Self>, mut calls: mpsc::Receiver<Call>, signals: &mut Signals) -> Exit {
        let reason = loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(Call { ask: Ask::Down, answer }) => break Reason::Command(answer),
                    Some(call) => {
                        let this = Rc::clone(&self);
                        spawn_local(async move {
                            let answer = this.answer(call.ask).await;
                            // A client that has gone does not want it.
                            let _ = call.answer.send(answer);
                        });
                    }
                    None => break Reason::Signal,
                },
                _ = signals.interrupt.recv() => break Reason::Signal,
                _ = signals.terminate.recv() => break Reason::Signal,
                _ = signals.hangup.recv() => {
                    let this = Rc::clone(&self);
                    spawn_local(async move {
                        if let Answer::Refused { text, .. } = this.answer(Ask::Reload).await {
                            say::message(&text);
                        }
                    });
                }
            }
        };
        notify("STOPPING=1");
        tokio::select! {
            exit = self.go_down(reason) => exit,
            () = signals.stop() => {
                say::message("stopped at once");
                Exit::INTERRUPTED
            }
        }
    }

    async fn go_down(&self, reason: Reason) -> Exit {
        let limit = self.supervisor.config().limits.drain;
        let until = Instant::now() + limit;
        if matches!(reason, Reason::Signal) {
            say::message("finishing what was accepted; Ctrl-C again stops at once");
        }
        let mut edge = self.edge.borrow_mut().take();
        if let Some(edge) = &mut edge {
            edge.drain();
            // What is not finished in time is cut off below.
            let _ = timeout(limit, edge.drained()).await;
        }
        let down = self.supervisor.down(until.saturating_duration_since(Instant::now())).await;
        drop(edge);
        let (exit, text) = match down.cut {
            0 => (Exit::DONE, "stopped; nothing was cut off".to_owned()),
            cut => {
                let limit = units::show_duration(limit);
                (Exit::FAILED, format!("stopped; {cut} requests were not finished after {limit} and were cut off"))
            }
        };
        match reason {
            Reason::Signal => say::message(&text),
            Reason::Command(answer) => {
                Recorded::clear(&self.place);
                let answered = match exit {
                    Exit::DONE => Answer::Done { text },
                    exit => Answer::Refused { code: exit.0, text: format!("error: {text}") },
                };
                let _ = answer.send(answered);
                // The answer is written by another task of this thread.
                for _ in 0..16 {
                    tokio::task::yield_now().await;
                }
            }
        }
        exit
    }

    async fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Ps => Answer::Ps { ps: self.ps() },
            Ask::Scale { app, nodes } => self.scale(&app, nodes).await,
            Ask::Reload => self.reload().await,
            Ask::Restart => {
                let began = Instant::now();
                match self.supervisor.restart().await {
                    Ok(()) => Answer::Done { text: format!("restarted in {:.1} s", began.elapsed().as_secs_f64()) },
                    Err(error) => refused(&error),
                }
            }
            // `run` has taken it.
            Ask::Down => Answer::Done { text: "stopping".to_owned() },
        }
    }

    fn ps(&self) -> Ps {
        let name = self.supervisor.config().name.clone();
        let apps = vec![AppStatus { name, queued: self.supervisor.queued() }];
        Ps { schema: 1, apps, items: self.supervisor.status() }
    }

    async fn scale(&self, app: &str, nodes: u32) -> Answer {
        let config = self.supervisor.config();
        if app != config.name {
            let text = format!(
                "error: there is no service {app:?}\n  hint: this project has {0}: scale {0}={nodes}",
                config.name
            );
            return Answer::Refused { code: Exit::USAGE.0, text };
        }
        let began = Instant::now();
        match self.supervisor.scale(nodes).await {
            Ok(()) => {
                record(&self.place, Recorded::new(nodes, config.nodes));
                Answer::Done { text: format!("{app}: {nodes} nodes, in {:.1} s", began.elapsed().as_secs_f64()) }
            }
            Err(error) => refused(&error),
        }
    }

    async fn reload(&self) -> Answer {
        notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
        let answer = self.try_reload().await;
        notify("READY=1");
        answer
    }

    async fn try_reload(&self) -> Answer {
        let began = Instant::now();
        let config = match (self.reload)() {
            Ok(config) => Arc::new(config),
            Err(problems) => {
                return Answer::Refused {
                    code: Exit::CONFIG.0,
                    text: format!("{}\nnothing was changed", problems.to_string().trim_end()),
                };
            }
        };
        let before = self.supervisor.config();
        let interpreter = match find_interpreter(&config).await {
            Ok(interpreter) => interpreter,
            Err(error) => {
                return Answer::Refused { code: Exit::CONFIG.0, text: format!("{error}\nnothing was changed") };
            }
        };
        let nodes = if before.nodes == config.nodes { self.supervisor.node_count() } else { config.nodes };
        if let Err(error) = self.supervisor.reload(Arc::clone(&config), interpreter.path, nodes).await {
            return refused(&error);
        }
        if let Some(edge) = &*self.edge.borrow() {
            edge.set(Settings::new(&config, reader()));
        }
        self.shared.change(Instant::now(), |dispatch| dispatch.bound_queue(config.limits.queue_length));
        let mut text = format!("reloaded in {:.1} s", began.elapsed().as_secs_f64());
        if listens_elsewhere(&before.listen, &config.listen) || before.cores != config.cores {
            text.push_str("; `listen` and `cores` count from the next start on");
        }
        Answer::Done { text }
    }
}

/// Off this thread, as it may have to install what is required.
async fn find_interpreter(config: &Arc<Config>) -> Result<Interpreter, String> {
    let config = Arc::clone(config);
    let found = tokio::task::spawn_blocking(move || {
        supervise::find_or_make(&config, &project::environment(), &mut |_| ())
            .map_err(|error: PrepareError| error.to_string())
    });
    found.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn refused(error: &ChangeError) -> Answer {
    let code = if error.is_the_applications() { Exit::CONFIG } else { Exit::FAILED };
    Answer::Refused { code: code.0, text: format!("{}\nnothing was changed", error.explanation()) }
}
