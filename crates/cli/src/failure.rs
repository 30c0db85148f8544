//! Why code or configuration could not be loaded, in parts: for one line on the terminal, for the log, for the page.

use std::path::Path;

use config::Problems;
use supervise::Explanation;

use crate::{
    exit::Exit,
    say,
    traceback::{self, Spot},
};

/// On the terminal a cause is one line of this length at most; the log has the whole.
const LINE_MAX: usize = 200;

/// What could not be loaded, and why.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// `cannot import app:app`
    pub(crate) what: String,
    /// `ModuleNotFoundError: No module named 'flask'`
    pub(crate) cause: String,
    /// Where in the project.
    pub(crate) spot: Option<Spot>,
    /// A traceback, a tool's output, or the problems with their places.
    pub(crate) detail: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// All of it, for the log.
    pub(crate) text: String,
    /// What a command ends with that has asked for it.
    pub(crate) exit: Exit,
}

impl Failure {
    /// The configuration is wrong.
    pub(crate) fn of_problems(problems: &Problems, project: &Path) -> Self {
        let text = problems.to_string().trim_end().to_owned();
        let first = problems.0.first();
        let more = problems.0.len().saturating_sub(1);
        let cause = first.map_or_else(String::new, |problem| problem.what.clone());
        let place = first.and_then(|problem| problem.place.as_ref());
        let spot = place.map(|place| {
            let file = place.file.strip_prefix(project).unwrap_or(&place.file).display();
            Spot { name: format!("{file}:{}", place.line), excerpt: String::new() }
        });
        Self {
            what: "the configuration is not valid".to_owned(),
            cause: if more == 0 { cause } else { format!("{cause}, and {more} more") },
            spot,
            detail: text.clone(),
            hint: None,
            text,
            exit: Exit::CONFIG,
        }
    }

    /// Something could not be started.
    pub(crate) fn of_explanation(explanation: &Explanation, project: &Path, exit: Exit) -> Self {
        let detail = explanation.detail.clone().unwrap_or_default();
        Self {
            what: explanation.what.clone(),
            cause: explanation.cause.clone().unwrap_or_else(|| explanation.what.clone()),
            spot: traceback::spot(&detail, project),
            detail,
            hint: explanation.hint.as_deref().map(say::hint),
            text: explanation.to_string(),
            exit,
        }
    }

    /// `ModuleNotFoundError: No module named 'flask' (app.py:3)`
    pub(crate) fn line(&self) -> String {
        let first = self.cause.lines().next().unwrap_or_default();
        let mut line: String = first.chars().take(LINE_MAX).collect();
        if line.len() < self.cause.trim_end().len() {
            line.push('…');
        }
        match &self.spot {
            Some(spot) => format!("{line} ({})", spot.name),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_is_said_as_it_has_to_be_typed() {
        let explanation = Explanation::new("a").hint("look: `tierce check`");
        let failure = Failure::of_explanation(&explanation, Path::new("/p"), Exit::CONFIG);
        assert_eq!(failure.hint, Some(format!("look: `{} check`", say::program())));
    }

    #[test]
    fn one_line_names_cause_and_place() {
        let line = |cause: &str, detail: &str| {
            let explanation = Explanation::new("cannot import app:app").cause(cause).detail(detail);
            Failure::of_explanation(&explanation, Path::new("/p"), Exit::CONFIG).line()
        };
        let frame = "  File \"/p/app.py\", line 3, in <module>\n    import flask\n";
        assert_eq!(line("ImportError: flask", frame), "ImportError: flask (app.py:3)");
        assert_eq!(line("ImportError: flask", "no traceback"), "ImportError: flask");
        assert_eq!(line("ValueError: one\ntwo", frame), "ValueError: one… (app.py:3)");
        assert_eq!(line(&"ä".repeat(300), "").chars().count(), LINE_MAX + 1);
        assert_eq!(Failure::of_explanation(&Explanation::new("a"), Path::new("/p"), Exit::FAILED).line(), "a");
    }
}
