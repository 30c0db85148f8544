//! Nothing can be smuggled past the edge: what an upstream gets can be read in one way only, whatever clients send, and
//! what a client gets is the answer to its own request, whatever upstreams send. Each named attack has its set here; the
//! codec's own tables are in crate `http`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reading; // messages as RFC 9112 lets them be written, and as we write them
mod server; // an upstream that reads by the rules and notes what it has read
mod framing; // CL.TE, TE.CL, TE.TE, CL.0, 0.CL, chunks
mod names; // fields that hide behind `_`, Connection, lengths and empty names
mod answers; // early responses, responses without a request, interim ones
mod any; // all of it at random

use std::{
    io::{self, Cursor, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use testkit::{Client, Project, Response};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");

/// A request of its own if the framing before it is read in another way than by us.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// A Tierce in front of one upstream, which is probed once, so that all other connections are those of requests.
fn project(url: &str, keys: &str) -> Project {
    Project::new(TIERCE, "", &format!("upstream = [{url:?}]\nhealth.every = \"1h\"\n{keys}"))
}

/// Sends these bytes and nothing more; returns all final responses. Those of the upstream have no body here.
fn talk(port: u16, bytes: &[u8]) -> io::Result<Vec<Response>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(50)))?;
    // It may have been refused and closed before all of it has gone.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer)
        && error.kind() != io::ErrorKind::ConnectionReset
    {
        return Err(error);
    }
    responses(answer)
}

fn responses(answer: Vec<u8>) -> io::Result<Vec<Response>> {
    let length = answer.len() as u64;
    let mut client = Client::over(Replay(Cursor::new(answer)));
    let mut responses = Vec::new();
    loop {
        let mut response = match client.head() {
            Ok(response) => response,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && client.rest()?.is_empty() => break,
            Err(error) => return Err(error),
        };
        assert!(client.stream().0.position() <= length);
        if response.status / 100 == 1 {
            continue;
        }
        let announced = response.field("content-length").map_or(0, |length| length.parse().unwrap());
        if 0 < announced {
            // A refused HEAD has no body, and is the last of its connection.
            response.body = client.take(announced).or_else(|_| client.rest())?;
        }
        responses.push(response);
    }
    Ok(responses)
}

/// What was received, to be read once more.
struct Replay(Cursor<Vec<u8>>);

impl Read for Replay {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.0.read(piece)
    }
}

impl Write for Replay {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
