//! A client's transport, or an upstream's: TCP, a Unix socket, or TLS over TCP.
//!
//! Reading and writing go through the runtime's own traits, because they remember that a short read has emptied the
//! socket; asking the kernel once more would cost a system call per request.
use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    fs::sendfile,
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send, sockopt::set_tcp_quickack},
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, Interest},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsStream;

/// The socket of one connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, so that the others stay small.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Appends what has arrived; `Ok(0)` means that nothing more will.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(context),
            Self::Unix(stream) => pin!(stream.read_buf(buffer)).poll(context),
            Self::Tls(stream) => pin!(stream.read_buf(buffer)).poll(context),
        }
    }

    /// Looks at what has arrived and leaves it there; `Ok(0)` means that nothing more will. For what comes before TLS.
    pub(crate) fn poll_peek(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let peeked = match self {
                Self::Tcp(stream) => {
                    ready!(stream.poll_read_ready(context))?;
                    stream.try_io(Interest::READABLE, || Ok(recv(stream, &mut *buffer, RecvFlags::PEEK)?.0))
                }
                Self::Unix(stream) => {
                    ready!(stream.poll_read_ready(context))?;
                    stream.try_io(Interest::READABLE, || Ok(recv(stream, &mut *buffer, RecvFlags::PEEK)?.0))
                }
                Self::Tls(_) => return Poll::Ready(Err(Errno::OPNOTSUPP.into())),
            };
            match peeked {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                peeked => return Poll::Ready(peeked),
            }
        }
    }

    /// Reads what was looked at once more, so that it is gone.
    pub(crate) fn skip(&self, mut seen: &mut [u8]) -> io::Result<()> {
        while !seen.is_empty() {
            let read = match self {
                Self::Tcp(stream) => stream.try_read(seen)?,
                Self::Unix(stream) => stream.try_read(seen)?,
                Self::Tls(_) => return Err(Errno::OPNOTSUPP.into()),
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            seen = &mut seen[read..];
        }
        Ok(())
    }

    /// Sends as much as the kernel takes; TLS takes some more for itself, see [`Self::poll_flush`].
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// The same when more follows at once: the kernel may wait for that, so that both go as one segment.
    pub(crate) fn poll_write_ahead(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Others have no segments of which the client notices anything.
        let Self::Tcp(stream) = self else { return self.poll_write(context, bytes) };
        loop {
            ready!(stream.poll_write_ready(context))?;
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            match stream.try_io(Interest::WRITABLE, || Ok(send(&*stream, bytes, flags)?)) {
                // It is known now that the socket is full: the next look waits until it is not.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Whether bytes that were taken have not been sent.
    pub(crate) fn holds_bytes(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    /// Sends all that was taken.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Sends up to `count` bytes of a file from `offset` on, as much as the kernel takes; `Ok(0)` at the file's end. What the
    /// kernel would send is not encrypted, so that TLS does not support it.
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
                Self::Tls(_) => return Poll::Ready(Err(Errno::OPNOTSUPP.into())),
            };
            match sent {
                // It is known now that the socket is full: the next look waits until it is not.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Says that nothing more will be sent; the other side may still be read. A peer that has gone already is no error.
    /// In TLS it is said by an alert (close_notify), which waits until there is room for it.
    pub(crate) fn poll_shutdown_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let _ = match self {
            Self::Tcp(stream) => socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Write),
            Self::Tls(stream) => ready!(Pin::new(stream).poll_shutdown(context)),
        };
        Poll::Ready(())
    }

    /// Where it was accepted, or begins; a Unix socket has no such address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Tls(stream) => stream.get_ref().0.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Whether an end without a word could be taken for an attack (RFC 8446 §6.1).
    pub(crate) fn says_goodbye(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Nothing follows what was written ahead: it goes now (TCP_NODELAY, tcp(7), flushes what waits).
    pub(crate) fn push(&self) {
        if let Self::Tcp(stream) = self {
            // On a connection that is no more there is nobody to see it.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Tells the other side at once what has arrived (TCP_QUICKACK, tcp(7)).
    pub(crate) fn acknowledge(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return,
        };
        // Without it the other side hears of it somewhat later.
        let _ = set_tcp_quickack(stream, true);
    }

    /// Makes closing a reset, so that a client which knows the end of a response only by the end of the connection can
    /// tell that this one is not whole.
    pub(crate) fn reset_on_close(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return,
        };
        // Without it the client sees an ordinary end; nothing else depends on it.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests;
