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
use proxy::{BindError, Bound, Change, Listener, Made, Socket};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, oneshot},
    task::{JoinSet, spawn_local},
    time::timeout,
};

pub use self::told::Sight;
use crate::{Place, place::SocketName};

/// Clients that are served at a time; the others wait in the kernel.
const CLIENTS_MAX: usize = 32;

/// From the connection of a client to the last byte of its answer.
const CLIENT_TIME: Duration = Duration::from_secs(5);

/// After the kernel has refused a new descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long, and how many bytes, a client may go on sending that has its answer: it is to see that, and no reset.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// A request here is short.
const LIMITS: Limits = Limits { head: 16 * 1024, target: 1024, fields: 64, field: 8 * 1024 };

/// The listener before anybody is answered, if there is to be one; its sockets in the file system go with it.
#[derive(Debug)]
pub struct AdminBound {
    bound: Bound,
    name: Option<Rc<SocketName>>,
}

/// Another listener in its place, for which everything is bound.
#[derive(Debug)]
pub struct AdminChange {
    change: Change,
    name: Option<Rc<SocketName>>,
}

/// The listener; it ends when this is dropped.
pub struct Admin {
    look: Rc<dyn Fn() -> Sight>,
    turns: Arc<Semaphore>,
    /// Sockets, and by what whoever accepts there is told to end.
    doors: Vec<(Arc<Socket>, oneshot::Sender<()>)>,
    accepting: JoinSet<()>,
    bound: AdminBound,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl AdminBound {
    /// Listens where `admin` says: somewhere, nowhere, or beside the other state of the run at `place`, whose lock the caller
    /// holds.
    pub fn bind(admin: &config::Admin, place: &Place) -> Result<Self, BindError> {
        let mut nothing = Self { bound: Bound::default(), name: None };
        let AdminChange { change, name } = nothing.prepare(admin, place)?;
        nothing.bound.make(change);
        Ok(Self { name, ..nothing })
    }

    fn prepare(&self, admin: &config::Admin, place: &Place) -> Result<AdminChange, BindError> {
        let name = match (admin, &self.name) {
            (config::Admin::Socket, Some(name)) => Some(Rc::clone(name)),
            (config::Admin::Socket, None) => {
                let name = place.admin_socket_name();
                let name = name.map_err(|error| BindError::NoPlace { path: place.directory().to_owned(), error })?;
                Some(Rc::new(name))
            }
            (config::Admin::At(_) | config::Admin::Off, _) => None,
        };
        let beside = |name: &Rc<SocketName>| Listen::Unix {
            path: name.path().to_owned(),
            protocol: config::Protocol::Http,
            mode: Some(0o600),
        };
        let listen = match admin {
            config::Admin::At(listen) => Some(listen.clone()),
            config::Admin::Socket | config::Admin::Off => name.as_ref().map(beside),
        };
        Ok(AdminChange { change: self.bound.prepare(listen.as_slice(), 1)?, name })
    }
}

impl Admin {
    /// Answers, on a local task set. `look` is asked anew for every answer.
    pub fn start(bound: AdminBound, look: impl Fn() -> Sight + 'static) -> Self {
        let turns = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut admin = Self { look: Rc::new(look), turns, doors: Vec::new(), accepting: JoinSet::new(), bound };
        admin.follow();
        admin
    }

    /// Binds what it takes to listen where `admin` says; nothing changes before [`Self::make`].
    pub fn prepare(&self, admin: &config::Admin, place: &Place) -> Result<AdminChange, BindError> {
        self.bound.prepare(admin, place)
    }

    /// Listens elsewhere; who has connected before is answered.
    pub fn make(&mut self, AdminChange { change, name }: AdminChange) -> Made {
        let made = self.bound.bound.make(change);
        self.bound.name = name;
        self.follow();
        made
    }

    fn follow(&mut self) {
        let bound = &self.bound.bound;
        self.doors.retain(|(socket, _)| bound.sockets().any(|known| Arc::ptr_eq(known, socket)));
        for socket in bound.sockets() {
            if self.doors.iter().any(|(known, _)| Arc::ptr_eq(known, socket)) {
                continue;
            }
            let (told, end) = oneshot::channel();
            let (turns, look) = (Arc::clone(&self.turns), Rc::clone(&self.look));
            self.accepting.spawn_local(accept(Arc::clone(socket), end, turns, look));
            self.doors.push((Arc::clone(socket), told));
        }
    }
}

/// Until the sender of `end` has gone, and then what the kernel has queued.
async fn accept(
    socket: Arc<Socket>,
    mut end: oneshot::Receiver<()>,
    turns: Arc<Semaphore>,
    look: Rc<dyn Fn() -> Sight>,
) {
    let door = loop {
        match Door::new(&socket) {
            Ok(door) => break door,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    };
    // A socket that is not listened on any more goes with its last copy.
    drop(socket);
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            accepted = door.accept() => accepted,
            _ = &mut end => return,
        };
        match accepted {
            Ok(stream) => {
                let look = Rc::clone(&look);
                spawn_local(async move {
                    // One that is too slow, or has gone, gets nothing more.
                    let _ = serve(stream, &*look).await;
                    drop(turn);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
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
    fn new(socket: &Socket) -> io::Result<Self> {
        Ok(match socket.copy()? {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

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
