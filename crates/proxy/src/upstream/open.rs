//! A new connection to an upstream: over all of its addresses, then the header that names the client and the TLS handshake,
//! where those are wanted.
//!
//! Invariant: nothing of a request has been sent yet, so that whatever fails here may be tried elsewhere; and nothing that the
//! upstream has sent so far is ever taken for a part of a response. How long it may take is its caller's to say.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use config::{Protocol, ProxyVersion, UpstreamAddress};
use socket2::SockRef;
use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, sleep},
};
use tokio_rustls::TlsConnector;
use units::Cause;

use super::Upstream;
use crate::stream::Stream;

/// An address that has not answered for so long gets company of the next (RFC 8305 §5).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// A connection, and where it leads; a socket in the file system has no such address.
pub(super) type Opened = (Stream, Option<SocketAddr>);

/// What came of one address.
type Dialed = io::Result<(TcpStream, SocketAddr)>;

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Unreached {
    pub(super) cause: Cause,
    why: String,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<io::Error> for Unreached {
    fn from(error: io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::TimedOut => Cause::ConnectionTimeout,
            _ => Cause::ConnectionRefused,
        };
        Self { cause, why: format!("cannot connect: {error}") }
    }
}

impl Unreached {
    pub(super) fn in_time() -> Self {
        Self::from(io::Error::from(io::ErrorKind::TimedOut))
    }

    /// Whether the operator has to look at it: it is not about load, and does not pass by itself.
    pub(super) fn is_of_tls(&self) -> bool {
        matches!(self.cause, Cause::TlsCertificateError | Cause::TlsProtocolError)
    }
}

/// Opens a connection that begins with `header`.
pub(super) async fn open(upstream: &Upstream, header: &[u8]) -> Result<Opened, Unreached> {
    let (mut stream, address) = match upstream.address() {
        UpstreamAddress::Unix { path } => (Stream::Unix(UnixStream::connect(path).await?), None),
        UpstreamAddress::Tcp { .. } => {
            let (addresses, turn) = upstream.addresses_in_turn();
            if addresses.is_empty() {
                let why = upstream.names().trouble().unwrap_or("its name has not been looked up").to_owned();
                return Err(Unreached { cause: Cause::DnsError, why });
            }
            let (stream, address) = connect(&in_order(&addresses, turn)).await?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_keepalive(true)?;
            (Stream::Tcp(stream), Some(address))
        }
    };
    send(&mut stream, header).await?;
    match (upstream.client(), stream) {
        // Boxed, as most connections do without.
        (Some(client), Stream::Tcp(stream)) => Ok((Box::pin(shake_hands(stream, client)).await?, address)),
        // Never in plain where TLS is wanted.
        (None, _) if upstream.protocol() == Protocol::Https => {
            Err(Unreached { cause: Cause::TlsProtocolError, why: "there is nothing to speak TLS with".to_owned() })
        }
        (_, stream) => Ok((stream, address)),
    }
}

/// The header that names the client, and where it has come in. Nothing where none is wanted.
pub(super) fn header(version: Option<ProxyVersion>, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = Vec::new();
    match version {
        None => {}
        Some(ProxyVersion::V1) => http::write_proxy_line(&mut header, ends),
        Some(ProxyVersion::V2) => http::write_proxy_binary(&mut header, ends),
    }
    header
}

/// The families take turns, and whichever the list begins with is first (RFC 8305 §4). Within a family the next one is first
/// each time, so that all that a name stands for have their share.
fn in_order(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let first = addresses.first().map(SocketAddr::is_ipv6);
    let (mut ones, mut others): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| Some(address.is_ipv6()) == first);
    for family in [&mut ones, &mut others] {
        let count = family.len().max(1);
        family.rotate_left(turn % count);
    }
    let (mut ones, mut others) = (ones.into_iter(), others.into_iter());
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(ones.next());
        all.extend(others.next());
    }
    all
}

/// The first of these addresses that takes a connection: the next is tried when one has failed, or has not answered for a
/// while, and the others are given up when one has answered.
async fn connect(addresses: &[SocketAddr]) -> Dialed {
    if let [address] = addresses {
        return dial(*address).await;
    }
    let mut waiting = addresses.iter();
    let mut dialing: Vec<Pin<Box<dyn Future<Output = Dialed>>>> = Vec::new();
    let mut pause = pin!(sleep(NEXT_AFTER));
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut is_next_due = true;
    poll_fn(|context| {
        loop {
            if is_next_due && let Some(address) = waiting.next() {
                dialing.push(Box::pin(dial(*address)));
                pause.as_mut().reset(Instant::now() + NEXT_AFTER);
            }
            is_next_due = false;
            let mut at = 0;
            while at < dialing.len() {
                match dialing[at].as_mut().poll(context) {
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(Err(error)) => {
                        drop(dialing.swap_remove(at));
                        last = error;
                        is_next_due = true;
                    }
                    Poll::Pending => at += 1,
                }
            }
            let is_last = waiting.len() == 0;
            if is_last && dialing.is_empty() {
                return Poll::Ready(Err(std::mem::replace(&mut last, io::ErrorKind::NotFound.into())));
            }
            is_next_due = !is_last && (is_next_due || pause.as_mut().poll(context).is_ready());
            if !is_next_due {
                return Poll::Pending;
            }
        }
    })
    .await
}

async fn dial(address: SocketAddr) -> Dialed {
    Ok((TcpStream::connect(address).await?, address))
}

async fn send(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = poll_fn(|context| stream.poll_write(context, bytes)).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[sent..];
    }
    Ok(())
}

async fn shake_hands(stream: TcpStream, client: tls::Client) -> Result<Stream, Unreached> {
    let shaken = TlsConnector::from(client.config).connect(client.name, stream).await;
    let mut stream = Stream::Tls(Box::new(shaken.map_err(|error| untrusted(&error))?.into()));
    // Whoever can put bytes before the end of the handshake could answer the first request before it was asked.
    let mut early = Vec::with_capacity(1);
    let came = poll_fn(|context| Poll::Ready(stream.poll_read(context, &mut early))).await;
    match came {
        Poll::Pending => Ok(stream),
        Poll::Ready(Err(error)) => Err(untrusted(&error)),
        Poll::Ready(Ok(count)) => {
            let why = if count == 0 {
                "TLS: it has closed the connection"
            } else {
                "TLS: it has answered before it was asked"
            };
            Err(Unreached { cause: Cause::TlsProtocolError, why: why.to_owned() })
        }
    }
}

fn untrusted(error: &io::Error) -> Unreached {
    let (fault, why) = tls::explain(error);
    let cause = match fault {
        tls::Fault::Certificate => Cause::TlsCertificateError,
        tls::Fault::Protocol => Cause::TlsProtocolError,
    };
    Unreached { cause, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_so_does_whoever_is_first_of_one() {
        let given = all(&["[::1]:1", "[::2]:1", "1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"]);
        for (turn, expected) in [
            (0, ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "1.0.0.3:1"]),
            (1, ["[::2]:1", "1.0.0.2:1", "[::1]:1", "1.0.0.3:1", "1.0.0.1:1"]),
            (5, ["[::2]:1", "1.0.0.3:1", "[::1]:1", "1.0.0.1:1", "1.0.0.2:1"]),
        ] {
            assert_eq!(in_order(&given, turn), all(&expected), "{turn}");
        }
        assert_eq!(in_order(&[], 3), []);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_that_refuses_and_one_that_is_silent_hold_nobody_up() {
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // Its queue is full, so that it takes no more.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        silent.listen(0).unwrap();
        let silent_at = silent.local_addr().unwrap().as_socket().unwrap();
        let _first = std::net::TcpStream::connect(silent_at).unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = there.local_addr().unwrap();
        let (_, reached) = connect(&[silent_at, gone, at]).await.unwrap();
        assert_eq!(reached, at);
        assert_eq!(connect(&[gone, gone]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
