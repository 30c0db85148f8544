//! What a reload changes in the configuration: told by the running Tierce, shown by the command that has asked.
//!
//! Invariant: it is told before anything is changed, and looking alone (`--dry-run`) changes nothing.

use std::sync::Arc;

use config::Config;
use control::{Answer, Ask, Differs, First};
use serde_json::json;
use supervise::Explanation;
use tokio::sync::oneshot;

use crate::{
    args::{Args, Format, Reload},
    ask::ask_and_hear,
    certificates,
    exit::Exit,
    failure::Failure,
    outcome,
    reload::refused,
    running::Running,
    say,
};

const UNCHANGED: &str = "the configuration is unchanged";

/// `tierce reload`.
pub(crate) fn reload(args: &Args, wanted: &Reload) -> Exit {
    let question = if wanted.dry_run { Ask::Compare } else { Ask::Reload { first: First::Differences } };
    let mut heard = None;
    let answer = ask_and_hear(args, &question, |differs| {
        differs.warnings.iter().for_each(|warning| say::message(warning));
        // What was asked for is printed, however quietly.
        if args.format == Format::Text && (wanted.dry_run || !args.quiet) {
            show(&differs);
        }
        heard = Some(differs);
    });
    match (answer, args.format) {
        (Ok(Answer::Done { text }), Format::Text) => outcome::done(args, &text),
        (Ok(Answer::Done { text }), Format::Json) => {
            // One that is older and still runs has not told.
            let (items, more) = heard.map(|differs| (differs.items, differs.more)).unzip();
            say::result(&json!({ "schema": 1, "items": items, "more": more, "text": text }).to_string());
        }
        (Ok(_), _) => return Exit::FAILED,
        (Err(exit), _) => return exit,
    }
    Exit::DONE
}

fn show(differs: &Differs) {
    if differs.items.is_empty() {
        say::result(UNCHANGED);
    }
    differs.lines().for_each(|line| say::result(&line));
}

/// Who is told what differs.
#[derive(Debug)]
pub(crate) enum Told {
    /// A command.
    Asker(oneshot::Sender<Differs>),
    /// Whoever reads messages, or the log.
    Log,
    /// Nobody has asked.
    Nobody,
}

impl Running {
    /// What a reload would change.
    pub(crate) fn compare(&self, told: Told) -> Answer {
        match self.try_compare(told) {
            Ok(()) => Answer::Done { text: "the configuration is valid; nothing was changed".to_owned() },
            Err(failure) => {
                Answer::Refused { code: failure.exit.0, text: format!("{}\nnothing was changed", failure.text) }
            }
        }
    }

    fn try_compare(&self, told: Told) -> Result<(), Box<Failure>> {
        let before = self.config();
        let config = self.read(&before)?;
        let (wrong, notices) = certificates::check(&config);
        if !wrong.is_empty() {
            return Err(Box::new(refused(&wrong, &before)));
        }
        let warnings = notices.iter().map(|notice| certificates::warning(notice)).collect();
        self.tell(told, Differs { warnings, ..Differs::of(&config::differences(&before, &config)) });
        Ok(())
    }

    /// The configuration as it is now, if it may follow the one before.
    pub(crate) fn read(&self, before: &Config) -> Result<Arc<Config>, Box<Failure>> {
        let config = (self.load)().map_err(|problems| Failure::of_problems(&problems, &before.project))?;
        if config.has_app() != self.app.is_some() {
            let what = "an application in the place of upstreams, or upstreams in its place, cannot be had by a reload";
            let explanation = Explanation::new(what).hint("`tierce down`, then `tierce up`");
            return Err(Box::new(Failure::of_explanation(&explanation, &config.project, Exit::CONFIG)));
        }
        Ok(Arc::new(config))
    }

    /// Says what differs.
    pub(crate) fn tell(&self, told: Told, differs: Differs) {
        match told {
            // One that has gone does not want it.
            Told::Asker(asker) => drop(asker.send(differs)),
            Told::Log => differs.lines().for_each(|line| self.note(&line)),
            Told::Nobody => {}
        }
    }
}
