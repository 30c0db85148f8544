//! One attempt on an upstream, until a response's head is here.
//!
//! Invariant: a connection that is dropped with its attempt is closed; the upstream's slot is free when that has happened.

use std::{
    future::{Future, poll_fn},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use config::Protocol;
use http::{Limits, ReceivedHead, Refusal, Version};
use policy::{Fault, is_idempotent};
use units::Cause;

use super::{
    ask::{self, Asked},
    open::{self, Unreached, open},
    packet,
    pool::{Pool, Pools},
    relay,
    wire::{Came, Expects, Wire},
};
use crate::{
    body::{Answer, CONTINUE, Upload},
    connection::{Connection, Filled, Sent},
    deadline::Waits,
    record::Story,
    request::Request,
};

/// One lost SYN is sent again after a second, the next two seconds later. A handshake is part of it.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Interim responses before the final one.
const INTERIM_MAX: u32 = 16;

/// Applications set many cookies.
const LIMITS: Limits = Limits { head: 64 * 1024, target: 0, fields: 256, field: 32 * 1024 };

/// A longer packet does not fit into what uWSGI reads it into (`buffer-size`), unless that was set; then it closes without a word.
const UWSGI_BUFFER: usize = 4096;

/// Why an attempt has not brought a head.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not brought to the upstream at all.
    NotConnected(Unreached),
    /// The upstream has broken off without an answer, and says why.
    Refused(String),
    /// The connection has ended without a byte of an answer.
    Silent,
    /// The same of a uwsgi server that may not have had room for the packet.
    Unfit,
    /// What has come is no response, for this reason.
    Malformed(&'static str),
    /// The connection has ended in the middle of a head.
    Incomplete,
    /// The request ends with this.
    Ended(Cause),
}

/// A response whose head is here.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) pool: Rc<Pool>,
    /// Boxed, as it goes from hand to hand with every request.
    pub(super) wire: Box<Wire>,
    pub(super) head: ReceivedHead,
    /// How many bytes of the input it takes.
    pub(super) length: usize,
}

/// An attempt on a kept connection, if there is one, or else, or then, on a new one.
pub(super) async fn on_one(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (pools, pool): (&Pools, &Rc<Pool>),
    story: &mut Story,
) -> Result<Answered, Failure> {
    let now = Instant::now();
    let header = header(connection, request, pool);
    if let Some(wire) = pool.take(now, request.method(&connection.input), &header) {
        story.handed_over(now, Arc::clone(&pool.upstream.label), 0);
        let (question, asked) = question(connection, request, upload, pool).await?;
        let result = exchange(connection, request, upload, (pools, wire, question, asked), now).await;
        let may_try_again = |connection: &Connection, upload: &Upload| {
            is_idempotent(request.method(&connection.input)) && upload.is_at_hand() && !connection.has_unsent()
        };
        match result {
            Err(Failure::Silent) if may_try_again(connection, upload) && pools.spend() => {}
            result => return answered(result, pool),
        }
    }
    story.handed_over(Instant::now(), Arc::clone(&pool.upstream.label), 0);
    let (question, asked) = question(connection, request, upload, pool).await?;
    // Boxed, as most requests find a connection.
    let wire = Box::pin(connect(connection, upload, pool, header)).await?;
    if pool.upstream.protocol() == Protocol::Uwsgi && upload.go_on(connection) {
        // It cannot say by itself that it wants the body.
        connection.out.extend_from_slice(CONTINUE);
    }
    let is_long = pool.upstream.protocol() == Protocol::Uwsgi && UWSGI_BUFFER < packet::length(&question);
    match exchange(connection, request, upload, (pools, wire, question, asked), Instant::now()).await {
        Err(Failure::Silent) if is_long => Err(Failure::Unfit),
        result => answered(result, pool),
    }
}

/// What is sent first: the head as this upstream reads it, and the body if it is at hand.
async fn question(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    pool: &Pool,
) -> Result<(Vec<u8>, Asked), Failure> {
    upload.begin_attempt();
    let mut out = connection.thread.buffers.take_short();
    let asked = match pool.upstream.protocol() {
        Protocol::Http | Protocol::Https => ask::write(&mut out, connection, request, upload),
        Protocol::Uwsgi => {
            upload.measure(connection).await.map_err(Failure::Ended)?;
            let refused = |refusal: Refusal| Failure::Ended(Cause::HttpProtocolError(refusal.status));
            packet::write(&mut out, connection, request, upload).map_err(refused)?;
            Asked::Response
        }
    };
    out.extend_from_slice(&connection.input[upload.inline()]);
    Ok((out, asked))
}

fn answered(result: Result<(Box<Wire>, ReceivedHead, usize), Failure>, pool: &Rc<Pool>) -> Result<Answered, Failure> {
    let (wire, head, length) = result?;
    match Fault::of_status(head.status) {
        Some(fault) => pool.upstream.failed(fault),
        None => pool.upstream.answered(),
    }
    Ok(Answered { pool: Rc::clone(pool), wire, head, length })
}

/// With what a connection for this client begins; nothing, where the upstream does not want to know it so.
fn header(connection: &Connection, request: &Request<'_>, pool: &Pool) -> Vec<u8> {
    let Some(version) = pool.upstream.config.proxy_protocol else { return Vec::new() };
    let peer = &connection.peer;
    let (ip, port) = request.told.as_ref().map_or((peer.ip, peer.port), |told| (told.address, told.port));
    let ends = ip.map(|ip| {
        let client = SocketAddr::new(ip, port);
        (client, connection.local_address().unwrap_or_else(|| nowhere_beside(client)))
    });
    open::header(Some(version), ends)
}

/// A client whom a gateway at a socket in the file system has named has come in at no address.
fn nowhere_beside(client: SocketAddr) -> SocketAddr {
    let ip = if client.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}

/// A new connection, unless the client goes or it takes too long.
async fn connect(
    connection: &mut Connection,
    upload: &Upload,
    pool: &Pool,
    header: Vec<u8>,
) -> Result<Box<Wire>, Failure> {
    connection.deadline.set(Instant::now(), CONNECT_TIME, Waits::Busy);
    let opened = {
        let mut opening = pin!(open(&pool.upstream, &header));
        poll_fn(|context| {
            if let Poll::Ready(opened) = opening.as_mut().poll(context) {
                return Poll::Ready(opened.map_err(Failure::NotConnected));
            }
            if upload.is_complete()
                && let Poll::Ready(Filled::Broken) = connection.poll_gone(context, upload.end())
            {
                return Poll::Ready(Err(Failure::Ended(Cause::ClientClosed)));
            }
            if connection.deadline.poll(context) {
                return Poll::Ready(Err(Failure::NotConnected(Unreached::in_time())));
            }
            Poll::Pending
        })
        .await
    };
    let (stream, address) = opened?;
    Ok(Box::new(Wire::new(stream, address, header)))
}

/// Sends the request and waits for the head of its final response.
async fn exchange(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (pools, mut wire, question, asked): (&Pools, Box<Wire>, Vec<u8>, Asked),
    now: Instant,
) -> Result<(Box<Wire>, ReceivedHead, usize), Failure> {
    wire.ask(question);
    connection.deadline.set(now, request.time, Waits::Busy);
    let mut head = pools.take_head();
    let mut awaited = Awaited { asked, interim: 0, head: &mut head };
    let length = poll_fn(|context| poll_head(connection, request, upload, (&mut wire, &mut awaited), context)).await?;
    Ok((wire, head, length))
}

/// A final head that is to come.
struct Awaited<'a> {
    asked: Asked,
    /// How many came before it.
    interim: u32,
    head: &'a mut ReceivedHead,
}

fn poll_head(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (wire, awaited): (&mut Wire, &mut Awaited<'_>),
    context: &mut Context<'_>,
) -> Poll<Result<usize, Failure>> {
    loop {
        if let Err(cause) = move_body(connection, upload, wire, Answer::Awaited(request.time), context) {
            return Poll::Ready(Err(Failure::Ended(cause)));
        }
        if connection.has_unsent()
            && let Poll::Ready(Sent::Broken | Sent::TimedOut) = connection.poll_flush(context)
        {
            return Poll::Ready(Err(Failure::Ended(Cause::ClientClosed)));
        }
        match wire.poll_read(context, &connection.thread, Expects::Head) {
            Poll::Ready(Came::More) => match take_head(connection, request, upload, wire, awaited) {
                Ok(Some(length)) => return Poll::Ready(Ok(length)),
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            },
            Poll::Ready(Came::End | Came::Broken) if wire.input.is_empty() && awaited.interim == 0 => {
                return Poll::Ready(Err(wire.refusal.take().map_or(Failure::Silent, Failure::Refused)));
            }
            Poll::Ready(Came::End | Came::Broken) => {
                return Poll::Ready(Err(Failure::Incomplete));
            }
            Poll::Pending => break,
        }
    }
    // A client that has only closed its own side still gets its answer.
    if upload.is_complete()
        && let Poll::Ready(Filled::Broken) = connection.poll_gone(context, upload.end())
    {
        return Poll::Ready(Err(Failure::Ended(Cause::ClientClosed)));
    }
    if connection.deadline.poll(context) {
        return Poll::Ready(Err(Failure::Ended(Cause::HttpResponseTimeout)));
    }
    Poll::Pending
}

/// Sends what is there to be sent. An upstream that takes no more of it may have answered: the rest is not read then.
pub(super) fn move_body(
    connection: &mut Connection,
    upload: &mut Upload,
    wire: &mut Wire,
    answer: Answer,
    context: &mut Context<'_>,
) -> Result<(), Cause> {
    loop {
        if !wire.is_deaf {
            upload.pass(connection, &mut wire.out, answer, context)?;
        }
        let was_full = !wire.out.is_empty();
        if wire.poll_flush(context).is_pending() || !was_full || wire.is_deaf || upload.is_complete() {
            return Ok(());
        }
    }
}

/// The length of the final head at the beginning of the input, when all of it is there; interim ones go to the client.
fn take_head(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    wire: &mut Wire,
    awaited: &mut Awaited<'_>,
) -> Result<Option<usize>, Failure> {
    loop {
        if wire.input.is_empty() {
            return Ok(None);
        }
        let head = &mut *awaited.head;
        let malformed = |refusal: Refusal| Failure::Malformed(refusal.why);
        let parsed = http::parse_response(&wire.input, &LIMITS, request.head.is_head, head);
        let Some(length) = parsed.map_err(malformed)? else { return Ok(None) };
        match (head.status, awaited.asked) {
            (101, Asked::WebSocket) => http::switches_to_websocket(head, &wire.input).map_err(malformed)?,
            (101, Asked::Response) => {
                return Err(Failure::Malformed("it switches protocols, which nobody has asked for"));
            }
            _ => {}
        }
        if head.status == 101 || !head.is_interim() {
            return Ok(Some(length));
        }
        awaited.interim += 1;
        if INTERIM_MAX < awaited.interim {
            return Err(Failure::Malformed("there is no end of interim responses"));
        }
        if head.status == 100 {
            if upload.go_on(connection) {
                connection.out.extend_from_slice(CONTINUE);
            }
        } else if request.head.version == Version::Http11 && request.head.gateway.is_none() {
            relay::write_interim(&mut connection.out, head, &wire.input);
        }
        wire.input.drain(..length);
    }
}
