//! Who answers requests, found out from Docker: containers to facts about upstreams.
//!
//! Invariant: nothing here can change anything at the engine, as no request but GET can be written; and which containers
//! take requests is decided without I/O and without a clock ([`Containers`]).
#![forbid(unsafe_code)]

mod facts; // what the engine tells, as far as it matters
mod scope; // which containers are meant, and where they are reached
mod containers; // what is known of them, event by event
mod engine; // GET requests over the engine's socket
mod follow; // events and inspections until the end of the process

pub use containers::{Containers, Heard};
pub use engine::{Engine, EngineError};
pub use facts::{Container, Event};
pub use follow::{Wanted, follow};
pub use scope::{Endpoint, Found, Scope};
