//! A client's transport: TCP or a Unix socket.
//!
//! Reading and writing go through the runtime's own traits, because they remember that a short read has emptied the
//! socket; asking the kernel once more would cost a system call per request.
use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// The socket of one connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Appends what has arrived; `Ok(0)` means that nothing more will.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(context),
            Self::Unix(stream) => pin!(stream.read_buf(buffer)).poll(context),
        }
    }

    /// Sends as much as the kernel takes.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Says that nothing more will be sent; the other side may still be read. A peer that has gone already is no error.
    pub(crate) fn shutdown_write(&self) {
        let _ = match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        };
    }

    /// Makes closing a reset, so that a client which knows the end of a response only by the end of the connection can
    /// tell that this one is not whole.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // Without it the client sees an ordinary end; nothing else depends on it.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}
