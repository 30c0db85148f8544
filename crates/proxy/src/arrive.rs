//! What comes before the first request where it has to: the PROXY protocol's header, the TLS handshake.
//!
//! Invariant: nothing of it is waited for without bound, and what is not whole in time, or not from whom it may come, is
//! never served. Not a byte that belongs to the connection itself is read here.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use config::{Protocol, ProxyProtocol};
use http::{PROXY_HEADER_MAX, Scheme};
use tokio_rustls::TlsAcceptor;
use units::Cause;

use crate::{
    connection::{Connection, IDLE_TIME, IDLE_TIME_DRAINING, Peer},
    deadline::{Deadline, Waits, Which},
    stream::Stream,
    thread::Thread,
};

/// The header of a proxy, or a handshake, has to be whole so long after its first byte.
const ARRIVAL_TIME: Duration = Duration::from_secs(10);

/// Handshakes that one thread has begun and not ended. With one more the oldest is given up: those of real clients take a few
/// round trips, and each holds some tens of kilobytes.
const HANDSHAKES_MAX: usize = 512;

/// Bytes of a proxy's header that are looked at in one go.
const LOOK: usize = 256;

/// Whether anything comes before the first request.
pub(crate) fn is_awaited(peer: &Peer, thread: &Thread) -> bool {
    peer.entry.protocol == Protocol::Https || expects_header(peer, thread)
}

/// Whether a proxy has to say first for whom it speaks.
pub(crate) fn expects_header(peer: &Peer, thread: &Thread) -> bool {
    // Gateways that speak uwsgi name the client in every request.
    thread.settings().proxy_protocol == ProxyProtocol::Required && peer.entry.protocol != Protocol::Uwsgi
}

/// The connection, when it may be served.
pub(crate) async fn arrive(mut stream: Stream, mut peer: Peer, thread: Rc<Thread>) -> Option<Connection> {
    let deadline = thread.deadlines.register();
    if expects_header(&peer, &thread) {
        take_header(&stream, &mut peer, &thread, &deadline).await?;
        thread.has_room_for(&mut peer).then_some(())?;
    }
    if peer.entry.protocol == Protocol::Https {
        let first = await_first(&stream, &thread, &deadline).await?;
        // A handshake begins with 22 (RFC 8446 §5.1), a request with a letter.
        if first.is_ascii_alphabetic() {
            Connection::new(stream, peer, thread).turn_away(Cause::HttpOnHttpsPort).await;
            return None;
        }
        peer.scheme = Scheme::Https;
        stream = shake_hands(stream, &thread).await?;
    }
    drop(deadline);
    Some(Connection::new(stream, peer, thread))
}

/// The first byte of what comes next, which stays there. Until it is here the connection is as idle as any other.
async fn await_first(stream: &Stream, thread: &Thread, deadline: &Deadline) -> Option<u8> {
    let limit = if thread.is_draining() { IDLE_TIME_DRAINING } else { IDLE_TIME };
    deadline.set(Instant::now(), limit, Waits::Idle);
    let mut first = [0];
    peek(stream, &mut first, deadline).await.map(|_| first[0])
}

/// Looks at what has arrived; `None` when nothing does in time, or ever.
async fn peek(stream: &Stream, buffer: &mut [u8], deadline: &Deadline) -> Option<usize> {
    poll_fn(|context| match stream.poll_peek(context, buffer) {
        Poll::Pending if deadline.poll(context) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(peeked) => Poll::Ready(peeked.ok().filter(|count| 0 < *count)),
    })
    .await
}

/// Reads the header, and takes whom it names for the peer.
async fn take_header(stream: &Stream, peer: &mut Peer, thread: &Thread, deadline: &Deadline) -> Option<()> {
    if !thread.settings().trusted_proxies.contains(peer.ip) {
        thread.complain_of_header(peer, "it is not among `trusted_proxies`");
        return None;
    }
    await_first(stream, thread, deadline).await?;
    deadline.set(Instant::now(), ARRIVAL_TIME, Waits::Busy);
    let mut header = Vec::new();
    loop {
        let had = header.len();
        header.resize(PROXY_HEADER_MAX.min(had + LOOK), 0);
        let Some(count) = peek(stream, &mut header[had..], deadline).await else {
            thread.complain_of_header(peer, "it did not come in time");
            return None;
        };
        header.truncate(had + count);
        match http::parse_proxy_header(&header) {
            // All of these bytes belong to it.
            Ok(None) => stream.skip(&mut header[had..]).ok()?,
            Ok(Some(found)) => {
                stream.skip(&mut header[had..found.length]).ok()?;
                if let Some(client) = found.client {
                    (peer.ip, peer.port) = (Some(client.ip()), client.port());
                    peer.address = client.ip().to_string();
                }
                peer.scheme = found.scheme.unwrap_or(peer.scheme);
                return Some(());
            }
            Err(why) => {
                thread.complain_of_header(peer, why);
                return None;
            }
        }
    }
}

async fn shake_hands(stream: Stream, thread: &Thread) -> Option<Stream> {
    // Nobody could have connected to a listener that is not TCP.
    let (Stream::Tcp(stream), Some(server)) = (stream, thread.tls()) else { return None };
    if HANDSHAKES_MAX <= thread.handshakes.len() {
        thread.handshakes.end_idle(Which::Longest);
    }
    let deadline = thread.handshakes.register();
    deadline.set(Instant::now(), ARRIVAL_TIME, Waits::Idle);
    let mut handshake = Box::pin(TlsAcceptor::from(server).accept(stream));
    let shaken: Option<io::Result<_>> = poll_fn(|context| match Pin::new(&mut handshake).poll(context) {
        Poll::Pending if deadline.poll(context) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
    })
    .await;
    Some(Stream::Tls(Box::new(shaken?.ok()?.into())))
}
