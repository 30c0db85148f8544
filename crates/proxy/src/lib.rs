//! The data plane: client → listener → connection → request → queue → exchange → worker, and back.
//!
//! The files are in the order in which a request meets them; [`request`](self) holds its whole way on one screen.
//! Invariant: every request ends at one place with exactly one `Ending`; what a client or a worker sends can end its own
//! connection or link, never the thread. Nodes are not started here, and no policy is decided.
#![forbid(unsafe_code)]

mod listener; // bound addresses, one socket a thread
mod stream; // TCP, Unix or TLS
mod edge; // the threads, from start to drain
mod thread; // what the connections of one thread share
mod doors; // where it accepts, as it is told
mod arrive; // what comes before the first request: a proxy's header, a TLS handshake
mod buffers; // lent to connections while bytes are there
mod connection; // buffers, reading and writing, keep-alive
mod deadline; // one deadline a connection, swept in ticks
mod request; // the life of a request
mod client; // who it comes from
mod trace; // which trace it belongs to
mod route; // which route it takes
mod routed; // what a route makes of it, besides handing it to the application
mod clients; // what clients use up, counted for all threads
mod credentials; // names and passwords
mod files; // files of a directory as responses
mod own; // answers that the edge gives itself
mod body; // the request's body, read as fast as it is wanted
mod service; // where it goes
mod admission; // whether it may ask for a slot
mod lane; // so many of a route at a time
mod wish; // what it wishes of the balancing
mod queue; // waiting for a slot
mod exchange; // one attempt on one worker, and the right to another
mod aim; // what the application is told of the target
mod links; // the way to each worker
mod file; // a part of a file in place of body bytes
mod mailbox; // what has come back for an exchange
mod compress; // whether a response is compressed
mod encode; // how
mod respond; // the answer, in framing of our own
mod upstream; // other servers in a worker's place: the way there and back
mod redirect; // plain requests are sent to https
mod accept; // in which form a client likes it
mod page; // what is answered in the application's place
mod record; // what is told of a request when it has ended

#[cfg(any(test, fuzzing))]
pub mod fuzz; // what holds of parsers of fields, whatever the bytes are

pub use edge::{Edge, EdgeError, PrepareError, Reader, Settings, serve};
pub use listener::{Address, BindError, Bound, Change, Listener, Made, Socket, bind};
pub use page::Page;
pub use service::{Backend, Service};
pub use upstream::{Followed, Keepers, Upstream, UpstreamStatus, UpstreamTable};

/// How workers are reached from here.
pub type NodeTable = policy::Nodes<std::sync::Arc<link::LinkEnd>>;

#[cfg(test)]
mod tests;
