//! Which Python runs the application.
//!
//! `--python` or `python` is taken as it is or refused. Otherwise the first that fits of `$VIRTUAL_ENV`, `.venv`,
//! `.tierce/venv`, which is made when the project names requirements, and `python3`.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use config::{Config, Environment};

use crate::{
    explanation::Explanation,
    venv::{self, Requirements},
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

/// A Python that can load the worker extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its executable.
    pub path: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// Where it was found.
    pub origin: Origin,
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
pub struct PrepareError(pub Box<Explanation>);

impl From<Explanation> for PrepareError {
    fn from(explanation: Explanation) -> Self {
        Self(Box::new(explanation))
    }
}

/// Finds the interpreter, and makes `.tierce/venv` if that is what is missing.
pub fn find_or_make(
    config: &Config,
    environment: &Environment,
    report: Report<'_>,
) -> Result<Interpreter, PrepareError> {
    if let Some(path) = &config.python {
        let version = probe(path).map_err(|cause| {
            Explanation::new(format!("{} cannot run the application", path.display()))
                .during("looking for the interpreter")
                .cause(cause)
                .hint("python names a CPython from 3.10, for example .venv/bin/python")
        })?;
        return Ok(Interpreter { path: path.clone(), version, origin: Origin::Configured });
    }
    let virtual_env = environment.value("VIRTUAL_ENV").map(|path| (PathBuf::from(path), Origin::VirtualEnv));
    let candidates = virtual_env.into_iter().chain([(config.project.join(".venv"), Origin::DotVenv)]);
    for (directory, origin) in candidates {
        let path = directory.join("bin/python");
        if !directory.is_dir() {
            continue;
        }
        match probe(&path) {
            Ok(version) => return Ok(Interpreter { path, version, origin }),
            Err(cause) => report(Step::Note { what: format!("passing over {}: {cause}", directory.display()) }),
        }
    }
    match Requirements::of(&config.project) {
        Some(requirements) => venv::provide(&config.project, &requirements, venv::When::Outdated, report),
        None => system(environment),
    }
}

/// Makes `.tierce/venv` anew (`tierce build`).
pub fn build(config: &Config, environment: &Environment, report: Report<'_>) -> Result<Interpreter, PrepareError> {
    match Requirements::of(&config.project) {
        Some(requirements) => venv::provide(&config.project, &requirements, venv::When::Always, report),
        None => {
            let python = system(environment)?;
            report(Step::Note {
                what: "nothing to build: there is no requirements.txt and no pyproject.toml".to_owned(),
            });
            Ok(python)
        }
    }
}

fn system(_environment: &Environment) -> Result<Interpreter, PrepareError> {
    let (path, version) = base()?;
    Ok(Interpreter { path, version, origin: Origin::System })
}

/// The first Python on the path that fits.
pub(crate) fn base() -> Result<(PathBuf, String), PrepareError> {
    let mut causes = Vec::new();
    for name in ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"] {
        match probe(Path::new(name)) {
            Ok(version) => return Ok((PathBuf::from(name), version)),
            Err(cause) => causes.push(format!("{name}: {cause}")),
        }
    }
    Err(Explanation::new("there is no Python that can run the application")
        .during("looking for the interpreter")
        .cause(causes.join("\n"))
        .hint("install CPython 3.10 or newer (Debian: apt install python3 python3-venv), or name one with --python")
        .into())
}

/// Its version if it is a CPython from 3.10 on glibc, else why not.
pub(crate) fn probe(path: &Path) -> Result<String, String> {
    const PROGRAM: &str = "import sys, platform, sysconfig\n\
        print('.'.join(map(str, sys.version_info[:3])), sys.implementation.name, platform.libc_ver()[0] or '-',\n\
        sysconfig.get_config_var('Py_GIL_DISABLED') or 0)";
    let output = Command::new(path)
        .args(["-I", "-c", PROGRAM])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = text.split_whitespace().collect();
    let [version, implementation, libc, free_threaded] = words[..] else {
        return Err(format!("it did not run ({})", output.status));
    };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let at_least = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (3, 10);
    match () {
        () if implementation != "cpython" => Err(format!("it is {implementation}, not CPython")),
        () if !at_least => Err(format!("it is Python {version}; 3.10 is the oldest that works")),
        () if libc != "glibc" => Err("it does not use glibc".to_owned()),
        () if free_threaded == "1" => Err("free-threaded builds are not supported yet".to_owned()),
        () => Ok(version.to_owned()),
    }
}

/// Runs something and says how long it took.
pub(crate) fn timed<T>(what: &str, done: &str, report: Report<'_>, run: impl FnOnce(Report<'_>) -> T) -> T {
    let began = Instant::now();
    report(Step::Begin { what: what.to_owned() });
    let result = run(report);
    report(Step::End { what: done.to_owned(), took: began.elapsed() });
    result
}

#[cfg(test)]
mod tests;
