//! TLS for listeners: certificates from files or a local authority, chosen by name, exchanged while connections go on. And for
//! connections to upstreams: whom to trust, and why one is not trusted.
//!
//! Invariant: there is one [`Store`] in the process, and what it serves with is always a set of certificates that was read
//! whole and whose keys fit. Nothing is sent or received here.
#![forbid(unsafe_code)]

mod certificate; // a certificate and its key, read and checked
mod chosen; // which one a client gets
mod authority; // the local authority for `localhost`
mod store; // the set in use, and the next
mod client; // the other side: connections to upstreams
mod fault; // why there is none

pub use authority::{Authority, AuthorityError};
pub use certificate::CertificateError;
pub use client::{Client, Clients};
pub use fault::{Fault, explain, refusal};
pub use store::{Loaded, Store, StoreError};

/// What a listener answers handshakes with.
pub type Server = std::sync::Arc<rustls::ServerConfig>;
