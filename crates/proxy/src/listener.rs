//! Bound addresses: one socket for each thread and address, so that the kernel spreads connections over the threads.
//!
//! Invariant: the first socket of an address is bound without SO_REUSEPORT, so that an address which anyone else listens
//! on, another Tierce included, is refused instead of shared.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
};

use config::{Listen, Protocol};
use socket2::{Domain, Socket, Type};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// A listening socket of one thread.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Everything that is listened on, before a thread accepts.
#[derive(Debug)]
pub struct Bound {
    /// For each thread, its sockets and the entry of `listen` that each belongs to.
    pub(crate) by_thread: Vec<Vec<(Entry, Listener)>>,
    addresses: Vec<Address>,
}

/// An entry of `listen`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

/// An address as it was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// With the port that was really taken.
    Tcp {
        /// As the user wrote it.
        host: String,
        /// In use now.
        port: u16,
        /// What is spoken there.
        protocol: Protocol,
    },
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
        /// What is spoken there.
        protocol: Protocol,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, protocol } if host.contains(':') => write!(f, "{protocol}://[{host}]:{port}"),
            Self::Tcp { host, port, protocol } => write!(f, "{protocol}://{host}:{port}"),
            Self::Unix { path, protocol } => write!(f, "{}:{}", protocol.of_socket(), path.display()),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{address} is in use by another process")]
    InUse {
        /// Where.
        address: Address,
    },
    /// The system does not allow it.
    #[error("no permission to listen on {address}")]
    NoPermission {
        /// Where.
        address: Address,
    },
    /// The host name has no address.
    #[error("the host of {address} has no address: {error}")]
    UnknownHost {
        /// Where.
        address: Address,
        /// What the resolver said.
        error: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// Where.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
}

impl Bound {
    /// The addresses, in the order of `listen`.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

/// Listens on all of `listen`, for `threads` threads; or on nothing.
pub fn bind(listen: &[Listen], threads: usize) -> Result<Bound, BindError> {
    let mut bound = Bound { by_thread: (0..threads).map(|_| Vec::new()).collect(), addresses: Vec::new() };
    for (number, entry) in listen.iter().enumerate() {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let (protocol, (address, sockets)) = match entry {
            Listen::Tcp { host, port, protocol } => (*protocol, bind_tcp(host, *port, *protocol, threads)?),
            Listen::Unix { path, protocol } => (*protocol, bind_unix(path, *protocol, threads)?),
        };
        bound.addresses.push(address);
        for (index, socket) in sockets {
            bound.by_thread[index].push((Entry { number, protocol }, socket));
        }
    }
    Ok(bound)
}

type Sockets = Vec<(usize, Listener)>;

fn bind_tcp(host: &str, port: u16, protocol: Protocol, threads: usize) -> Result<(Address, Sockets), BindError> {
    let mut address = Address::Tcp { host: host.to_owned(), port, protocol };
    let mut sockets = Vec::new();
    for (nth, ip) in resolve(host, &address)?.into_iter().enumerate() {
        let Address::Tcp { port, .. } = &mut address else { unreachable!("made as Tcp above") };
        let first = match listen_on(SocketAddr::new(ip, *port), Sharing::Refused) {
            Ok(socket) => socket,
            // The second address of `localhost` where the machine has no IPv6.
            Err(error) if 0 < nth && error.kind() == io::ErrorKind::AddrNotAvailable => continue,
            Err(error) => return Err(explain(address, error)),
        };
        *port = first.local_addr().map_or(*port, |local| local.port());
        let target = SocketAddr::new(ip, *port);
        sockets.push((0, Listener::Tcp(first)));
        for index in 1..threads {
            let socket = listen_on(target, Sharing::Allowed).map_err(|error| explain(address.clone(), error))?;
            sockets.push((index, Listener::Tcp(socket)));
        }
    }
    Ok((address, sockets))
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Refused,
    Allowed,
}

fn listen_on(address: SocketAddr, sharing: Sharing) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Allowed)?;
    socket.bind(&address.into())?;
    // From here on this process may add sockets of its other threads.
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit these two.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &PathBuf, protocol: Protocol, threads: usize) -> Result<(Address, Sockets), BindError> {
    let address = Address::Unix { path: path.clone(), protocol };
    let bound = match UnixListener::bind(path) {
        // A socket that nobody answers was left behind by a process that was killed.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(path).is_err() => {
            std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
        }
        other => other,
    };
    let share = |listener: UnixListener| {
        listener.set_nonblocking(true)?;
        let more = (1..threads).map(|index| Ok((index, Listener::Unix(listener.try_clone()?))));
        let mut sockets = more.collect::<io::Result<Sockets>>()?;
        sockets.push((0, Listener::Unix(listener)));
        Ok(sockets)
    };
    match bound.and_then(share) {
        Ok(sockets) => Ok((address, sockets)),
        Err(error) => Err(explain(address, error)),
    }
}

fn explain(address: Address, error: io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        io::ErrorKind::PermissionDenied => BindError::NoPermission { address },
        _ => BindError::Other { address, error },
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        for address in &self.addresses {
            if let Address::Unix { path, .. } = address {
                // Gone already is what we want.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Vec<Listen> {
        vec![Listen::Tcp { host: host.to_owned(), port, protocol: Protocol::Http }]
    }

    #[test]
    fn each_thread_has_its_socket_and_nobody_else_may_join() {
        let bound = bind(&tcp("127.0.0.1", 0), 3).unwrap();
        assert_eq!(bound.by_thread.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        let [Address::Tcp { port, .. }] = bound.addresses() else { panic!("one address") };
        assert_ne!(*port, 0);
        let again = bind(&tcp("127.0.0.1", *port), 1).unwrap_err();
        assert!(matches!(again, BindError::InUse { .. }), "{again}");
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        drop(UnixListener::bind(&path).unwrap());
        let listen = vec![Listen::Unix { path: path.clone(), protocol: Protocol::Http }];
        let bound = bind(&listen, 2).unwrap();
        assert!(matches!(bind(&listen, 1), Err(BindError::InUse { .. })));
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn an_unknown_host_is_named() {
        let error = bind(&tcp("no-such-host.invalid", 80), 1).unwrap_err();
        assert!(error.to_string().contains("http://no-such-host.invalid:80"), "{error}");
    }
}
