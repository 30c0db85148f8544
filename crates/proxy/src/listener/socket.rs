//! Single sockets: how they are bound, shared and listened on.

use std::{
    fs::Permissions,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use socket2::{Domain, SockAddr, SockRef, Type};

/// Connections that the kernel holds until they are accepted.
pub(crate) const BACKLOG: u16 = 4096;

/// A socket by which connections come in. Whoever accepts does so by a copy of its own; the connections that the kernel has
/// queued are there as long as this or one of the copies is.
#[derive(Debug)]
pub struct Socket {
    listener: Listener,
    lingers: AtomicBool,
}

/// A listening socket, or a copy of it.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

/// With whom an address may be shared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody may have it, nor one that covers it or is covered.
    Refused,
    /// Sockets of ours, which this process has already.
    Allowed,
}

impl Socket {
    /// Binds a TCP socket, on which nobody listens yet.
    pub(super) fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
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
        Ok(Self::new(Listener::Tcp(socket.into())))
    }

    /// Listens at a path; also returns the mode that the umask has left it. The wanted one is set before anybody can connect.
    pub(super) fn listen_at(path: &Path, mode: Option<u32>) -> io::Result<(Self, u32)> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let listen = || {
            let left = path.metadata()?.permissions().mode() & 0o7777;
            if let Some(mode) = mode {
                std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
            socket.set_nonblocking(true)?;
            socket.listen(BACKLOG.into())?;
            Ok(left)
        };
        match listen() {
            Ok(left) => Ok((Self::new(Listener::Unix(socket.into())), left)),
            Err(error) => {
                // Whoever looks for the reason is not to find a socket that nobody listens on.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn new(listener: Listener) -> Self {
        Self { listener, lingers: AtomicBool::new(false) }
    }

    /// From now on connections are queued here.
    pub(super) fn listen(&self) -> io::Result<()> {
        match &self.listener {
            Listener::Tcp(listener) => SockRef::from(listener).listen(BACKLOG.into()),
            Listener::Unix(_) => Ok(()),
        }
    }

    /// Where it is bound.
    pub(super) fn at(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A copy to accept on.
    pub fn copy(&self) -> io::Result<Listener> {
        match &self.listener {
            Listener::Tcp(listener) => listener.try_clone().map(Listener::Tcp),
            Listener::Unix(listener) => listener.try_clone().map(Listener::Unix),
        }
    }

    /// Nobody listens here any more. Where another socket has taken its place for some of its clients, those whose handshakes
    /// are under way still come by this one.
    pub(super) fn linger(&self, is_replaced: bool) {
        self.lingers.store(is_replaced, Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Relaxed)
    }
}

/// What is where a socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Somebody listens there.
    Listener,
    /// It was left behind by a process that was killed.
    DeadSocket,
    /// Whatever it is, it is not for us to remove.
    Other,
}

pub(super) fn occupant(path: &Path) -> Occupant {
    if !path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        return Occupant::Other;
    }
    let attempt = || {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
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
