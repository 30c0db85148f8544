//! For tests of the whole program: projects that are started, clients that speak bytes, an open-loop load.
//!
//! Invariant: every wait has a deadline, and what was started ends with its handle.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client; //    HTTP/1.1, one connection
mod load; //      unique POSTs at a steady rate, whatever becomes of them
mod processes;
mod project; //   a directory with an application, and commands in it // what runs, from /proc

pub use client::{Client, Response};
pub use load::{Outcome, run_load};
pub use processes::{descendants, is_alive};
pub use project::{Finished, Project, Running, python, signal, wait_for};
