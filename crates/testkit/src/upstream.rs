//! A server that does what a test says, byte for byte, for whoever forwards requests to it.
//!
//! Invariant: a connection that ends without having sent anything was a probe, and is not the test's.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread::spawn,
    time::Duration,
};

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
    /// When the system fails.
    pub fn accept(&self) -> Caller {
        loop {
            let (stream, _) = self.listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            if stream.peek(&mut [0]).is_ok_and(|count| 0 < count) {
                return Caller::over(stream);
            }
        }
    }

    /// The next connection, whatever it brings.
    ///
    /// # Panics
    /// When the system fails.
    pub fn accept_any(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Answers every request that has no body, or one of known length, with this; until the process ends.
    pub fn answer_all(self, response: &'static str) {
        spawn(move || {
            loop {
                let mut caller = self.accept();
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
