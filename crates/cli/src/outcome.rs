//! How a command ended, for people and for programs.
//!
//! Invariant: with `--format json` standard output has JSON only, one object for each thing that was done, and messages
//! stay on standard error.

use config::{Place, Problem};
use serde_json::{Value, json};
use supervise::Explanation;

use crate::{
    args::{Args, Format},
    exit::Exit,
    refuse::Refusal,
    say,
};

/// Says that something was done.
pub(crate) fn done(args: &Args, text: &str) {
    match args.format {
        Format::Json => say::result(&json!({ "schema": 1, "text": text }).to_string()),
        Format::Text if args.quiet => {}
        Format::Text => say::message(&format!("✓ {text}")),
    }
}

/// Something that is wrong, whichever part has found it.
#[derive(Debug)]
pub(crate) struct Fault {
    text: String,
    item: Value,
    exit: Exit,
}

impl From<&Problem> for Fault {
    fn from(problem: &Problem) -> Self {
        let place = |place: &Place| format!("{}:{}:{}", place.file.display(), place.line, place.column);
        let item = item(&Explanation {
            what: problem.what.clone(),
            place: problem.place.as_ref().map(place),
            cause: problem.note.clone(),
            hint: problem.hint.clone(),
            ..Explanation::default()
        });
        Self { text: problem.to_string(), item, exit: Exit::CONFIG }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.explanation.to_string();
        Self { text, item: item(&refusal.explanation), exit: refusal.exit }
    }
}

fn item(explanation: &Explanation) -> Value {
    let Explanation { what, during, place, cause, detail, hint } = explanation;
    let hint = hint.as_deref().map(say::hint);
    json!({ "what": what, "while": during, "where": place, "cause": cause, "detail": detail, "hint": hint })
}

/// Says all that is wrong. A configuration that is wrong stays wrong, so its status counts before all others.
pub(crate) fn faulty(args: &Args, faults: &[Fault]) -> Exit {
    match args.format {
        Format::Json => {
            let items: Vec<_> = faults.iter().map(|fault| &fault.item).collect();
            say::result(&json!({ "schema": 1, "items": items }).to_string());
        }
        Format::Text => {
            let texts: Vec<_> = faults.iter().map(|fault| fault.text.trim_end()).collect();
            say::message(&texts.join("\n\n"));
        }
    }
    let exits = || faults.iter().map(|fault| fault.exit);
    exits().find(|exit| *exit == Exit::CONFIG).or_else(|| exits().next()).unwrap_or(Exit::DONE)
}
