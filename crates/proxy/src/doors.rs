//! The sockets on which a thread accepts, as it is told.
//!
//! | a socket is then | what becomes of the connections that the kernel has queued there      |
//! |------------------|-----------------------------------------------------------------------|
//! | this thread's    | they are accepted                                                     |
//! | others'          | they are left to those                                                |
//! | nobody's         | they are accepted, as their clients have connected in time; then it is closed |
//!
//! Invariant: a thread accepts on copies of its own, so that whoever else accepts on the same socket is not disturbed.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};

use crate::{
    listener::{BACKLOG, Door, Entry, Listener, Socket},
    stream::Stream,
    thread::Thread,
};

/// How long handshakes may take that are under way when another socket takes the place of this one.
const LINGER: Duration = Duration::from_secs(1);

/// Where one thread accepts.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    posts: Vec<Post>,
    accepting: JoinSet<()>,
}

/// One of them, with the task that accepts there.
#[derive(Debug)]
struct Post {
    socket: Arc<Socket>,
    orders: watch::Sender<Order>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    /// What the socket belongs to.
    entry: Entry,
    stay: Stay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// Accept.
    Here,
    /// Others do.
    Leave,
    /// Nobody does any more.
    Close,
}

impl Doors {
    /// Accepts at those of `doors` that are this thread's, when so many serve, and nowhere else.
    pub(crate) fn follow(&mut self, thread: &Rc<Thread>, doors: &[Door], threads: usize) {
        let is_mine = |door: &&Door| door.is_of(thread.index(), threads);
        self.posts.retain(|Post { socket, orders }| {
            let door = doors.iter().find(|door| Arc::ptr_eq(&door.socket, socket));
            let stay = match door {
                Some(door) if is_mine(&door) => Stay::Here,
                Some(_) => Stay::Leave,
                None => Stay::Close,
            };
            orders.send_if_modified(|order| {
                let next = Order { entry: door.map_or(order.entry, |door| door.entry), stay };
                std::mem::replace(order, next) != next
            });
            stay == Stay::Here
        });
        for Door { entry, socket, .. } in doors.iter().filter(is_mine) {
            if self.posts.iter().any(|post| Arc::ptr_eq(&post.socket, socket)) {
                continue;
            }
            let (orders, told) = watch::channel(Order { entry: *entry, stay: Stay::Here });
            self.accepting.spawn_local(accept(Rc::clone(thread), Arc::clone(socket), told));
            self.posts.push(Post { socket: Arc::clone(socket), orders });
        }
        while self.accepting.try_join_next().is_some() {}
    }

    /// Returns when nothing is accepted any more.
    pub(crate) async fn closed(&mut self) {
        while self.accepting.join_next().await.is_some() {}
    }
}

async fn accept(thread: Rc<Thread>, socket: Arc<Socket>, mut orders: watch::Receiver<Order>) {
    let acceptor = loop {
        match Acceptor::new(&socket) {
            Ok(acceptor) => break acceptor,
            Err(_) => thread.relieve().await,
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = acceptor.accept() => Some(accepted),
            _ = orders.wait_for(|order| order.stay != Stay::Here) => None,
        };
        let Order { entry, stay } = *orders.borrow();
        if let Some(accepted) = accepted {
            thread.take(accepted, entry).await;
        }
        match stay {
            Stay::Here => {}
            Stay::Leave => return,
            Stay::Close => return close(&thread, acceptor, &socket, entry).await,
        }
    }
}

/// Accepts what the kernel has queued.
async fn close(thread: &Rc<Thread>, acceptor: Acceptor, socket: &Socket, entry: Entry) {
    let lingers = socket.lingers() && !thread.is_draining();
    let until = Instant::now() + if lingers { LINGER } else { Duration::ZERO };
    // New ones may come without end.
    for _ in 0..BACKLOG {
        tokio::select! {
            biased;
            accepted = acceptor.accept() => thread.take(accepted, entry).await,
            () = tokio::time::sleep_until(until.into()) => return,
        }
    }
}

/// What has come in, and from where unless it is a Unix socket.
pub(crate) type Accepted = io::Result<(Stream, Option<SocketAddr>)>;

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(socket: &Socket) -> io::Result<Self> {
        Ok(match socket.copy()? {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> Accepted {
        match self {
            Self::Tcp(acceptor) => {
                acceptor.accept().await.map(|(stream, address)| (Stream::Tcp(stream), Some(address)))
            }
            Self::Unix(acceptor) => acceptor.accept().await.map(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }
}
