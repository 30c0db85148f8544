//! The application of a running Tierce: its nodes, and the gate before its queue.
//!
//! Invariant: the gate is open unless the application is being developed (`up --reload`).

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use config::Config;
use control::{Answer, Place};
use policy::{Gate, Shared};
use proxy::{Backend, NodeTable, Service};
use supervise::{ChangeError, Changed, Supervisor};
use telemetry::LogSink;
use tokio::sync::watch;

use crate::{
    ended::cut_off,
    exit::Exit,
    refuse::status,
    up::{Manner, record},
};

/// Requests wait for new code so long at most, and at most half of the time that they may wait at all: rather the old code
/// answers than nobody.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// What is run here.
pub(crate) struct Application {
    pub(crate) supervisor: Supervisor,
    shared: Arc<Shared>,
    table: watch::Receiver<Arc<NodeTable>>,
    /// As many as there are to be, also when the application cannot be loaded.
    pub(crate) nodes: Cell<u32>,
    pub(crate) manner: Manner,
    /// While it is developed: what there is now cannot be loaded.
    pub(crate) broken: Cell<bool>,
}

/// Requests wait as long as this lives.
pub(crate) struct Hold<'a> {
    app: &'a Application,
    pub(crate) until: Instant,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.app.settle_gate();
    }
}

impl Application {
    pub(crate) fn new(
        (supervisor, nodes): (Supervisor, u32),
        shared: Arc<Shared>,
        table: watch::Receiver<Arc<NodeTable>>,
        manner: Manner,
    ) -> Self {
        Self { supervisor, shared, table, nodes: Cell::new(nodes), manner, broken: Cell::new(false) }
    }

    /// It, for the edge.
    pub(crate) fn service(&self, config: &Config) -> Service {
        let backend = Backend::Workers(self.table.clone());
        Service { name: config.name.clone(), shared: Arc::clone(&self.shared), backend }
    }

    /// From now on requests wait.
    pub(crate) fn hold(&self) -> Hold<'_> {
        let now = Instant::now();
        self.shared.set_gate(now, Gate::Held);
        Hold { app: self, until: now + HOLD_MAX.min(self.supervisor.config().limits.queue / 2) }
    }

    /// Lets requests in, or sends them away, as things stand.
    pub(crate) fn settle_gate(&self) {
        self.shared.set_gate(Instant::now(), if self.broken.get() { Gate::Shut } else { Gate::Open });
    }

    pub(crate) async fn scale(&self, nodes: u32, place: &Place, sink: &LogSink) -> Answer {
        let (config, began) = (self.supervisor.config(), Instant::now());
        match self.supervisor.scale(nodes).await {
            Ok(changed) => {
                self.nodes.set(nodes);
                record(place, nodes, &config, sink);
                let (nodes, took) = (units::plural(nodes, "node"), began.elapsed().as_secs_f64());
                done(format!("{}: {nodes}, in {took:.1} s", config.name), changed)
            }
            Err(error) => refused(&error),
        }
    }

    pub(crate) async fn restart(&self) -> Answer {
        let began = Instant::now();
        match self.supervisor.restart().await {
            Ok(changed) => done(format!("restarted in {:.1} s", began.elapsed().as_secs_f64()), changed),
            Err(error) => refused(&error),
        }
    }

    pub(crate) async fn refork(&self, nodes: &[String]) -> Answer {
        let began = Instant::now();
        match self.supervisor.refork(nodes).await {
            Ok(changed) => done(format!("reforked in {:.1} s", began.elapsed().as_secs_f64()), changed),
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

pub(crate) fn refused(error: &ChangeError) -> Answer {
    let mut text = format!("{}\n{}", error.explanation(), error.aftermath());
    if let Some(Changed { cut, limit }) = error.so_far().filter(|changed| 0 < changed.cut) {
        text.push_str(&format!("\n{}", cut_off(cut, limit)));
    }
    let exit = if let ChangeError::NoNode { .. } = error { Exit::USAGE } else { status(error.blame()) };
    Answer::Refused { code: exit.0, text }
}
