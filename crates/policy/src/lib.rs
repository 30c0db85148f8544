//! Every choice of the data plane, as plain types that are told the time: who gets a request, how many requests a
//! worker may hold, who may be tried again; and the node table by which supervision and data plane meet.
//!
//! Invariant: a decision depends on its arguments alone. No clock, no I/O, no randomness from outside; a story replays.
#![forbid(unsafe_code)]

mod growth; // how many requests an application may have in flight at all
mod window; // how many unstarted requests a worker may hold
mod balance; // ways to choose a node, and what a request wishes
mod sticky; // marks by which clients stick to a node
mod dispatch; // queue and slots of one application: late binding
mod standing; // how a node takes part, as its operator wants it
mod shared; // the same behind a lock, and the lease that gives itself back
mod turns; // which thread of a worker has the next turn
mod retry; // the right to a second try
mod budget; // how many second tries there may be
mod rate; // how often a client may come
mod tally; // how many things a client has at a time
mod lane; // how many requests of one kind go on at a time
mod health; // whether an upstream gets requests
mod staff; // how many workers there should be
mod farewell; // when a container that is told to stop does what
mod changes; // changed files, and when to reload for them
mod nodes; // the node table: what the data plane must know of nodes and workers
#[cfg(test)]
mod chance; // what simulations share

pub use balance::{Balance, Mark, Wish, hash_key};
pub use budget::RetryBudget;
pub use changes::{Changes, FileChange};
pub use dispatch::{Admission, Demand, Dispatch, Gate, Keep, Load, NodeId, Rank, Stage, Ticket, WorkerId};
pub use farewell::{Edges, Farewell};
pub use growth::{Growth, GrowthChange, Sight};
pub use health::{Fault, Health, HealthChange, HealthRules, HealthState};
pub use lane::{Lane, LaneBounds, LaneEntry, LanePlace};
pub use nodes::{NodeLabel, Nodes, WorkerEntry};
pub use rate::{Rate, Rates};
pub use retry::{Tried, is_idempotent, is_safe, may_try_again};
pub use shared::{Lease, Outlook, Queued, Shared, Turn};
pub use staff::{Obstacle, Staff, StaffBounds, StaffChange, StaffReason, StaffSight};
pub use standing::{Duty, Standing};
pub use sticky::Secret;
pub use tally::Tally;
pub use turns::{BATCH, Came, Gil, Leave, Start, Turns};
pub use window::Window;
