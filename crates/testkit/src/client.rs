//! HTTP/1.1 on one connection, strict in what it accepts: a response that a careful client would refuse fails the test.
//!
//! Invariant: it reads what the framing says and no byte more, so that what follows on the connection is seen.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Nothing in a test takes longer. It is above the limits of the edge (30 s), so that a request which is stuck ends with the
/// answer that says so.
const DEADLINE: Duration = Duration::from_secs(50);

/// No line of a response is longer.
const LINE_MAX: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Client<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

/// A response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its body without framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The answer to a request with these field lines, each with its end; for HEAD without a body.
///
/// # Panics
/// When there is none.
pub fn ask(client: &mut Client, method: &str, path: &str, fields: &str) -> Response {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).unwrap();
    if method == "HEAD" { client.head().unwrap() } else { client.response().unwrap() }
}

/// The same for GET.
///
/// # Panics
/// When there is none.
pub fn get(client: &mut Client, path: &str, fields: &str) -> Response {
    ask(client, "GET", path, fields)
}

/// The value of a field, or nothing.
pub fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    response.field(name).unwrap_or("")
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Client {
    /// Connects to a port of this machine.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::over_tcp(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// Over a connection that is there, with the limits of those that [`Self::connect`] makes.
    pub(crate) fn over_tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Waits for the first byte of an answer and leaves it unread.
    ///
    /// A connection that is dropped after this is reset, so the other side knows that nobody reads any more; without unread
    /// bytes it could also be a client that has only finished sending.
    pub fn answer_arrived(&self) -> io::Result<()> {
        match uninterrupted(|| self.stream.peek(&mut [0]))? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn end(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }
}

impl<S: Read + Write> Client<S> {
    /// Over a connection that is there.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The connection, when nothing of it is left unread.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// What it speaks over.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a GET and reads the response.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))?;
        self.response()
    }

    /// Sends a POST with a body of known length and reads the response.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        self.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        self.send(body)?;
        self.response()
    }

    /// The same as the last request of the connection, whose end is waited for.
    pub fn last_post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        ))?;
        self.send(body)?;
        let response = self.response()?;
        match self.rest()?.is_empty() {
            true => Ok(response),
            false => Err(malformed("bytes behind the last response")),
        }
    }

    /// Reads a response to anything but HEAD.
    pub fn response(&mut self) -> io::Result<Response> {
        let mut response = self.head()?;
        if response.status / 100 == 1 || matches!(response.status, 204 | 304) {
            return Ok(response);
        }
        let lengths: Vec<_> = response.fields.iter().filter(|(name, _)| name == "content-length").collect();
        match (response.field("transfer-encoding"), &lengths[..]) {
            (Some("chunked"), []) => response.body = self.chunks()?,
            (None, [(_, length)]) => {
                let length: usize = length.parse().map_err(|_| malformed("Content-Length"))?;
                response.body = self.take(length)?;
            }
            (None, []) => response.body = self.rest()?,
            _ => return Err(malformed("a framing that can be read in two ways")),
        }
        Ok(response)
    }

    /// Reads a response's head only.
    pub fn head(&mut self) -> io::Result<Response> {
        let status_line = self.line()?;
        let status =
            status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| malformed(&status_line))?;
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, fields, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                return Err(malformed(&line));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// Reads one chunk of a chunked body; empty at its end.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let length = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
        let data = self.take(length)?;
        if !self.line()?.is_empty() {
            return Err(malformed("a chunk without end"));
        }
        Ok(data)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Reads until the connection ends.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.buffer);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return if line.contains(['\r', '\n', '\0']) { Err(malformed(&line)) } else { Ok(line) };
            }
            if LINE_MAX < self.buffer.len() {
                return Err(malformed("a line without end"));
            }
            self.fill()?;
        }
    }

    /// Reads so many bytes.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match uninterrupted(|| self.stream.read(&mut piece))? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

/// A socket with a timeout is interrupted when the process is stopped and goes on, whatever its signal handlers (signal(7),
/// "Interruption of system calls and library functions by stop signals"): nothing has been read, and nothing is lost.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
