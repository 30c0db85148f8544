//! Text to a checked [`Config`]: file, environment and flags, all problems at once, each with its place.
//!
//! Invariant: a `Config` that exists is valid; nothing after this crate has to check a value again. Nothing is started
//! or imported here, and the environment is passed in, never read.
#![forbid(unsafe_code)]

mod source; // which project, which file
mod keys; // every key: what it takes, its names elsewhere, its default
mod read; // a TOML document as values with places
mod values; // one value of one kind, or a problem
mod layers; // flag > TIERCE_* > file > PORT, WEB_CONCURRENCY > default
mod listen; // addresses
mod admin; // where what runs can be watched
mod balance; // which node gets a request
mod upstream; // other servers that answer
mod trusted; // proxies that are believed
mod secure; // certificates, redirect, PROXY protocol
mod routes; // `[[route]]` and `static`
mod protection; // what stands before the application
mod users; // names and hashes of passwords
mod retry; // what is tried again on another upstream
mod redirect; // where a redirect leads
mod env_file; // KEY=VALUE lines
mod app; // `module:callable`, given or found
mod django; // the same for manage.py
mod workers; // how many workers: a number or bounds
mod model; // the checked configuration
mod load; // all of it, in order
mod difference; // what differs between two of them
mod problem; // what is wrong, where, and what to do
#[cfg(any(test, fuzzing))]
pub mod fuzz; // what holds of text that operators write, whatever it is

pub use difference::{Change, Difference, Hidden, differences};
pub use keys::reference_markdown;
pub use load::{examine, load, project};
pub use model::{
    AccessLog, Admin, AppRef, Balance, CertificateFiles, Compression, Config, Container, Discover, Expose, HashOn,
    Health, Limits, Listen, OnDisconnect, Protocol, ProxyProtocol, ProxyVersion, ServerTiming, Tls, Tracing, Upstream,
    UpstreamAddress, UpstreamRole, UpstreamTls, UpstreamTrust,
};
pub use problem::{Place, Problem, Problems, Whose};
pub use protection::{ErrorPages, Maintenance, Own, Protection, RateKey, RateLimit};
pub use redirect::Piece;
pub use retry::{Again, RetryOn};
pub use routes::{Action, Edits, HostPattern, Mount, Mounting, Route, RouteLimits, Routes, Service};
pub use source::{Environment, Locate, Overrides, Role};
pub use trusted::TrustedProxies;
pub use users::Users;
pub use workers::Workers;
