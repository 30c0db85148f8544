//! A Tierce in the foreground.
//!
//! Invariant: it ends with its handle, and what it has printed is kept, so that it never waits for a reader.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{sleep, spawn},
    time::Instant,
};

use crate::{
    client::Client,
    load::Outcomes,
    processes::signal,
    project::Project,
    wait::{DEADLINE, LOOK, wait_for},
};

/// A Tierce in the foreground; killed when dropped.
#[derive(Debug)]
pub struct Running<'a> {
    project: &'a Project,
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl<'a> Running<'a> {
    /// Starts `command` and waits until it says that it is ready.
    pub(crate) fn start(project: &'a Project, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        let mut running = Self { project, child, out, err };
        let until = Instant::now() + DEADLINE;
        while !["ready in", "waiting for a change"].iter().any(|said| running.err().contains(said)) {
            let gone = running.child.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < until, "not ready ({gone:?}): {}", running.err());
            sleep(LOOK);
        }
        running
    }

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

    /// Checks that each request of a load was answered with 200.
    ///
    /// # Panics
    /// When one was not.
    pub fn lost_none(&self, outcomes: &Outcomes) {
        let lost: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.status() != Some(200)).collect();
        assert!(lost.is_empty(), "{} of {} lost: {lost:?}\n{}", lost.len(), outcomes.len(), self.err());
    }

    /// Waits until the threads of the edge accept, each on a copy of a socket: it may be said before that it is ready. For
    /// whoever counts descriptors.
    ///
    /// # Panics
    /// When they do not.
    pub fn accepts(&self) {
        let listening = listening(self.pid(), self.project.port);
        assert!(!listening.is_empty(), "nobody listens on port {}", self.project.port);
        wait_for("the edge's threads to accept", || {
            let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
            let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
            listening.iter().all(|socket| 1 < open.iter().filter(|path| *path == socket).count())
        });
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.project.port).unwrap()
    }

    /// What `ps --format json` says.
    pub fn ps(&self) -> serde_json::Value {
        serde_json::from_str(&self.project.ok(&["ps", "--format", "json"]).out).unwrap()
    }

    /// The processes of its workers; 0 for one that is being started.
    pub fn workers(&self) -> Vec<u32> {
        let ps = self.ps();
        let nodes = ps["items"].as_array().unwrap();
        let workers = nodes.iter().flat_map(|node| node["workers"].as_array().unwrap());
        workers.map(|worker| u32::try_from(worker["pid"].as_u64().unwrap()).unwrap()).collect()
    }

    /// Waits until no request is in flight: the slot of each has been given back.
    pub fn wait_until_idle(&self) {
        wait_for("all slots to be free", || {
            let ps = self.ps();
            ps["apps"][0]["queued"] == 0 && ps["items"].as_array().unwrap().iter().all(|node| node["in_flight"] == 0)
        });
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
        // It may have ended already; there is nothing to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what comes, line by line, for as long as it comes.
fn collect(source: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    spawn(move || {
        let mut lines = BufReader::new(source);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|count| 0 < count) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

/// The sockets that listen on a TCP port, as /proc/PID/fd names them (proc_pid_net(5), tcp).
fn listening(pid: u32, port: u16) -> Vec<PathBuf> {
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let of_line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let here = fields.get(1)?.rsplit_once(':')?.1;
        let is_meant = u16::from_str_radix(here, 16) == Ok(port) && *fields.get(3)? == "0A";
        is_meant.then_some(PathBuf::from(format!("socket:[{}]", fields.get(9)?)))
    };
    tables.iter().flat_map(|table| table.lines()).filter_map(of_line).collect()
}
