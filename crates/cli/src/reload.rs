//! New code and configuration for a running Tierce.
//!
//! While an application is developed (`up --reload`) nobody wants to see the old code again once there is new: requests
//! wait while the new is being loaded, and get a page that says why when it cannot be.
//!
//! | gate | from                             | until                                                    |
//! |------|----------------------------------|----------------------------------------------------------|
//! | open | it was loaded                    | a file changes                                           |
//! | held | a file changes                   | it was loaded, or it could not be, or a while            |
//! | shut | it could not be loaded           | a file changes                                           |
//!
//! Invariant: without `--reload` the gate is always open, and a reload that fails changes nothing.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use config::Config;
use control::{Answer, Differs};
use proxy::{Followed, Settings};
use supervise::{ChangeError, Changed, Explanation, Interpreter, PrepareError, Recipe, Replaced};
use tls::Loaded;
use tokio::{task::JoinError, time::timeout};

use crate::{
    application::{Application, Hold, done},
    balance, certificates,
    differences::Told,
    exit::Exit,
    failure::Failure,
    notify::{monotonic_us, notify},
    page::page,
    project,
    refuse::{Refusal, status},
    relisten::Relisten,
    running::Running,
    up::{Manner, line_format, reader, record},
};

/// While an application is developed, what the old code still has in flight is cut off after this.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The new code gets the requests.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// `reloaded in 0.2 s`
    pub(crate) text: String,
    replaced: Option<Replaced>,
    drain: Duration,
}

impl Renewed {
    /// Returns when the old code has gone.
    pub(crate) async fn retire(self) -> Changed {
        match self.replaced {
            Some(replaced) => replaced.retire(self.drain).await,
            None => Changed { cut: 0, limit: self.drain },
        }
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

impl Running {
    /// Reloads at somebody's word.
    pub(crate) async fn reload(&self, told: Told) -> Answer {
        let hold = self.app.as_ref().filter(|_| self.develops()).map(Application::hold);
        match self.renew(None, hold, told).await {
            Ok(renewed) => {
                let text = renewed.text.clone();
                let changed = renewed.retire().await;
                // What the old code still did while it is being developed is cut off on purpose.
                if self.develops() { Answer::Done { text } } else { done(text, changed) }
            }
            Err(NotRenewed::Busy(why)) => {
                Answer::Refused { code: Exit::FAILED.0, text: format!("{why}\nnothing was changed") }
            }
            Err(NotRenewed::Failed(failure)) => {
                let then = if self.develops() { "requests are answered with this" } else { "nothing was changed" };
                Answer::Refused { code: failure.exit.0, text: format!("{}\n{then}", failure.text) }
            }
        }
    }

    /// Loads code and configuration as they are now. `changed` says why; the hold ends when that is done.
    pub(crate) async fn renew(
        &self,
        changed: Option<&str>,
        hold: Option<Hold<'_>>,
        told: Told,
    ) -> Result<Renewed, NotRenewed> {
        notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
        let mut renewing = pin!(self.try_renew(told));
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
        match (&renewed, &self.app) {
            (Ok(_), Some(app)) => app.broken.set(false),
            (Err(NotRenewed::Failed(failure)), Some(app)) if self.develops() => self.show(app, failure, changed),
            _ => {}
        }
        drop(hold);
        if let Some(app) = &self.app {
            app.settle_gate();
        }
        notify("READY=1");
        renewed
    }

    /// When the gate is shut, this is what requests for the application are answered with.
    pub(crate) fn show(&self, app: &Application, failure: &Failure, changed: Option<&str>) {
        app.broken.set(true);
        if let Some(edge) = &*self.edge.borrow() {
            edge.set_page(page(failure, changed, &self.config().project));
        }
    }

    async fn try_renew(&self, told: Told) -> Result<Renewed, NotRenewed> {
        let began = Instant::now();
        let before = self.config();
        let config = self.read(&before).map_err(|failure| *failure)?;
        let read = certificates::load(&config).and_then(|loaded| Ok((loaded, certificates::clients(&config)?)));
        let (certificates, clients) = read.map_err(|refusals| refused(&refusals, &before))?;
        let balancing = balance::prepare(&config, &self.place).map_err(|error| {
            Failure::of_explanation(&balance::explain(&error, &self.place), &config.project, Exit::FAILED)
        })?;
        self.tell(told, Differs::of(&config::differences(&before, &config)));
        let (replaced, relisten) = match &self.app {
            Some(app) => self.replace(app, &before, &config, certificates).await?,
            None => {
                let relisten = self.prepare_listeners(&config, certificates);
                (None, relisten.map_err(|refusal| refused(&[refusal], &config))?)
            }
        };
        // Nothing can fail any more.
        let Followed { came, went } = self.upstreams.borrow_mut().follow((&config, &clients));
        clients.notices.iter().for_each(|notice| self.sink.message(&certificates::warning(notice)));
        let services = self.services(&config);
        services.iter().for_each(|service| balancing.follow(&service.shared, &service.name));
        let listens = self.relisten(relisten, Settings::new(&config, reader(), services));
        self.sink.set_format(line_format(&config));
        *self.config.borrow_mut() = Arc::clone(&config);
        let mut told = Vec::new();
        if self.app.is_none() || !came.is_empty() || !went.is_empty() {
            told.push(format!("{}, {}", counted(&came, "new"), counted(&went, "gone")));
        }
        told.extend(listens);
        let mut text = format!("reloaded in {:.1} s", began.elapsed().as_secs_f64());
        if !told.is_empty() {
            text.push_str(&format!(": {}", told.join("; ")));
        }
        let drain = if self.develops() { config.limits.drain.min(DRAIN_MAX) } else { config.limits.drain };
        Ok(Renewed { text, replaced, drain })
    }

    /// A new generation of the application beside the old, as soon as all that it may be asked by is bound.
    async fn replace(
        &self,
        app: &Application,
        before: &Config,
        config: &Arc<Config>,
        certificates: Option<Loaded>,
    ) -> Result<(Option<Replaced>, Relisten), NotRenewed> {
        let interpreter = find_interpreter(config)
            .await
            .map_err(|PrepareError(why, blame)| Failure::of_explanation(&why, &config.project, status(blame)))?;
        let nodes = if before.nodes == config.nodes { app.nodes.get() } else { config.nodes };
        // Two that bind at a time would be in each other's way.
        app.supervisor.refuse_if_busy().map_err(|error| not_renewed(&error, config))?;
        let relisten = self.prepare_listeners(config, certificates).map_err(|refusal| refused(&[refusal], config))?;
        let recipe = Recipe { config: Arc::clone(config), interpreter, front: self.front(&relisten) };
        let replaced = app.supervisor.reload(recipe, nodes).await;
        let replaced = replaced.map_err(|error| not_renewed(&error, config))?;
        app.nodes.set(nodes);
        record(&self.place, nodes, config, &self.sink);
        Ok((Some(replaced), relisten))
    }

    fn develops(&self) -> bool {
        self.app.as_ref().is_some_and(|app| app.manner == Manner::Developed)
    }
}

/// `1 new (127.0.0.1:8001)`.
fn counted(names: &[String], what: &str) -> String {
    match names {
        [] => format!("0 {what}"),
        names => format!("{} {what} ({})", names.len(), names.join(", ")),
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

pub(crate) fn refused(refusals: &[Refusal], config: &Config) -> Failure {
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
