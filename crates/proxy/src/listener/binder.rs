//! What has to be bound to listen on a list of addresses, given what is bound already.
//!
//! Invariant: sockets that are bound already are used again wherever they fit, as closing one would lose the connections that
//! the kernel has queued. What takes a share of their connections listens only when the change is made ([`Change::waiting`]).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use config::{Listen, Protocol};

use super::{
    Address, BindError, Bound, Change, Group, Held,
    socket::{Occupant, Sharing, Socket, occupant},
};

/// A list that is being bound.
pub(super) struct Binder {
    /// What is listened on now, and not found in the list so far.
    leaving: Vec<Held>,
    /// What went before, and is not closed yet.
    closing: Vec<Group>,
    change: Change,
}

impl Binder {
    pub(super) fn bind(bound: &Bound, listen: &[Listen], threads: usize) -> Result<Change, BindError> {
        let mut binder =
            Self { leaving: bound.held.clone(), closing: closing(bound), change: Change::new(bound, threads) };
        // First what stays, so that it is known when something does not go together with it.
        let places: Vec<_> = listen.iter().map(|entry| binder.keep(entry)).collect();
        for (entry, kept) in listen.iter().zip(&places) {
            if !kept {
                let held = binder.add(entry)?;
                binder.change.held.push(held);
            }
        }
        binder.grow()?;
        Ok(binder.finish(listen))
    }

    /// An entry that was there before goes on, whatever is spoken there from now on.
    fn keep(&mut self, entry: &Listen) -> bool {
        let Some(at) = self.leaving.iter().position(|held| is_same_place(&held.listen, entry)) else { return false };
        let mut held = self.leaving.remove(at);
        match (&mut held.address, entry) {
            (Address::Tcp { protocol, .. }, Listen::Tcp { protocol: wanted, .. })
            | (Address::Unix { protocol, .. }, Listen::Unix { protocol: wanted, .. }) => *protocol = *wanted,
            _ => {}
        }
        if let (Listen::Unix { mode: before, .. }, Listen::Unix { path, mode, .. }) = (&held.listen, entry)
            && before != mode
        {
            self.change.modes.push((path.clone(), mode.unwrap_or(held.umask_mode)));
        }
        held.listen = entry.clone();
        self.change.held.push(held);
        true
    }

    fn add(&mut self, entry: &Listen) -> Result<Held, BindError> {
        let (address, groups, umask_mode) = match entry {
            Listen::Tcp { host, port, protocol } => {
                let (address, groups) = self.add_tcp(host, *port, *protocol)?;
                (address, groups, 0)
            }
            Listen::Unix { path, protocol, mode } => {
                let address = Address::Unix { path: path.clone(), protocol: *protocol };
                let (socket, umask_mode) = self.add_unix(path, *mode, &address)?;
                self.change.files.push(path.clone());
                (address, vec![Group { at: None, sockets: vec![Arc::new(socket)] }], umask_mode)
            }
        };
        Ok(Held { listen: entry.clone(), address, number: 0, groups, umask_mode })
    }

    fn add_tcp(&mut self, host: &str, port: u16, protocol: Protocol) -> Result<(Address, Vec<Group>), BindError> {
        let mut address = Address::Tcp { host: host.to_owned(), port, protocol };
        let mut groups = Vec::new();
        for (nth, ip) in resolve(host, &address)?.into_iter().enumerate() {
            let Address::Tcp { port, .. } = &mut address else { unreachable!("made as Tcp above") };
            let at = SocketAddr::new(ip, *port);
            let group = match self.group_at(at) {
                Ok(group) => group,
                // The second address of `localhost` where the machine has no IPv6.
                Err(error) if 0 < nth && is_absent(&error) => continue,
                Err(error) => return Err(self.explain(address, at, error)),
            };
            *port = group.at.map_or(*port, |at| at.port());
            groups.push(group);
        }
        let covered = self.take_groups(|at| groups.iter().any(|group| group.at.is_some_and(|wider| covers(wider, at))));
        groups.extend(covered);
        Ok((address, groups))
    }

    /// Sockets that were there already, or the first one of new ones.
    fn group_at(&mut self, at: SocketAddr) -> io::Result<Group> {
        if let Some(group) = self.take_groups(|known| known == at).pop() {
            return Ok(group);
        }
        let socket = match Socket::bind(at, Sharing::Refused) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.is_only_leaving(at) => {
                let socket = Arc::new(Socket::bind(at, Sharing::Allowed)?);
                self.change.waiting.push(Arc::clone(&socket));
                socket
            }
            bound => {
                let socket = bound?;
                socket.listen()?;
                Arc::new(socket)
            }
        };
        Ok(Group { at: Some(socket.at()?), sockets: vec![socket] })
    }

    /// Takes sockets of addresses that go, or went.
    fn take_groups(&mut self, wanted: impl Fn(SocketAddr) -> bool) -> Vec<Group> {
        let is_wanted = |group: &mut Group| group.at.is_some_and(&wanted);
        let leaving = self.leaving.iter_mut().flat_map(|held| held.groups.extract_if(.., is_wanted));
        leaving.chain(self.closing.extract_if(.., is_wanted)).collect()
    }

    /// Whether it is only an address which goes that has the port.
    fn is_only_leaving(&self, at: SocketAddr) -> bool {
        let closes = self.closing.iter().any(|group| group.at.is_some_and(|known| meets(known, at)));
        (closes || self.leaving.iter().any(|held| held.meets(at)))
            && !self.change.held.iter().any(|held| held.meets(at))
    }

    fn add_unix(&self, path: &Path, mode: Option<u32>, address: &Address) -> Result<(Socket, u32), BindError> {
        let bound = match Socket::listen_at(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match occupant(path) {
                Occupant::Listener => Err(error),
                Occupant::Other => return Err(BindError::Occupied { path: path.to_owned() }),
                Occupant::DeadSocket => std::fs::remove_file(path).and_then(|()| Socket::listen_at(path, mode)),
            },
            other => other,
        };
        let is_ours = |held: &&Held| held.address.is_at(address);
        bound.map_err(|error| match self.change.held.iter().find(is_ours) {
            Some(other) if error.kind() == io::ErrorKind::AddrInUse => {
                BindError::Twice { address: address.clone(), other: other.address.clone() }
            }
            _ => BindError::explain(address.clone(), error),
        })
    }

    /// What is in use is in use by ourselves, if another address of the list covers it.
    fn explain(&self, address: Address, at: SocketAddr, error: io::Error) -> BindError {
        let other = self.change.held.iter().find(|held| held.meets(at));
        match (BindError::explain(address, error), other) {
            (BindError::InUse { address }, Some(other)) => BindError::Twice { address, other: other.address.clone() },
            (error, _) => error,
        }
    }

    /// A socket of each address for each thread.
    fn grow(&mut self) -> Result<(), BindError> {
        let Change { held, before, waiting, threads, .. } = &mut self.change;
        for Held { groups, address, .. } in held {
            for Group { at, sockets } in groups {
                let (Some(at), Some(first)) = (*at, sockets.first().map(Arc::clone)) else { continue };
                let shares = before.iter().chain(&*waiting).any(|socket| Arc::ptr_eq(socket, &first));
                while sockets.len() < *threads {
                    let socket = Socket::bind(at, Sharing::Allowed);
                    let socket = socket.map_err(|error| BindError::explain(address.clone(), error))?;
                    let socket = Arc::new(socket);
                    match shares {
                        true => waiting.push(Arc::clone(&socket)),
                        false => socket.listen().map_err(|error| BindError::explain(address.clone(), error))?,
                    }
                    sockets.push(socket);
                }
            }
        }
        Ok(())
    }

    /// In the order of the list.
    fn finish(mut self, listen: &[Listen]) -> Change {
        let place = |held: &Held| listen.iter().position(|entry| *entry == held.listen);
        self.change.held.sort_by_key(place);
        let numbers = self.change.numbers.assign(self.change.held.iter().map(|held| &held.address));
        self.change.held.iter_mut().zip(numbers).for_each(|(held, number)| held.number = number);
        self.change
    }
}

/// Sockets that somebody still holds.
fn closing(bound: &Bound) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, socket) in bound.closing.iter().filter_map(|(at, socket)| Some((*at, socket.upgrade()?))) {
        match groups.iter_mut().find(|group| group.at == Some(at)) {
            Some(group) => group.sockets.push(socket),
            None => groups.push(Group { at: Some(at), sockets: vec![socket] }),
        }
    }
    groups
}

/// Whether both entries name the same place.
fn is_same_place(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Tcp { host, port, .. }, Listen::Tcp { host: other, port: other_port, .. }) => {
            host == other && port == other_port
        }
        (Listen::Unix { path, .. }, Listen::Unix { path: other, .. }) => path == other,
        _ => false,
    }
}

/// Whether whoever connects to the one could come by the other.
pub(super) fn meets(one: SocketAddr, other: SocketAddr) -> bool {
    one == other || covers(one, other) || covers(other, one)
}

/// Whether the first is a wildcard, and the second is not and would be reached by it.
fn covers(wider: SocketAddr, at: SocketAddr) -> bool {
    wider != at && wider.port() == at.port() && wider.is_ipv4() == at.is_ipv4() && wider.ip().is_unspecified()
}

/// Whether this machine has no such address, or none of its kind: IPv6 may be switched off, or not be in the kernel.
pub(super) fn is_absent(error: &io::Error) -> bool {
    let of_its_kind = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    of_its_kind || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// `localhost` is both loopback addresses, whatever the resolver says (RFC 6761 §6.3).
fn resolve(host: &str, address: &Address) -> Result<Vec<IpAddr>, BindError> {
    if host == "localhost" {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(host, 0))
        .map_err(|error| BindError::UnknownHost { address: address.clone(), error })?;
    let mut ips: Vec<_> = found.map(|found| found.ip()).collect();
    ips.dedup();
    Ok(ips)
}
