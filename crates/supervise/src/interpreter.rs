//! Which Python runs the application.
//!
//! `--python` or `python` is taken as it is or refused. Otherwise the first that fits of `$VIRTUAL_ENV` and `.venv`, which
//! must have the packages that the project names, `.tierce/venv`, which is made when it names any, and `python3`.
//!
//! Invariant: what is passed over is reported with the reason. What fits is decided in `probe`, and how an environment
//! is made in `venv`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use config::{Config, Environment};
use rustix::fs::{Access, access};

use crate::{
    explanation::Explanation,
    probe::{probe, probe_for},
    requirements::Requirements,
    start_error::Blame,
    venv,
};

/// Where an interpreter was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--python`, or the key `python`.
    Configured,
    /// `$VIRTUAL_ENV`.
    VirtualEnv,
    /// `.venv` in the project.
    DotVenv,
    /// `.tierce/venv`, made by Tierce.
    TierceVenv,
    /// `python3` on the path.
    System,
}

/// A Python that can load the worker extension. As long as one of its clones lives, an environment of ours is not
/// removed.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// Its executable.
    pub path: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// Where it was found.
    pub origin: Origin,
    pub(crate) _hold: Option<Arc<venv::Hold>>,
}

impl Interpreter {
    /// Stands for one that was not found: no node can be started with it.
    pub fn none() -> Self {
        Self { path: PathBuf::new(), version: String::new(), origin: Origin::System, _hold: None }
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            Origin::Configured => "as configured",
            Origin::VirtualEnv => "from $VIRTUAL_ENV",
            Origin::DotVenv => "from .venv",
            Origin::TierceVenv => "from .tierce/venv",
            Origin::System => "from PATH",
        };
        write!(f, "Python {} {origin}", self.version)
    }
}

impl Interpreter {
    /// `.venv/bin/python 3.11.7`.
    pub(crate) fn shown(&self, project: &Path) -> String {
        format!("{} {}", self.path.strip_prefix(project).unwrap_or(&self.path).display(), self.version)
    }
}

/// What a long step tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has begun.
    Begin {
        /// What is being done.
        what: String,
    },
    /// A line of output of a tool.
    Output {
        /// The line.
        line: String,
    },
    /// It has been done.
    End {
        /// What has been done.
        what: String,
        /// How long it took.
        took: std::time::Duration,
    },
    /// Something was passed over.
    Note {
        /// What, and why.
        what: String,
    },
}

/// Takes steps as they come.
pub type Report<'a> = &'a mut dyn FnMut(Step);

/// No interpreter, or none with what the application needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PrepareError(pub Box<Explanation>, pub Blame);

impl From<Explanation> for PrepareError {
    fn from(explanation: Explanation) -> Self {
        Self(Box::new(explanation), Blame::Application)
    }
}

/// Finds the interpreter, and makes `.tierce/venv` if that is what is missing.
pub fn find_or_make(
    config: &Config,
    environment: &Environment,
    report: Report<'_>,
) -> Result<Interpreter, PrepareError> {
    let found = find(config, environment, report)?;
    if found.origin == Origin::TierceVenv && config.user.is_some() {
        venv::let_others_through(&config.project);
    }
    Ok(found)
}

fn find(config: &Config, environment: &Environment, report: Report<'_>) -> Result<Interpreter, PrepareError> {
    let project = &config.project;
    if let Some(path) = &config.python {
        let version = probe(path, project).map_err(|cause| {
            Explanation::new(format!("{} cannot run the application", path.display()))
                .during("looking for the interpreter")
                .cause(cause)
                .hint("python names a CPython from 3.10, for example .venv/bin/python")
        })?;
        return Ok(Interpreter { path: path.clone(), version, origin: Origin::Configured, _hold: None });
    }
    // Requirements that cannot be read hinder nobody who has prepared an environment.
    let requirements = Requirements::of(project);
    let required = requirements.as_ref().ok().and_then(Option::as_ref);
    if let Some(named) = environment.value("VIRTUAL_ENV") {
        // The operator has said that it is there: that it is not is worth a word.
        if let Some(found) = in_directory(&project.join(named), Origin::VirtualEnv, project, required, report) {
            return Ok(found);
        }
    }
    let own = project.join(".venv");
    if own.symlink_metadata().is_ok()
        && let Some(found) = in_directory(&own, Origin::DotVenv, project, required, report)
    {
        return Ok(found);
    }
    if config.node.is_some() {
        return ready_made(project, environment, requirements?.as_ref(), report);
    }
    if let Some(requirements) = requirements? {
        return venv::provide(project, environment, &requirements, venv::When::Outdated, report);
    }
    if let Some((made, hold)) = venv::newest(project)
        && let Some(found) = in_directory(&made, Origin::TierceVenv, project, None, report)
    {
        return Ok(Interpreter { _hold: Some(Arc::new(hold)), ..found });
    }
    system(project, environment)
}

/// What an image has. Nothing is installed when a container starts: each would do it again, and some would fail.
fn ready_made(
    project: &Path,
    environment: &Environment,
    required: Option<&Requirements>,
    report: Report<'_>,
) -> Result<Interpreter, PrepareError> {
    if let Some((made, hold)) = venv::newest(project)
        && let Some(found) = in_directory(&made, Origin::TierceVenv, project, required, report)
    {
        return Ok(Interpreter { _hold: Some(Arc::new(hold)), ..found });
    }
    let found = system(project, environment)?;
    let Some(required) = required.filter(|required| !required.packages().is_empty()) else { return Ok(found) };
    let asked = probe_for(required.packages(), &found.path, project);
    let lacking =
        asked.map_err(|cause| Explanation::new(format!("{} does not work", found.path.display())).cause(cause))?;
    if lacking.lacking.is_empty() {
        return Ok(found);
    }
    let (file, install) = match required.file() {
        file @ "requirements.txt" => (file, "pip install --no-cache-dir -r requirements.txt"),
        file => (file, "pip install --no-cache-dir ."),
    };
    Err(Explanation::new(format!("the image lacks {}", lacking.lacking.join(", ")))
        .during("looking for an interpreter that has what the application needs")
        .place(found.shown(project))
        .cause(format!("{file} names it, and nothing is installed when a container starts"))
        .hint(format!("write into the Dockerfile, behind the COPY of {file}: RUN {install}"))
        .into())
}

/// Makes `.tierce/venv` anew (`tierce build`), in a project that need not have anything but requirements yet.
pub fn build(project: &Path, environment: &Environment, report: Report<'_>) -> Result<Interpreter, PrepareError> {
    if let Some(requirements) = Requirements::of(project)? {
        let made = venv::provide(project, environment, &requirements, venv::When::Always, report)?;
        // Who builds need not be who runs it.
        venv::let_others_through(project);
        return Ok(made);
    }
    let python = system(project, environment)?;
    let what = "nothing to build: there is no requirements.txt, and no dependencies in a pyproject.toml";
    report(Step::Note { what: what.to_owned() });
    Ok(python)
}

/// The environment in a directory, if it works and has what is required.
fn in_directory(
    directory: &Path,
    origin: Origin,
    project: &Path,
    required: Option<&Requirements>,
    report: Report<'_>,
) -> Option<Interpreter> {
    let path = directory.join("bin/python");
    let packages = required.map_or(&[][..], Requirements::packages);
    let why = match probe_for(packages, &path, project) {
        Ok(found) if found.lacking.is_empty() => {
            return Some(Interpreter { path, version: found.version, origin, _hold: None });
        }
        Ok(found) => {
            let file = required.map_or("", Requirements::file);
            format!("it lacks {}, which {file} names", found.lacking.join(", "))
        }
        Err(cause) => cause,
    };
    report(Step::Note { what: format!("passing over {}: {why}", directory.display()) });
    None
}

fn system(project: &Path, environment: &Environment) -> Result<Interpreter, PrepareError> {
    let (path, version) = base(project, environment)?;
    Ok(Interpreter { path, version, origin: Origin::System, _hold: None })
}

/// The first Python on the path that fits.
pub(crate) fn base(project: &Path, environment: &Environment) -> Result<(PathBuf, String), PrepareError> {
    let mut causes = Vec::new();
    for name in ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"] {
        let Some(path) = on_path(name, environment) else { continue };
        match probe(&path, project) {
            Ok(version) => return Ok((path, version)),
            Err(cause) => causes.push(format!("{}: {cause}", path.display())),
        }
    }
    if causes.is_empty() {
        causes.push("no python3 on PATH".to_owned());
    }
    Err(Explanation::new("there is no Python that can run the application")
        .during("looking for the interpreter")
        .cause(causes.join("\n"))
        .hint("install CPython 3.10 or newer (Debian: apt install python3 python3-venv), or name one with --python")
        .into())
}

/// The program that a shell would start by this name.
pub(crate) fn on_path(name: &str, environment: &Environment) -> Option<PathBuf> {
    let directories = environment.value("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let is_program = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    // A relative directory would be another one for the application than for us.
    std::env::split_paths(directories).filter(|path| path.is_absolute()).map(|path| path.join(name)).find(is_program)
}

/// Runs something and says how long it took, if it succeeded.
pub(crate) fn timed<E>(
    what: &str,
    done: &str,
    report: Report<'_>,
    run: impl FnOnce(Report<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let began = Instant::now();
    report(Step::Begin { what: what.to_owned() });
    run(report)?;
    report(Step::End { what: done.to_owned(), took: began.elapsed() });
    Ok(())
}

#[cfg(test)]
mod tests;
