//! Bound addresses: one socket for each thread and address, so that the kernel spreads connections over the threads; and how
//! a reload changes them.
//!
//! Invariants: an address which anyone else listens on, another Tierce included, is refused instead of shared. A socket is not
//! closed as long as its address, or one that covers it, is listened on: it holds connections that nobody has accepted yet.

mod address; // what they are called, and why one cannot be had
mod binder; // what is kept and what is bound
mod numbers; // by which workers know them
mod socket; // a single one

use std::{
    fs::{Permissions, remove_file},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Weak},
};

use config::{Listen, Protocol};

pub use self::{
    address::{Address, BindError},
    socket::{Listener, Socket},
};
use self::{
    binder::{Binder, meets},
    numbers::Numbers,
};
pub(crate) use socket::BACKLOG;

/// Everything that is listened on. Sockets in the file system are removed with it.
#[derive(Debug, Default)]
pub struct Bound {
    held: Vec<Held>,
    /// Sockets that are listened on no more, some of which threads are still about to close.
    closing: Vec<(SocketAddr, Weak<Socket>)>,
    numbers: Numbers,
    pub(crate) threads: usize,
    /// What the https listeners answer handshakes with.
    pub(crate) tls: Option<tls::Server>,
}

/// An address, and by what it is listened on.
#[derive(Clone, Debug)]
struct Held {
    /// As it was wanted.
    listen: Listen,
    address: Address,
    number: u16,
    groups: Vec<Group>,
    /// The mode of a socket in the file system for which no other is wanted.
    umask_mode: u32,
}

/// Sockets of one IP address and port, over which the kernel spreads connections; or the one of a path.
#[derive(Clone, Debug)]
struct Group {
    at: Option<SocketAddr>,
    sockets: Vec<Arc<Socket>>,
}

/// Another list of addresses, for which everything is bound; nothing of it counts, and when it is dropped nothing was changed.
#[derive(Debug)]
pub struct Change {
    held: Vec<Held>,
    numbers: Numbers,
    threads: usize,
    /// All that are in use before.
    before: Vec<Arc<Socket>>,
    /// Bound, but not listened on until the change is made: they share an address with sockets that are in use, and
    /// would take some of their clients from the first moment on.
    waiting: Vec<Arc<Socket>>,
    /// Sockets in the file system that were made for it.
    files: Vec<PathBuf>,
    /// Of sockets in the file system that stay, and let others connect.
    modes: Vec<(PathBuf, u32)>,
}

/// What a change has changed.
#[derive(Debug, Default)]
pub struct Made {
    /// Addresses that are listened on from now on, or speak another protocol.
    pub came: Vec<Address>,
    /// Those that are listened on no more.
    pub went: Vec<Address>,
    /// What could not be done although everything was bound.
    pub failed: Vec<BindError>,
}

/// An entry of `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

/// A socket, and who accepts there.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) entry: Entry,
    pub(crate) socket: Arc<Socket>,
    /// The thread whose it is. One that belongs to no thread that serves belongs to all.
    pub(crate) thread: Option<usize>,
}

/// Listens on all of `listen`, for `threads` threads; or on nothing.
pub fn bind(listen: &[Listen], threads: usize) -> Result<Bound, BindError> {
    let mut bound = Bound::default();
    let change = bound.prepare(listen, threads)?;
    bound.make(change);
    Ok(bound)
}

impl Bound {
    /// Binds what it takes to listen on `listen` and nothing else, for `threads` threads.
    pub fn prepare(&self, listen: &[Listen], threads: usize) -> Result<Change, BindError> {
        Binder::bind(self, listen, threads)
    }

    /// Makes a change that was prepared since the last one was made.
    pub fn make(&mut self, mut change: Change) -> Made {
        let mut made = Made { failed: change.listen(), ..Made::default() };
        let (before, after) =
            (self.addresses(), change.held.iter().map(|held| held.address.clone()).collect::<Vec<_>>());
        for held in &self.held {
            if let Address::Unix { path, .. } = &held.address
                && !after.iter().any(|address| address.is_at(&held.address))
            {
                // Gone already is what we want.
                let _ = remove_file(path);
            }
        }
        self.closing.retain(|(_, socket)| 0 < socket.strong_count());
        for group in self.held.iter().flat_map(|held| &held.groups).filter(|group| !change.has(group)) {
            let Some(at) = group.at else { continue };
            let is_replaced = change.held.iter().any(|held| held.meets(at));
            group.sockets.iter().for_each(|socket| socket.linger(is_replaced));
            self.closing.extend(group.sockets.iter().map(|socket| (at, Arc::downgrade(socket))));
        }
        made.came = after.iter().filter(|address| !before.contains(address)).cloned().collect();
        made.went = before.into_iter().filter(|address| !after.contains(address)).collect();
        change.files.clear();
        self.held = std::mem::take(&mut change.held);
        self.numbers = std::mem::take(&mut change.numbers);
        self.threads = change.threads;
        made
    }

    /// The addresses, in the order of `listen`.
    pub fn addresses(&self) -> Vec<Address> {
        self.held.iter().map(|held| held.address.clone()).collect()
    }

    /// Those that there are and were, each at its number.
    pub fn numbered(&self) -> &[Address] {
        self.numbers.addresses()
    }

    /// All sockets.
    pub fn sockets(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.held.iter().flat_map(|held| &held.groups).flat_map(|group| &group.sockets)
    }

    /// What the https listeners answer handshakes with; without it they answer nothing.
    pub fn secure(&mut self, tls: tls::Server) {
        self.tls = Some(tls);
    }

    /// Who accepts where.
    pub(crate) fn doors(&self) -> Arc<[Door]> {
        let of = |held: &Held| {
            let (number, protocol) = match &held.address {
                Address::Tcp { protocol, .. } | Address::Unix { protocol, .. } => (held.number, *protocol),
            };
            let entry = Entry { number, protocol };
            let sockets = held.groups.iter().flat_map(|group| {
                group.sockets.iter().enumerate().map(|(nth, socket)| (group.at.map(|_| nth), Arc::clone(socket)))
            });
            sockets.map(|(thread, socket)| Door { entry, socket, thread }).collect::<Vec<_>>()
        };
        self.held.iter().flat_map(of).collect()
    }

    /// Lets go of all sockets; their names in the file system stay as long as this.
    pub(crate) fn close(&mut self) {
        self.held.iter_mut().for_each(|held| held.groups.clear());
    }
}

impl Change {
    fn new(bound: &Bound, threads: usize) -> Self {
        Self {
            held: Vec::new(),
            numbers: bound.numbers.clone(),
            threads,
            before: bound.sockets().map(Arc::clone).collect(),
            waiting: Vec::new(),
            files: Vec::new(),
            modes: Vec::new(),
        }
    }

    /// All addresses, each at its number, as they are when it has been made.
    pub fn numbered(&self) -> &[Address] {
        self.numbers.addresses()
    }

    fn has(&self, group: &Group) -> bool {
        let known = |socket| self.held.iter().flat_map(|held| &held.groups).any(|group| group.has(socket));
        group.sockets.iter().any(known)
    }

    /// Listens on what has waited for it; returns what could not be done.
    fn listen(&mut self) -> Vec<BindError> {
        let mut failed = Vec::new();
        for socket in std::mem::take(&mut self.waiting) {
            let Err(error) = socket.listen() else { continue };
            let mut error = Some(error);
            for held in &mut self.held {
                if let Some(group) = held.groups.iter_mut().find(|group| group.has(&socket)) {
                    group.sockets.retain(|other| !Arc::ptr_eq(other, &socket));
                    failed.extend(error.take().map(|error| BindError::explain(held.address.clone(), error)));
                }
            }
        }
        for (path, mode) in std::mem::take(&mut self.modes) {
            if let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(mode)) {
                let address = Address::Unix { path, protocol: Protocol::Http };
                failed.push(BindError::explain(address, error));
            }
        }
        failed
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        for path in &self.files {
            // Nobody was to connect there.
            let _ = remove_file(path);
        }
    }
}

impl Held {
    fn meets(&self, at: SocketAddr) -> bool {
        self.groups.iter().any(|group| group.at.is_some_and(|known| meets(known, at)))
    }
}

impl Group {
    fn has(&self, socket: &Arc<Socket>) -> bool {
        self.sockets.iter().any(|known| Arc::ptr_eq(known, socket))
    }
}

impl Door {
    /// Whether this thread accepts there, when so many serve.
    pub(crate) fn is_of(&self, index: usize, threads: usize) -> bool {
        let own = self.thread.filter(|thread| *thread < threads);
        index < threads && own.is_none_or(|own| own == index)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        for held in &self.held {
            if let Address::Unix { path, .. } = &held.address {
                // Gone already is what we want.
                let _ = remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests;
