//! Every choice of the data plane, as plain types that are told the time: who gets a request, how many requests a
//! worker may hold, who may be tried again; and the node table by which supervision and data plane meet.
//!
//! Invariant: a decision depends on its arguments alone. No clock, no I/O, no randomness from outside; a story replays.
#![forbid(unsafe_code)]

mod dispatch; //  queue and slots of one application: late binding
mod nodes; //     the node table: what the data plane must know of nodes and workers
mod retry;
mod shared; //    the same behind a lock, and the lease that gives itself back
mod window; //    how many unstarted requests a worker may hold //     the right to a second try

pub use dispatch::{Admission, Dispatch, Load, NodeId, Ticket, WorkerId};
pub use nodes::{NodeLabel, Nodes, WorkerEntry};
pub use retry::{Tried, may_try_again};
pub use shared::{Lease, Queued, Shared, Turn};
pub use window::Window;
