//! What is told of requests, applications and Tierce itself, and where it goes: one line each, to a bounded file and to
//! standard output.
//!
//! Invariants: nothing that a client or an application sends can begin a line of its own; whoever serves requests never
//! waits for a log; a log never grows without bound.
#![forbid(unsafe_code)]

mod escape; // hostile bytes made harmless
mod time; // timestamps, formatted once a second
mod event; // a request's line
mod combined; // the same as Apache and nginx write it
mod lines; // an application's line, and our own
mod messages; // what Tierce says to whoever looks
mod sink; // from many producers to one writer
mod rotate; // the file that does not grow without bound
mod tail; // reading it back
mod metrics; // what is counted
mod services; // under which names
mod exposition; // how Prometheus reads it

pub use event::{AccessFormat, RequestEvent, write_line};
pub use exposition::{EXPOSITION_TYPE, Exposition, Kind};
pub use lines::{About, LineFormat, line_as_json, write_app_line};
pub use messages::Messages;
pub use metrics::{Counts, EndedRequest, Metrics};
pub use services::Counted;
pub use sink::{LogSink, Output};
pub use tail::Tail;
