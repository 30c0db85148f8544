//! Nodes and workers: the interpreter is found or made, nodes are started, watched, replaced, drained and stopped.
//!
//! Invariants: the data plane learns of workers only through the node table and the dispatch; what was started here ends
//! with this process, whatever ends it; a change that fails leaves everything as it was. Nothing here touches a request.
#![forbid(unsafe_code)]

mod explanation; // an error as a person needs it
mod interpreter; // which Python
mod probe; // whether a Python can run the application
mod requirements; // what the project wants to be installed
mod venv; // the environment that is made
mod extension; // the worker's code, out of this binary
mod context; // what all nodes of a run share
mod supervisor; // all nodes: start, scale, reload, restart, down
mod staff; // how many workers the nodes have
mod regulate; // what is looked at a few times a second
mod decisions; // what workers have decided by themselves, for the log
mod node; // a node's life
mod handle; // what others see of a node
mod roster; // every node that lives
mod status; // what is told of nodes
mod start_error; // why a node could not be started
mod worker; // one worker's place in a node
mod zygote; // the process that imports and forks
mod adopted; // a process that others have started
mod table; // the node table and the dispatch, changed together
mod ended; // how a worker process has ended, in words
mod backoff; // when to try again
mod watch; // files of the project that change
mod output; // what applications print

pub use context::{Front, ListenerName, Parts, Recipe};
pub use explanation::Explanation;
pub use extension::Extension;
pub use interpreter::{Interpreter, Origin, PrepareError, Report, Step, build, find_or_make};
pub use start_error::{Blame, StartError};
pub use status::{NodeStatus, StaffChanged, StaffStatus, WorkerReasons, WorkerStatus};
pub use supervisor::{ChangeError, Changed, Down, Replaced, Supervisor, check_import};
pub use watch::{Noticed, Watch};
