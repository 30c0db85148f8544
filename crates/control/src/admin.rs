//! The listener by which others watch what runs: `/metrics`, `/health`, `/ready`, `/nodes`.
//!
//! It is apart from the edge: it answers while applications are stuck, and whatever comes to it costs the edge nothing.
//! Invariants: it only tells; a client holds one of [`CLIENTS_MAX`] turns for [`CLIENT_TIME`] at most, one request long.

mod told; // what the answers say

use std::{
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use config::Listen;
use http::{DateCache, HeadScan, Limits, RequestHead};
use proxy::{BindError, Bound, Listener};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    task::{JoinSet, spawn_local},
    time::timeout,
};

pub use self::told::Sight;
use crate::Place;

/// Clients that are served at a time; the others wait in the kernel.
const CLIENTS_MAX: usize = 32;

/// From the connection of a client to the last byte of its answer.
const CLIENT_TIME: Duration = Duration::from_secs(5);

/// How long, and how many bytes, a client may go on sending that has its answer: it is to see that, and no reset.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// A request here is short.
const LIMITS: Limits = Limits { head: 16 * 1024, target: 1024, fields: 64, field: 8 * 1024 };

/// The listener before anybody is answered; its sockets in the file system go with it.
#[derive(Debug)]
pub struct AdminBound {
    bound: Bound,
    _name: Option<crate::place::SocketName>,
}

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    _tasks: JoinSet<()>,
    _bound: AdminBound,
}

impl AdminBound {
    /// Listens at `listen`, or beside the other state of the run at `place`, whose lock the caller holds.
    pub fn bind(listen: Option<&Listen>, place: &Place) -> Result<Self, BindError> {
        if let Some(listen) = listen {
            return Ok(Self { bound: proxy::bind(std::slice::from_ref(listen), 1)?, _name: None });
        }
        let name = place.admin_socket_name();
        let name = name.map_err(|error| BindError::NoPlace { path: place.directory().to_owned(), error })?;
        let path = name.path().to_owned();
        let listen = Listen::Unix { path, protocol: config::Protocol::Http, mode: Some(0o600) };
        Ok(Self { bound: proxy::bind(&[listen], 1)?, _name: Some(name) })
    }
}

impl Admin {
    /// Answers, on a local task set. `look` is asked anew for every answer.
    pub fn start(mut bound: AdminBound, look: impl Fn() -> Sight + 'static) -> io::Result<Self> {
        let look: Rc<dyn Fn() -> Sight> = Rc::new(look);
        let turns = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut tasks = JoinSet::new();
        for listener in bound.bound.take_listeners() {
            let door = match listener {
                Listener::Tcp(listener) => Door::Tcp(TcpListener::from_std(listener)?),
                Listener::Unix(listener) => Door::Unix(UnixListener::from_std(listener)?),
            };
            tasks.spawn_local(accept(door, Arc::clone(&turns), Rc::clone(&look)));
        }
        Ok(Self { _tasks: tasks, _bound: bound })
    }
}

async fn accept(door: Door, turns: Arc<Semaphore>, look: Rc<dyn Fn() -> Sight>) {
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        match door.accept().await {
            Ok(stream) => {
                let look = Rc::clone(&look);
                spawn_local(async move {
                    // One that is too slow, or has gone, gets nothing more.
                    let _ = serve(stream, &*look).await;
                    drop(turn);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(mut stream: Stream, look: &dyn Fn() -> Sight) -> io::Result<()> {
    timeout(CLIENT_TIME, async {
        let answer = told::answer(&read(&mut stream).await?, look);
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await??;
    let mut rest = stream.take(LINGER_BYTES as u64);
    timeout(LINGER_TIME, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await??;
    Ok(())
}

/// What a client asks.
#[derive(Debug)]
enum Asked {
    /// This path.
    Path { path: String, is_head: bool },
    /// Something that is not done here, or not HTTP.
    Refused { status: u16, is_head: bool },
}

async fn read(stream: &mut Stream) -> io::Result<Asked> {
    let (mut input, mut scan, mut head) = (Vec::new(), HeadScan::default(), RequestHead::default());
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !scan.may_be_complete(&input, &LIMITS) {
            continue;
        }
        let is_head = http::asks_for_head(&input);
        return Ok(match http::parse_request(&input, &LIMITS, &mut head) {
            Ok(None) => continue,
            Ok(Some(_)) if matches!(head.method.of(&input), b"GET" | b"HEAD") => {
                let path = String::from_utf8_lossy(head.path.of(&input)).into_owned();
                Asked::Path { path, is_head }
            }
            Ok(Some(_)) => Asked::Refused { status: 405, is_head },
            Err(refusal) => Asked::Refused { status: refusal.status, is_head },
        });
    }
}

/// Appends the Date field's value (RFC 9110 §6.6.1).
fn write_date(out: &mut Vec<u8>) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    out.extend_from_slice(DateCache::default().at(unix.as_secs()));
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
