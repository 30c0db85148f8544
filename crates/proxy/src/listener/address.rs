//! Addresses as they were bound, and why one cannot be.

use std::{fmt, io, path::PathBuf};

use config::Protocol;

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

impl Address {
    /// Whether both are the same place, whatever is spoken there.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp { host, port, .. }, Self::Tcp { host: other, port: other_port, .. }) => {
                host == other && port == other_port
            }
            (Self::Unix { path, .. }, Self::Unix { path: other, .. }) => path == other,
            _ => false,
        }
    }
}

impl BindError {
    /// What the system's word means for an address.
    pub(super) fn explain(address: Address, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::NoPermission { address },
            _ => Self::Other { address, error },
        }
    }
}
