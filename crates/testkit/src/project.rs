//! A directory with an application, and commands in it.
//!
//! Invariant: no process of the project outlives it, however the test ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    ports::free_port,
    processes::{kill, processes_of},
    running::Running,
};

/// The Python that has the frameworks of the tests, which `cargo xtask test` prepares.
///
/// # Panics
/// When it is missing.
pub fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run `cargo xtask test`, which makes it", python.display());
    python
}

/// A project of its own, in a directory that goes with it.
#[derive(Debug)]
pub struct Project {
    directory: TempDir,
    tierce: PathBuf,
    /// The port that its configuration names.
    pub port: u16,
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; -1 when a signal ended it.
    pub code: i32,
    /// Its result.
    pub out: String,
    /// Its messages.
    pub err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Project {
    /// A project with `app.py` and keys for its `tierce.toml`, which gets a free port and the Python of the tests.
    pub fn new(tierce: &str, app: &str, keys: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("tierce-test-").tempdir().unwrap();
        let project = Self { directory, tierce: tierce.into(), port: free_port() };
        project.write("app.py", app);
        project.write("tierce.toml", &project.config(keys));
        project
    }

    /// The text of a configuration with these keys.
    pub fn config(&self, keys: &str) -> String {
        let listen =
            if keys.contains("listen") { String::new() } else { format!("listen = [\"127.0.0.1:{}\"]\n", self.port) };
        let python = if keys.contains("python") { String::new() } else { format!("python = {:?}\n", python()) };
        format!("{listen}{python}{keys}\n")
    }

    /// The project's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the project; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    /// A command in this project, not run yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.tierce);
        command.arg("-C").arg(self.path()).args(words).stdin(Stdio::null());
        // What the caller's own environment says must not change what is tested.
        for variable in ["PORT", "WEB_CONCURRENCY", "VIRTUAL_ENV", "NOTIFY_SOCKET", "PYTHONPATH"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Finished {
        self.command(words).output().unwrap().into()
    }

    /// Runs a command that has to succeed.
    pub fn ok(&self, words: &[&str]) -> Finished {
        let finished = self.run(words);
        assert_eq!(finished.code, 0, "{words:?}: {}{}", finished.out, finished.err);
        finished
    }

    /// Starts it in the foreground and waits until it is ready.
    pub fn up(&self, words: &[&str]) -> Running<'_> {
        let mut command = self.command(&["up"]);
        command.args(words);
        self.start(command)
    }

    /// Starts `command`, which is to serve, and waits until it is ready.
    pub fn start(&self, command: Command) -> Running<'_> {
        Running::start(self, command)
    }

    /// The processes that have to do with it.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(self.path())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.processes().into_iter().for_each(kill);
    }
}
