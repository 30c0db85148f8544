//! How other commands reach a running Tierce: the directory of its state, the lock, the control socket.
//!
//! Invariant: whoever may enter the state directory (mode 0700) may give commands; nobody else reaches the socket. A
//! command never touches a request.
#![forbid(unsafe_code)]

mod protocol; // one JSON object a line
mod differs; // what differs between two configurations
mod place; // the state directory and its lock
mod contained; // the same for a node in a container
mod search; // where one runs that was started otherwise
mod server; // the running side
mod client; // the asking side
mod admin; // for those who only watch
mod state; // what outlives the process

pub use admin::{Admin, AdminBound, AdminChange, Sight};
pub use client::{AskError, ask, ask_and_hear};
pub use contained::NoPlace;
pub use differs::{Differing, Differs, How};
pub use place::{LockError, Place, RunLock};
pub use protocol::{Answer, AppReasons, AppStatus, Ask, First, Ps};
pub use server::{Call, Server};
pub use state::{Recorded, wanted_nodes};
