//! A server that does what a test says, byte for byte, for whoever forwards requests to it.
//!
//! Invariant: a connection that ends without having sent anything was a probe, and is not the test's.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread::spawn,
    time::{Duration, Instant},
};

use socket2::SockRef;

use crate::ports::free_port;

/// Nothing in a test takes longer.
const DEADLINE: Duration = Duration::from_secs(50);

/// Listens from the beginning until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    listener: TcpListener,
    /// Where.
    pub port: u16,
}

/// A connection that brings requests.
#[derive(Debug)]
pub struct Caller<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Upstream {
    /// On a free port.
    #[allow(clippy::new_without_default, reason = "it opens a socket")]
    pub fn new() -> Self {
        Self::at(free_port())
    }

    /// On this port.
    ///
    /// # Panics
    /// When it is not free.
    pub fn at(port: u16) -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", port)).unwrap(), port }
    }

    /// As the configuration names it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next connection that brings a request.
    ///
    /// # Panics
    /// When none does, or the system fails.
    pub fn accept(&self) -> Caller {
        self.caller(DEADLINE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The next connection, whatever it brings.
    ///
    /// # Panics
    /// When there is none, or the system fails.
    pub fn accept_any(&self) -> TcpStream {
        self.next(Instant::now() + DEADLINE).unwrap_or_else(|error| panic!("no connection: {error}"))
    }

    fn caller(&self, limit: Duration) -> io::Result<Caller> {
        let until = Instant::now() + limit;
        loop {
            let stream = self.next(until).map_err(|error| {
                let text = format!("no connection has brought a request to {} within {limit:?}: {error}", self.url());
                io::Error::new(error.kind(), text)
            })?;
            if stream.peek(&mut [0]).is_ok_and(|count| 0 < count) {
                return Ok(Caller::over(stream));
            }
        }
    }

    fn next(&self, until: Instant) -> io::Result<TcpStream> {
        let left = until.saturating_duration_since(Instant::now());
        // Zero would mean without end. accept(2) keeps to it too.
        SockRef::from(&self.listener).set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// Answers every request that has no body, or one of known length, with this; until the process ends.
    pub fn answer_all(self, response: &'static str) {
        spawn(move || {
            loop {
                let mut caller = match self.caller(DEADLINE) {
                    Ok(caller) => caller,
                    // A test may leave it alone for as long as it likes.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("{error}"),
                };
                spawn(move || {
                    while let Ok(head) = caller.head() {
                        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
                        if caller.take(length).is_err() || caller.send(response).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
}

impl<S: Read + Write> Caller<S> {
    /// On a connection that is there.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Waits until something has come; false when nothing does.
    pub fn has_come(&mut self) -> bool {
        !self.buffer.is_empty() || self.fill().is_ok()
    }

    /// The next request's head, with its empty line.
    pub fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(String::from_utf8_lossy(&self.buffer.drain(..at + 4).collect::<Vec<_>>()).into_owned());
            }
            self.fill()?;
        }
    }

    /// So many bytes.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads a request and answers it.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn answer(&mut self, response: &str) -> String {
        let head = self.head().unwrap();
        self.send(response).unwrap();
        head
    }

    /// Waits until the other side has ended the connection; true if nothing came before that.
    pub fn has_ended(&mut self) -> bool {
        self.buffer.is_empty() && !matches!(self.stream.read(&mut [0]), Ok(1..))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

impl Caller {
    /// Waits for the next byte and leaves it unread.
    ///
    /// # Panics
    /// When none comes.
    pub fn arrived(&self) {
        assert_eq!(self.stream.peek(&mut [0]).unwrap(), 1);
    }

    /// Sends nothing more.
    pub fn end(&self) {
        // It may have gone already, which is the same.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_nobody_is_told_so() {
        let upstream = Upstream::new();
        // A probe is no request.
        let _probe = TcpStream::connect(("127.0.0.1", upstream.port)).unwrap().shutdown(Shutdown::Write);
        let error = upstream.caller(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(error.to_string().starts_with("no connection has brought a request to http://127.0.0.1:"), "{error}");
        let mut client = TcpStream::connect(("127.0.0.1", upstream.port)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(upstream.accept().head().unwrap(), "GET / HTTP/1.1\r\n\r\n");
    }
}
