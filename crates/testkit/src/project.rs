//! A directory with an application, and commands in it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::client::Client;

/// The longest that anything may take here.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `ready` says so.
///
/// # Panics
/// When it never does.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !ready() {
        assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
        sleep(Duration::from_millis(10));
    }
}

/// The Python that has Flask and Django, which `cargo xtask test` prepares.
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
    /// Its exit status.
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
        let port = free_port();
        let project = Self { directory, tierce: tierce.into(), port };
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
        for variable in ["PORT", "WEB_CONCURRENCY", "VIRTUAL_ENV", "NOTIFY_SOCKET"] {
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
    pub fn start(&self, mut command: Command) -> Running<'_> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let err = Arc::new(Mutex::new(String::new()));
        let out = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().unwrap(), Arc::clone(&err));
        collect(child.stdout.take().unwrap(), Arc::clone(&out));
        let mut running = Running { project: self, child, out, err };
        let until = Instant::now() + DEADLINE;
        while !running.err().contains("ready in") {
            let gone = running.child.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < until, "not ready ({gone:?}): {}", running.err());
            sleep(Duration::from_millis(5));
        }
        running
    }
}

fn collect(source: impl Read + Send + 'static, text: Arc<Mutex<String>>) {
    spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let mut text = text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Tierce in the foreground; killed when dropped.
#[derive(Debug)]
pub struct Running<'a> {
    project: &'a Project,
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Running<'_> {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed as its result: the log.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Its messages.
    pub fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.project.port).unwrap()
    }

    /// What `ps --format json` says.
    pub fn ps(&self) -> serde_json::Value {
        serde_json::from_str(&self.project.ok(&["ps", "--format", "json"]).out).unwrap()
    }

    /// The processes of its workers.
    pub fn workers(&self) -> Vec<u32> {
        let ps = self.ps();
        let nodes = ps["items"].as_array().unwrap();
        let workers = nodes.iter().flat_map(|node| node["workers"].as_array().unwrap());
        workers.map(|worker| u32::try_from(worker["pid"].as_u64().unwrap()).unwrap()).collect()
    }

    /// Sends a signal to it.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end; returns its exit status.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        wait_for("the end of tierce", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "cannot send {name} to {pid}");
}
