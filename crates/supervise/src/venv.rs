//! `.tierce/venv`: made from the project's requirements, and made again when they change.
//!
//! Invariant: the stamp is written last and removed first, so that a directory without it is not whole and is made anew;
//! who writes holds the lock. Environments cannot be moved, so each is made where it will be used. What is to be
//! installed is read in `requirements`.

mod places; // where they are, and which are in use

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use config::Environment;
use rustix::{
    fs::{FlockOperation, flock},
    io::{Errno, retry_on_intr},
};

pub(crate) use self::places::{Hold, PLACE};
use self::places::{STAMP, clear_one, finished, hold};
use crate::{
    explanation::Explanation,
    interpreter::{Interpreter, Origin, PrepareError, Report, Step, base, on_path, timed},
    probe::probe,
    requirements::Requirements,
    start_error::Blame,
};

/// Output of a tool that is kept for the message when it fails: the last of it, as that is where the error stands.
const OUTPUT_KEPT: usize = 256 << 10;

/// The longest line that is passed on as one.
const LINE_MAX: u64 = 16 << 10;

/// When an environment that is there is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Outdated,
    Always,
}

/// The environment with these requirements.
pub(crate) fn provide(
    project: &Path,
    environment: &Environment,
    requirements: &Requirements,
    when: When,
    report: Report<'_>,
) -> Result<Interpreter, PrepareError> {
    let (python, base_version) = base(project, environment)?;
    let stamp = requirements.stamp(&base_version);
    // For one that is there nothing has to be written, perhaps in a project that cannot be.
    if when == When::Outdated
        && let Some(found) = matching(project, &stamp, &mut |_| ())
    {
        return Ok(found);
    }
    let lock = lock(&project.join(".tierce"), report)?;
    if when == When::Outdated {
        if let Some(found) = matching(project, &stamp, report) {
            return Ok(found);
        }
        if !finished(project).is_empty() {
            again(&format!("{} or python3 has changed", requirements.file()), report);
        }
    }
    let venv = clear_one(project).map_err(|(venv, error)| cannot_write(&venv, &error))?.ok_or_else(all_in_use)?;
    let tools = Tools { project, lock: &lock, uv: on_path("uv", environment), python: &python, venv: &venv };
    tools.create(report)?;
    tools.install(requirements, report)?;
    let path = venv.join("bin/python");
    let version = probe(&path, project)
        .map_err(|cause| Explanation::new(format!("{} does not work", path.display())).cause(cause))?;
    fs::write(venv.join(STAMP), stamp).map_err(|error| cannot_write(&venv, &error))?;
    let (hold, _) = hold(&venv).ok_or_else(|| cannot_write(&venv, &io::ErrorKind::NotFound.into()))?;
    Ok(found(&venv, version, hold))
}

/// One that was made from the same and still works.
fn matching(project: &Path, stamp: &str, report: Report<'_>) -> Option<Interpreter> {
    finished(project).iter().find_map(|venv| {
        let (hold, _) = hold(venv).filter(|(_, present)| present == stamp)?;
        match probe(&venv.join("bin/python"), project) {
            Ok(version) => Some(found(venv, version, hold)),
            Err(cause) => {
                again(&format!("the one that is there does not work: {cause}"), report);
                None
            }
        }
    })
}

fn found(venv: &Path, version: String, hold: Hold) -> Interpreter {
    Interpreter { path: venv.join("bin/python"), version, origin: Origin::TierceVenv, _hold: Some(Arc::new(hold)) }
}

/// The environment that was finished last, from whatever requirements.
pub(crate) fn newest(project: &Path) -> Option<(PathBuf, Hold)> {
    finished(project).into_iter().find_map(|venv| hold(&venv).map(|(hold, _)| (venv, hold)))
}

/// Lets other users through to the environment, and to nothing else. Where the directory belongs to somebody else it
/// stays as it is; then the start says what is in the way.
pub(crate) fn let_others_through(project: &Path) {
    let directory = project.join(".tierce");
    let open = |found: fs::Metadata| {
        fs::set_permissions(&directory, fs::Permissions::from_mode(found.permissions().mode() | 0o011))
    };
    let _ = fs::metadata(&directory).and_then(open);
}

fn again(why: &str, report: Report<'_>) {
    report(Step::Note { what: format!("{PLACE} is made anew: {why}") });
}

/// Keeps a second command from making it at the same time; that one finds it made.
fn lock(directory: &Path, report: Report<'_>) -> Result<File, PrepareError> {
    let path = directory.join("venv.lock");
    let failed = |error: io::Error| cannot_write(&path, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    // For reading too, as it becomes the tools' standard input.
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            report(Step::Note { what: format!("waiting for another command that is making {PLACE}") });
            retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
        }
        locked => locked,
    }
    .map_err(|error| failed(error.into()))?;
    Ok(file)
}

/// What makes an environment: uv where it is, otherwise venv and pip.
struct Tools<'a> {
    project: &'a Path,
    lock: &'a File,
    uv: Option<PathBuf>,
    python: &'a Path,
    venv: &'a Path,
}

impl Tools<'_> {
    fn create(&self, report: Report<'_>) -> Result<(), PrepareError> {
        let mut command = if let Some(uv) = &self.uv {
            let mut command = Command::new(uv);
            command.args(["venv", "--quiet", "--python"]).arg(self.python).arg(self.venv);
            command
        } else {
            let mut command = Command::new(self.python);
            command.args(["-m", "venv"]).arg(self.venv);
            command
        };
        let place =
            format!("{} {}", command.get_program().display(), if self.uv.is_some() { "venv" } else { "-m venv" });
        timed("making .tierce/venv", "made .tierce/venv", report, |report| self.run(&mut command, report)).map_err(
            |failure| {
                let hint = if is_without_ensurepip(&failure.output) {
                    "install the missing module (Debian: apt install python3-venv), or uv"
                } else {
                    "the output above says why; --python names another interpreter"
                };
                failure.explain("the virtual environment could not be made", &place).hint(hint).into()
            },
        )
    }

    fn install(&self, requirements: &Requirements, report: Report<'_>) -> Result<(), PrepareError> {
        // Neither tool accepts that nothing is asked of it.
        if requirements.arguments().is_empty() {
            return Ok(());
        }
        let inside = self.venv.join("bin/python");
        let mut command = if let Some(uv) = &self.uv {
            let mut command = Command::new(uv);
            command.args(["pip", "install", "--python"]).arg(inside);
            command
        } else {
            let mut command = Command::new(inside);
            command.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]);
            command
        };
        command.args(requirements.arguments());
        let file = requirements.file();
        let (what, done) = (format!("installing {file}"), format!("installed {file}"));
        timed(&what, &done, report, |report| self.run(&mut command, report)).map_err(|failure| {
            failure
                .explain("the requirements could not be installed", file)
                .hint(format!("correct {file}, or check that packages can be downloaded from here"))
                .into()
        })
    }

    /// Runs a tool and passes its output on line by line.
    fn run(&self, command: &mut Command, report: Report<'_>) -> Result<(), Failure> {
        let program = command.get_program().display().to_string();
        let failure = |error: io::Error| Failure { cause: format!("{program}: {error}"), output: String::new() };
        let (reader, writer) = io::pipe().map_err(failure)?;
        command
            .current_dir(self.project)
            // An empty file to read from; and should we be killed, the lock is held until the tool has been too.
            .stdin(self.lock.try_clone().map_err(failure)?)
            .stdout(writer.try_clone().map_err(failure)?)
            .stderr(writer)
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME");
        let _leash = sys::prepare_leashed(command).map_err(failure)?;
        let mut child = command.spawn().map_err(failure)?;
        // Our copies of the pipe's end would keep it open for ever, and that of the lock would keep it held.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let output = pass_on(reader, report);
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure { cause: format!("{program} ended with {status}"), output }),
            Err(error) => Err(Failure { cause: error.to_string(), output }),
        }
    }
}

/// Reports lines until the end, which it returns as much of as is kept.
fn pass_on(pipe: impl Read, report: Report<'_>) -> String {
    let (mut reader, mut kept, mut size) = (BufReader::new(pipe), VecDeque::new(), 0);
    let mut bytes = Vec::new();
    while matches!(reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes), Ok(1..)) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        size += line.len() + 1;
        kept.push_back(line.clone());
        report(Step::Output { line });
        while OUTPUT_KEPT < size {
            size -= kept.pop_front().map_or(size, |dropped: String| dropped.len() + 1);
        }
    }
    kept.make_contiguous().join("\n")
}

/// Debian's Python comes without the module, and says so in its own words.
fn is_without_ensurepip(output: &str) -> bool {
    ["ensurepip is not available", "No module named ensurepip", "No module named 'ensurepip'", "No module named venv"]
        .iter()
        .any(|text| output.contains(text))
}

struct Failure {
    cause: String,
    output: String,
}

impl Failure {
    fn explain(self, what: &str, place: &str) -> Explanation {
        Explanation::new(what).during("preparing the interpreter").place(place).cause(self.cause).detail(self.output)
    }
}

fn all_in_use() -> PrepareError {
    Explanation::new("there is no place for another environment")
        .during("preparing the interpreter")
        .cause(format!("all places beside {PLACE} are in use by nodes that are running or ending"))
        .hint("wait until ps shows one generation only")
        .into()
}

fn cannot_write(path: &Path, error: &io::Error) -> PrepareError {
    let explanation = Explanation::new(format!("cannot write {}", path.display()))
        .during("preparing the interpreter")
        .cause(error.to_string())
        .hint("make the project's directory writable, or prepare an environment yourself and name it with --python");
    PrepareError(Box::new(explanation), Blame::of(error))
}

#[cfg(test)]
mod tests;
