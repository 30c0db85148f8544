//! An upstream that reads by the rules, answers each request with its own id, and notes what it has read.
//!
//! Invariant: a request is noted before it is answered.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::spawn,
};

use testkit::free_port;

use super::reading::{By, Message, Not, request};

#[derive(Clone, Debug)]
pub(super) struct Server {
    port: u16,
    read: Arc<Mutex<Vec<Message>>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, read: Arc::default(), wrong: Arc::default() };
        let each = server.clone();
        spawn(move || {
            for stream in listener.incoming() {
                let server = each.clone();
                spawn(move || server.serve(&mut stream.unwrap()));
            }
        });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What has been read since this was last asked.
    ///
    /// # Panics
    /// When something was not as Tierce writes.
    pub(super) fn taken(&self) -> Vec<Message> {
        assert_eq!(*self.wrong.lock().unwrap(), Vec::<String>::new(), "Tierce has sent what is not right");
        std::mem::take(&mut *self.read.lock().unwrap())
    }

    /// Serves until the connection ends, in the middle of a request perhaps: its client has gone, or was refused.
    fn serve(&self, stream: &mut TcpStream) {
        let (mut input, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match request(&input, By::Tierce) {
                Ok(message) => {
                    input.drain(..message.length);
                    let id = message.values("x-request-id")[0].to_owned();
                    self.read.lock().unwrap().push(message);
                    // Whoever has gone meanwhile is noticed when reading.
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Seen: {id}\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes());
                }
                Err(Not::Whole) => match stream.read(&mut piece) {
                    Ok(count) if 0 < count => input.extend_from_slice(&piece[..count]),
                    _ => return,
                },
                Err(not) => {
                    self.wrong.lock().unwrap().push(format!("{not:?} in {:?}", String::from_utf8_lossy(&input)));
                    return;
                }
            }
        }
    }
}
