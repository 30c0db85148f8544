//! Bound addresses: one socket for each thread and address, so that the kernel spreads connections over the threads.
//!
//! Invariant: the first socket of an address is bound without SO_REUSEPORT, so that an address which anyone else listens
//! on, another Tierce included, is refused instead of shared.

use std::{
    fmt,
    fs::Permissions,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use config::{Listen, Protocol};
use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// A listening socket of one thread.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

/// Everything that is listened on, before a thread accepts.
#[derive(Debug)]
pub struct Bound {
    /// For each thread, its sockets and the entry of `listen` that each belongs to.
    pub(crate) by_thread: Vec<Vec<(Entry, Listener)>>,
    addresses: Vec<Address>,
    /// What the https listeners answer handshakes with.
    pub(crate) tls: Option<tls::Server>,
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
    /// The list itself has it already.
    #[error("{address} cannot be listened on beside {other}, which has the same port")]
    Twice {
        /// Where.
        address: Address,
        /// The one before.
        other: Address,
    },
    /// Something else has this path.
    #[error("{path} exists and is no socket that was left behind", path = path.display())]
    Occupied {
        /// Which.
        path: PathBuf,
    },
    /// The system does not allow it.
    #[error("no permission to listen on {address}")]
    NoPermission {
        /// Where.
        address: Address,
    },
    /// The directory of the socket cannot be used.
    #[error("cannot listen in {path}: {error}", path = path.display())]
    NoPlace {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
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
    /// The sockets of all threads, for whoever serves them in another way; those in the file system stay as long as this.
    pub fn take_listeners(&mut self) -> impl Iterator<Item = Listener> + use<> {
        std::mem::take(&mut self.by_thread).into_iter().flatten().map(|(_, listener)| listener)
    }

    /// The addresses, in the order of `listen`.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What the https listeners answer handshakes with; without it they answer nothing.
    pub fn secure(&mut self, tls: tls::Server) {
        self.tls = Some(tls);
    }
}

/// Listens on all of `listen`, for `threads` threads; or on nothing.
pub fn bind(listen: &[Listen], threads: usize) -> Result<Bound, BindError> {
    let mut bound = Bound { by_thread: (0..threads).map(|_| Vec::new()).collect(), addresses: Vec::new(), tls: None };
    for (number, entry) in listen.iter().enumerate() {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let (protocol, bound_to) = match entry {
            Listen::Tcp { host, port, protocol } => (*protocol, bind_tcp(host, *port, *protocol, threads)),
            Listen::Unix { path, protocol, mode } => (*protocol, bind_unix(path, *protocol, *mode, threads)),
        };
        let (address, sockets) = bound_to.map_err(|error| taken_by_ourselves(&bound.addresses, error))?;
        bound.addresses.push(address);
        for (index, socket) in sockets {
            bound.by_thread[index].push((Entry { number, protocol }, socket));
        }
    }
    Ok(bound)
}

/// What is in use is in use by ourselves, if an address before it covers it.
fn taken_by_ourselves(before: &[Address], error: BindError) -> BindError {
    let BindError::InUse { address } = error else { return error };
    match before.iter().find(|other| overlap(other, &address)) {
        Some(other) => BindError::Twice { other: other.clone(), address },
        None => BindError::InUse { address },
    }
}

fn overlap(one: &Address, other: &Address) -> bool {
    let ips = |host: &str, address| resolve(host, address).unwrap_or_default();
    match (one, other) {
        (Address::Tcp { host, port, .. }, Address::Tcp { host: other_host, port: other_port, .. }) => {
            let others = ips(other_host, other);
            let meets = |ip: &IpAddr, other: &IpAddr| {
                ip == other || (ip.is_ipv4() == other.is_ipv4() && (ip.is_unspecified() || other.is_unspecified()))
            };
            port == other_port && ips(host, one).iter().any(|ip| others.iter().any(|other| meets(ip, other)))
        }
        (one, other) => one == other,
    }
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
            Err(error) if 0 < nth && is_absent(&error) => continue,
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

/// Whether this machine has no such address, or none of its kind: IPv6 may be switched off, or not be in the kernel.
fn is_absent(error: &io::Error) -> bool {
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

fn bind_unix(
    path: &Path,
    protocol: Protocol,
    mode: Option<u32>,
    threads: usize,
) -> Result<(Address, Sockets), BindError> {
    let address = Address::Unix { path: path.to_owned(), protocol };
    let bound = match listen_at(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match occupant(path) {
            Occupant::Listener => Err(error),
            Occupant::Other => return Err(BindError::Occupied { path: path.to_owned() }),
            Occupant::DeadSocket => std::fs::remove_file(path).and_then(|()| listen_at(path, mode)),
        },
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

/// The mode is set before anybody can connect.
fn listen_at(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let allowed = mode.map_or(Ok(()), |mode| std::fs::set_permissions(path, Permissions::from_mode(mode)));
    match allowed.and_then(|()| socket.listen(BACKLOG)) {
        Ok(()) => Ok(socket.into()),
        Err(error) => {
            // Whoever looks for the reason is not to find a socket that nobody listens on.
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

/// What is where a socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occupant {
    /// Somebody listens there.
    Listener,
    /// It was left behind by a process that was killed.
    DeadSocket,
    /// Whatever it is, it is not for us to remove.
    Other,
}

fn occupant(path: &Path) -> Occupant {
    if !path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        return Occupant::Other;
    }
    let attempt = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One whose backlog is full lets nobody wait here.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match attempt() {
        Ok(()) => Occupant::Listener,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Occupant::DeadSocket,
            io::ErrorKind::WouldBlock => Occupant::Listener,
            // Another user's, for example.
            _ => Occupant::Other,
        },
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
mod tests;
