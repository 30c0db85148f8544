//! What is told of nodes: the items of `tierce ps --format json`.

use link::Verdict;
use serde::{Deserialize, Serialize};

/// A node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Its application is being imported, its workers are not all ready, or it does not get requests yet.
    Starting,
    /// All its workers are ready, and get requests.
    Ready,
    /// It gets nothing new and finishes what it has.
    Draining,
    /// Its workers keep ending before they are ready.
    Failed,
    /// It has ended.
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl From<State> for String {
    fn from(state: State) -> Self {
        state.name().to_owned()
    }
}

/// A node as `ps` shows it. Sizes in bytes, times in seconds, process ids as this host has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// `web.1`
    pub node: String,
    /// The service that it is of; told only where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `starting`, `ready`, `draining`, `failed`, `stopped`
    pub state: String,
    /// How many requests it gets in proportion to others, which have 100; not told where it is that.
    #[serde(default = "usual_weight", skip_serializing_if = "is_usual_weight")]
    pub weight: u32,
    /// It gets nothing until it is told to be ready; not told where it is not so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// What `gethostname()` says there.
    pub hostname: String,
    /// `uts` or `env`
    pub isolation: String,
    /// Which version of the application.
    pub generation: u32,
    /// Of the process that has imported the application.
    pub pid: u32,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests being run or about to be.
    pub in_flight: u32,
    /// How many could be in flight now.
    pub slots: u32,
    /// Resident memory of all its processes; shared pages count in each.
    pub rss: u64,
    /// Since it was started.
    pub uptime: f64,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
}

fn usual_weight() -> u32 {
    policy::Standing::WEIGHT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_usual_weight(weight: &u32) -> bool {
    *weight == usual_weight()
}

/// A worker as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its process.
    pub pid: u32,
    /// `starting`, `ready`, `draining`
    pub state: String,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests being run or about to be.
    pub in_flight: u32,
    /// How many could be in flight now.
    pub slots: u32,
    /// Threads of the process.
    pub threads: u32,
    /// Resident memory.
    pub rss: u64,
    /// What it has decided, and why; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<WorkerReasons>,
}

/// What has been decided for a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReasons {
    /// How many requests it may hold unstarted: 32 while they start at once, 1 when they do not.
    pub window: u32,
    /// How long a thread that is to run a request waits for the GIL, as a moving average.
    pub gil_wait: f64,
    /// `sys.getswitchinterval()`, as Tierce has set it.
    pub switch_interval: f64,
    /// Why it has as many threads as it has.
    pub verdict: String,
}

/// How many workers there are, where that adapts, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaffStatus {
    /// In all nodes.
    pub workers: u32,
    /// In each node, at least.
    pub least: u32,
    /// In each node, at most.
    pub most: u32,
    /// Why there are as many.
    pub reason: String,
    /// How their number has changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<StaffChanged>,
}

/// A change of the number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaffChanged {
    /// Seconds since then.
    pub ago: f64,
    /// Workers of all nodes before it.
    pub from: u32,
    /// Workers of all nodes after it.
    pub to: u32,
    /// Why.
    pub reason: String,
}

/// A verdict in words.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Enough => "one thread at a time is enough",
        Verdict::Grows => "handlers wait, others run meanwhile",
        Verdict::AtThreads => "as many threads as `threads` allows",
        Verdict::NoMemory => "no more threads: memory is scarce",
        Verdict::NoThread => "no more threads: the system gives none",
    }
}

/// Threads and resident bytes of a process (proc_pid_stat(5)); nothing for one that has gone.
pub(crate) fn process(pid: u32) -> (u32, u64) {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return (0, 0) };
    // The name in parentheses may hold anything; the fields behind it begin with the third.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let number = |nth: usize| fields.get(nth - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let pages = number(24);
    (u32::try_from(number(20)).unwrap_or(0), pages * rustix::param::page_size() as u64)
}
