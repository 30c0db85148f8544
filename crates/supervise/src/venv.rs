//! `.tierce/venv`: made from the project's requirements, and made again when they change.
//!
//! Invariant: the stamp is written last, so that a directory without it was not finished and is made anew.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    explanation::Explanation,
    interpreter::{Interpreter, Origin, PrepareError, Report, Step, base, probe, timed},
};

/// Output of a tool that is kept for the message when it fails.
const OUTPUT_KEPT: usize = 200;

/// What the project wants to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirements {
    file: PathBuf,
    /// What pip is given for it.
    arguments: Vec<String>,
    text: String,
}

/// When an environment that is there is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Outdated,
    Always,
}

impl Requirements {
    /// requirements.txt, else the dependencies of pyproject.toml.
    pub(crate) fn of(project: &Path) -> Option<Self> {
        let file = project.join("requirements.txt");
        if let Ok(text) = fs::read_to_string(&file) {
            let arguments = vec!["-r".to_owned(), "requirements.txt".to_owned()];
            return Some(Self { file, arguments, text });
        }
        let file = project.join("pyproject.toml");
        let text = fs::read_to_string(&file).ok()?;
        let table: toml_edit::Document<&str> = toml_edit::Document::parse(text.as_str()).ok()?;
        let dependencies = table.get("project")?.get("dependencies")?.as_array()?;
        let arguments = dependencies.iter().filter_map(|value| value.as_str().map(ToOwned::to_owned)).collect();
        Some(Self { file, arguments, text })
    }

    fn stamp(&self, version: &str) -> String {
        // FNV-1a: the same on every machine and in every version, which the standard library's hasher is not.
        let hash = self
            .text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        format!("{} {hash:016x} python {version}\n", self.file.file_name().unwrap_or_default().display())
    }
}

/// The environment with these requirements.
pub(crate) fn provide(
    project: &Path,
    requirements: &Requirements,
    when: When,
    report: Report<'_>,
) -> Result<Interpreter, PrepareError> {
    let (python, version) = base()?;
    let directory = project.join(".tierce");
    let venv = directory.join("venv");
    make_directory(&directory)?;
    // Two commands at a time must not make it; the second finds it made.
    let lock = fs::File::create(directory.join("venv.lock")).map_err(|error| cannot_write(&directory, &error))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| cannot_write(&directory, &error.into()))?;
    let stamp_file = venv.join("tierce-stamp");
    let stamp = requirements.stamp(&version);
    let present = fs::read_to_string(&stamp_file).is_ok_and(|present| present == stamp);
    let path = venv.join("bin/python");
    if !(when == When::Outdated && present && probe(&path).is_ok()) {
        if venv.exists() {
            fs::remove_dir_all(&venv).map_err(|error| cannot_write(&venv, &error))?;
        }
        make(project, requirements, &python, &venv, report)?;
        fs::write(&stamp_file, stamp).map_err(|error| cannot_write(&stamp_file, &error))?;
    }
    let version =
        probe(&path).map_err(|cause| Explanation::new(format!("{} does not work", path.display())).cause(cause))?;
    Ok(Interpreter { path, version, origin: Origin::TierceVenv })
}

fn make(
    project: &Path,
    requirements: &Requirements,
    python: &Path,
    venv: &Path,
    report: Report<'_>,
) -> Result<(), PrepareError> {
    let name = requirements.file.file_name().unwrap_or_default().display().to_string();
    let uv = Command::new("uv")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    let (mut create, mut install) = if uv {
        let mut create = Command::new("uv");
        create.args(["venv", "--quiet", "--python"]).arg(python).arg(venv);
        let mut install = Command::new("uv");
        install.args(["pip", "install", "--python"]).arg(venv.join("bin/python"));
        (create, install)
    } else {
        let mut create = Command::new(python);
        create.args(["-m", "venv"]).arg(venv);
        let mut install = Command::new(venv.join("bin/python"));
        install.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
        (create, install)
    };
    create.current_dir(project);
    install.args(&requirements.arguments).current_dir(project);
    timed("making .tierce/venv", "made .tierce/venv", report, |report| run(&mut create, report)).map_err(
        |failure| {
            let hint = if failure.output.contains("ensurepip") {
                "install the module (Debian: apt install python3-venv), or uv"
            } else {
                "the output above says why; --python names another interpreter"
            };
            failure
                .explain("the virtual environment could not be made", &format!("{} -m venv", python.display()))
                .hint(hint)
        },
    )?;
    let what = format!("installing {name}");
    timed(&what, &format!("installed {name}"), report, |report| run(&mut install, report)).map_err(|failure| {
        let explanation = failure.explain("the requirements could not be installed", &name);
        PrepareError::from(
            explanation.hint(format!("correct {name}, or check that packages can be downloaded from here")),
        )
    })
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

/// Runs a tool and passes its output on line by line.
fn run(command: &mut Command, report: Report<'_>) -> Result<(), Failure> {
    let fail = |cause: String| Failure { cause, output: String::new() };
    let (reader, writer) = std::io::pipe().map_err(|error| fail(error.to_string()))?;
    let second = writer.try_clone().map_err(|error| fail(error.to_string()))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    // Ctrl-C ends us, and the tool by our word only.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| fail(format!("{}: {error}", command.get_program().display())))?;
    // Our copies of the pipe's end would keep it open for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut kept = std::collections::VecDeque::new();
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        report(Step::Output { line: line.clone() });
        kept.push_back(line);
        if OUTPUT_KEPT < kept.len() {
            kept.pop_front();
        }
    }
    let output = kept.into_iter().collect::<Vec<_>>().join("\n");
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure { cause: format!("{} ended with {status}", command.get_program().display()), output })
        }
        Err(error) => Err(Failure { cause: error.to_string(), output }),
    }
}

fn make_directory(directory: &Path) -> Result<(), PrepareError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| cannot_write(directory, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> PrepareError {
    Explanation::new(format!("cannot write {}", path.display()))
        .during("preparing the interpreter")
        .cause(error.to_string())
        .hint("make the project's directory writable, or prepare an environment yourself and name it with --python")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_and_their_stamp() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Requirements::of(directory.path()), None);
        let project = directory.path().join("pyproject.toml");
        fs::write(&project, "[project]\nname = 'a'\ndependencies = ['flask>=3', 'x']\n").unwrap();
        let found = Requirements::of(directory.path()).unwrap();
        assert_eq!(found.arguments, ["flask>=3", "x"]);
        fs::write(directory.path().join("requirements.txt"), "flask\n").unwrap();
        let other = Requirements::of(directory.path()).unwrap();
        assert_eq!(other.arguments, ["-r", "requirements.txt"]);
        assert_ne!(found.stamp("3.11"), other.stamp("3.11"));
        assert_ne!(other.stamp("3.11"), other.stamp("3.12"));
    }

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let mut lines = Vec::new();
        let failed =
            run(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]), &mut |step| lines.push(step));
        let failure = failed.err().unwrap();
        assert_eq!(failure.output, "one\ntwo");
        assert!(failure.cause.contains("exit status: 3"), "{}", failure.cause);
        assert_eq!(lines.len(), 2);
        assert!(run(&mut Command::new("/no/such/tool"), &mut |_| ()).is_err());
    }
}
