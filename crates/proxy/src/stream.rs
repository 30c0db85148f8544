//! A client's transport: TCP or a Unix socket.
//!
//! Reading and writing go through the runtime's own traits, because they remember that a short read has emptied the
//! socket; asking the kernel once more would cost a system call per request.
use std::{
    io,
    os::fd::OwnedFd,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::fs::sendfile;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, Interest},
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

    /// Sends up to `count` bytes of a file from `offset` on, as much as the kernel takes; `Ok(0)` at the file's end.
    pub(crate) fn poll_send_file(
        &self,
        context: &mut Context<'_>,
        file: &OwnedFd,
        mut offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let sent = match self {
                Self::Tcp(stream) => {
                    ready!(stream.poll_write_ready(context))?;
                    stream.try_io(Interest::WRITABLE, || Ok(sendfile(stream, file, Some(&mut offset), count)?))
                }
                Self::Unix(stream) => {
                    ready!(stream.poll_write_ready(context))?;
                    stream.try_io(Interest::WRITABLE, || Ok(sendfile(stream, file, Some(&mut offset), count)?))
                }
            };
            match sent {
                // It is known now that the socket is full: the next look waits until it is not.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
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
