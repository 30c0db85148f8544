//! New code and configuration for a running Tierce.
//!
//! While an application is developed (`up --reload`) nobody wants to see the old code again once there is new: requests
//! wait while the new is being loaded, and get a page that says why when it cannot be.
//!
//! | gate | from                             | until                                                    |
//! |------|----------------------------------|----------------------------------------------------------|
//! | open | it was loaded                    | a file changes                                           |
//! | held | a file changes                   | it was loaded, or it could not be, or [`HOLD_MAX`]       |
//! | shut | it could not be loaded           | a file changes                                           |
//!
//! Invariant: without `--reload` the gate is always open, and a reload that fails changes nothing.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use config::Config;
use control::Answer;
use policy::Gate;
use proxy::Settings;
use supervise::{ChangeError, Changed, Explanation, Interpreter, PrepareError, Replaced};
use tokio::{task::JoinError, time::timeout};

use crate::{
    balance, certificates,
    exit::Exit,
    failure::Failure,
    notify::{monotonic_us, notify},
    page::page,
    project,
    refuse::{Refusal, status},
    running::{Running, done},
    up::{line_format, listens_elsewhere, reader, record},
};

/// Requests wait for new code so long at most, and at most half of the time that they may wait at all: rather the old code
/// answers than nobody.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// While an application is developed, what the old code still has in flight is cut off after this.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The new code gets the requests.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// `reloaded in 0.2 s`
    pub(crate) text: String,
    replaced: Replaced,
    drain: Duration,
}

impl Renewed {
    /// Returns when the old code has gone.
    pub(crate) async fn retire(self) -> Changed {
        self.replaced.retire(self.drain).await
    }
}

/// There is no new code.
#[derive(Debug)]
pub(crate) enum NotRenewed {
    /// Another change is under way: nothing was tried.
    Busy(Explanation),
    /// It cannot be loaded.
    Failed(Failure),
}

impl From<Failure> for NotRenewed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Requests wait as long as this lives.
pub(crate) struct Hold<'a> {
    running: &'a Running,
    until: Instant,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.running.settle_gate();
    }
}

impl Running {
    /// Reloads at somebody's word.
    pub(crate) async fn reload(&self) -> Answer {
        let hold = self.develops.then(|| self.hold());
        match self.renew(None, hold).await {
            Ok(renewed) => {
                let text = renewed.text.clone();
                let changed = renewed.retire().await;
                // What the old code still did while it is being developed is cut off on purpose.
                if self.develops { Answer::Done { text } } else { done(text, changed) }
            }
            Err(NotRenewed::Busy(why)) => {
                Answer::Refused { code: Exit::FAILED.0, text: format!("{why}\nnothing was changed") }
            }
            Err(NotRenewed::Failed(failure)) => {
                let then = if self.develops { "requests are answered with this" } else { "nothing was changed" };
                Answer::Refused { code: failure.exit.0, text: format!("{}\n{then}", failure.text) }
            }
        }
    }

    /// From now on requests wait.
    pub(crate) fn hold(&self) -> Hold<'_> {
        let now = Instant::now();
        self.shared.set_gate(now, Gate::Held);
        Hold { running: self, until: now + HOLD_MAX.min(self.supervisor.config().limits.queue / 2) }
    }

    /// Loads code and configuration as they are now. `changed` says why; the hold ends when that is done.
    pub(crate) async fn renew(&self, changed: Option<&str>, hold: Option<Hold<'_>>) -> Result<Renewed, NotRenewed> {
        notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
        let mut renewing = pin!(self.try_renew());
        let in_time = match &hold {
            Some(hold) => timeout(hold.until.saturating_duration_since(Instant::now()), &mut renewing).await.ok(),
            None => None,
        };
        let (hold, renewed) = match in_time {
            Some(renewed) => (hold, renewed),
            None => {
                drop(hold);
                (None, renewing.await)
            }
        };
        let [made, failed] = &self.reloads;
        let count = if renewed.is_ok() { made } else { failed };
        count.set(count.get() + 1);
        match &renewed {
            Ok(_) => self.broken.set(false),
            Err(NotRenewed::Failed(failure)) if self.develops => self.show(failure, changed),
            Err(_) => {}
        }
        drop(hold);
        self.settle_gate();
        notify("READY=1");
        renewed
    }

    /// Lets requests in, or sends them away, as things stand.
    pub(crate) fn settle_gate(&self) {
        self.shared.set_gate(Instant::now(), if self.broken.get() { Gate::Shut } else { Gate::Open });
    }

    /// When the gate is shut, this is what requests are answered with.
    pub(crate) fn show(&self, failure: &Failure, changed: Option<&str>) {
        self.broken.set(true);
        if let Some(edge) = &*self.edge.borrow() {
            edge.set_page(page(failure, changed, &self.supervisor.config().project));
        }
    }

    async fn try_renew(&self) -> Result<Renewed, NotRenewed> {
        let began = Instant::now();
        let before = self.supervisor.config();
        let config = Arc::new((self.load)().map_err(|problems| Failure::of_problems(&problems, &before.project))?);
        if !config.upstreams.is_empty() {
            let explanation = Explanation::new("upstreams in the place of the application cannot be had by a reload")
                .hint("`tierce down`, then `tierce up`");
            return Err(Failure::of_explanation(&explanation, &config.project, Exit::CONFIG).into());
        }
        let certificates = certificates::load(&config).map_err(|refusals| refused(&refusals, &before))?;
        let balancing = balance::prepare(&config, &self.place).map_err(|error| {
            Failure::of_explanation(&balance::explain(&error, &self.place), &config.project, Exit::FAILED)
        })?;
        let interpreter = find_interpreter(&config)
            .await
            .map_err(|PrepareError(why, blame)| Failure::of_explanation(&why, &config.project, status(blame)))?;
        let nodes = if before.nodes == config.nodes { self.nodes.get() } else { config.nodes };
        let replaced = self.supervisor.reload(Arc::clone(&config), interpreter, nodes).await;
        let replaced = replaced.map_err(|error| not_renewed(&error, &config))?;
        self.nodes.set(nodes);
        record(&self.place, nodes, &config, &self.sink);
        if let Some(edge) = &*self.edge.borrow() {
            edge.set(Settings::new(&config, reader()));
        }
        self.certificates.exchange(certificates);
        self.sink.set_format(line_format(&config));
        balance::follow(&self.shared, &config, balancing);
        let mut text = format!("reloaded in {:.1} s", began.elapsed().as_secs_f64());
        if before.admin != config.admin {
            text.push_str("; `admin` counts from the next start on");
        }
        if listens_elsewhere(&before.listen, &config.listen) || before.cores != config.cores {
            text.push_str("; `listen` and `cores` count from the next start on");
        }
        let drain = if self.develops { config.limits.drain.min(DRAIN_MAX) } else { config.limits.drain };
        Ok(Renewed { text, replaced, drain })
    }
}

/// Off this thread, as it may have to install what is required.
async fn find_interpreter(config: &Arc<Config>) -> Result<Interpreter, PrepareError> {
    let config = Arc::clone(config);
    let found =
        tokio::task::spawn_blocking(move || supervise::find_or_make(&config, &project::environment(), &mut |_| ()));
    let broken = |error: JoinError| Explanation::new("cannot look for Python").cause(error.to_string());
    found.await.unwrap_or_else(|error| Err(broken(error).into()))
}

fn refused(refusals: &[Refusal], config: &Config) -> Failure {
    let texts: Vec<_> = refusals.iter().map(|refusal| refusal.explanation.to_string()).collect();
    let exit = refusals.first().map_or(Exit::FAILED, |refusal| refusal.exit);
    match refusals {
        [only] => Failure::of_explanation(&only.explanation, &config.project, exit),
        _ => {
            let explanation = Explanation::new("the certificates cannot be used").detail(texts.join("\n"));
            Failure::of_explanation(&explanation, &config.project, exit)
        }
    }
}

fn not_renewed(error: &ChangeError, config: &Config) -> NotRenewed {
    match error {
        ChangeError::Busy { .. } => NotRenewed::Busy(error.explanation()),
        ChangeError::Start(_)
        | ChangeError::Halfway { .. }
        | ChangeError::NotReforked { .. }
        | ChangeError::NoNode { .. } => {
            NotRenewed::Failed(Failure::of_explanation(&error.explanation(), &config.project, status(error.blame())))
        }
    }
}
