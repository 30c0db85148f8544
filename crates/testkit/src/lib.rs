//! For tests of the whole program: projects that are started, clients that speak bytes, an open-loop load.
//!
//! Invariant: every wait has a deadline, and what was started ends with its handle.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod project; // a directory with an application, and commands in it
mod running; // a Tierce that was started there
mod client; // HTTP/1.1, one connection
mod secure; // the same through TLS
mod upstream; // a server that follows a script
mod engine; // a Docker engine that tells what a script says
mod nginx; // a real nginx in front
mod docker; // containers in a real engine
mod load; // unique POSTs at a steady rate, whatever becomes of them
mod mutants; // inputs that are nearly right, for parsers
mod processes; // what runs, from /proc
mod ports; // where to listen without being in each other's way
mod wait; // until something is true, with a deadline

pub use client::{Client, Response, ask, field, get};
pub use docker::{Compose, Engine, IMAGE};
pub use engine::ScriptedEngine;
pub use load::{Connections, OpenLoop, Outcome, Outcomes, Progress};
pub use mutants::mutants;
pub use nginx::Nginx;
pub use ports::free_port;
pub use processes::{descendants, is_alive, processes_of, signal};
pub use project::{Finished, Project, python};
pub use running::Running;
pub use secure::{
    Accepted, HandshakeKind, Identity, Made, Secure, TLS12, TLS13, Trust, certificate, expired_certificate,
};
pub use upstream::{Caller, Upstream};
pub use wait::{wait_for, wait_within};
