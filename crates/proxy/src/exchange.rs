//! One attempt after another on a worker, until a response's head is here or the right to try again is used up.
//!
//! Invariant: an attempt that is dropped before its response is complete is taken back or cancelled; only its work keeps
//! the slot.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use config::OnDisconnect;
use http::{FieldKind, Scheme, Version};
use link::{Cancel, ExchangeId, Kind, RequestWriter, flags};
use policy::{Lease, Tried, may_try_again};
use units::{Cause, Ending, Phase};

use crate::{
    aim::aim,
    body::{Answer, Upload},
    connection::{Connection, Filled, Sent},
    deadline::Waits,
    links::{Link, Links},
    mailbox::{Mailbox, Turned},
    queue,
    record::Story,
    request::Request,
    service::Way,
};

/// A lease can name a worker whose link has just gone; so often another one is asked for before something is wrong here.
const LEASES_MAX: u32 = 64;

/// A request that a worker has.
#[derive(Debug)]
pub(crate) struct Attempt {
    links: Rc<Links>,
    link: Rc<Link>,
    id: ExchangeId,
    pub(crate) mailbox: Rc<Mailbox>,
    given: Instant,
    /// The end of the queue's time, which runs until the worker starts it.
    start_by: Instant,
    /// Nothing more is to come, or there is nobody any more to be told that nobody wants it.
    pub(crate) over: bool,
    /// What the worker is told when the attempt ends early, and the request's name for its log.
    cancel: (Cancel, String),
}

impl Attempt {
    /// Whether the application is known to have been called.
    pub(crate) fn has_started(&self) -> bool {
        self.links.has_started(&self.link, self.id)
    }

    /// The deadline has passed: what that means depends on whether the application was called, and when. `None` when it
    /// was set again, because time is left.
    ///
    /// While the request waits unstarted the deadline is at most `time` away, so that a start is not noticed too late.
    fn judge_time(&self, connection: &Connection, time: Duration) -> Option<Failure> {
        let now = Instant::now();
        let left = match self.links.started(&self.link, self.id, self.given) {
            Some(since) => {
                let left = time.saturating_sub(now.saturating_duration_since(since));
                if left.is_zero() {
                    return Some(Failure::Ended(Cause::HttpResponseTimeout));
                }
                left
            }
            None if now < self.start_by => time.min(self.start_by - now),
            None if self.links.withdraw(&self.link, self.id) => return Some(Failure::NotStarted),
            // It was called in this moment.
            None => time,
        };
        connection.deadline.set(now, left, Waits::Busy);
        None
    }

    /// The request ends early, and its handler is to know why.
    pub(crate) fn abandon(&mut self, connection: &Connection, request: &Request<'_>, cause: Cause) {
        const TITLE_MAX: usize = 200;
        let why = match cause {
            Cause::HttpResponseTimeout => Cancel::TimeUp,
            Cause::ClientClosed if connection.thread.settings().on_disconnect == OnDisconnect::Interrupt => {
                Cancel::ClientGone
            }
            _ => return,
        };
        let (method, target) = (request.head.method.of(&connection.input), request.head.target.of(&connection.input));
        let target = target[..target.len().min(TITLE_MAX)].escape_ascii();
        self.cancel = (why, format!("{} {target} (request {})", method.escape_ascii(), request.id));
    }

    /// Sends a frame of this exchange.
    pub(crate) fn send(&self, kind: Kind, frame_flags: u8, payload: &[u8]) {
        self.link.send(kind, frame_flags, self.id, payload);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            let (why, title) = &self.cancel;
            self.links.cancel(&self.link, self.id, *why, title);
        }
        self.links.recycle(&self.mailbox);
    }
}

/// Why a worker did not give a head.
#[derive(Debug)]
enum Failure {
    Turned(Turned),
    /// It was taken back, because it has waited for too long.
    NotStarted,
    Ended(Cause),
}

/// Brings the request to a worker with a slot, and if need be to another, until a response's head is in the mailbox. One
/// of them has to start it by the given time.
pub(crate) async fn run(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (way, links, mut lease): (&Way, &Rc<Links>, Lease),
    mut start_by: Instant,
    story: &mut Story,
) -> Result<Attempt, Ending> {
    let ticket = lease.ticket();
    let mut starts = 0;
    for _ in 0..LEASES_MAX {
        let Some(mut attempt) = begin(connection, request, upload, (links, lease), start_by, story) else {
            tokio::task::yield_now().await;
            lease = queue::readmit(connection, way, ticket, start_by, upload.end()).await?;
            continue;
        };
        let failure = match await_head(connection, request, upload, &attempt).await {
            Ok(()) => {
                story.head_arrived(Instant::now());
                story.served_by(attempt.link.worker);
                return Ok(attempt);
            }
            Err(failure) => failure,
        };
        let lost = match failure {
            Failure::Ended(cause) => {
                attempt.abandon(connection, request, cause);
                return Err(Ending::new(cause, Phase::AwaitHead));
            }
            Failure::NotStarted => {
                attempt.over = true;
                story.taken_back();
                return Err(Ending::new(Cause::QueueTimeout, Phase::Queue));
            }
            Failure::Turned(Turned::Aborted(abort)) => {
                attempt.over = true;
                return Err(Ending::new(crate::respond::cause_of(abort), Phase::AwaitHead));
            }
            Failure::Turned(Turned::Rebound(other)) => {
                attempt.over = true;
                lease = other;
                continue;
            }
            Failure::Turned(Turned::Returned) => None,
            Failure::Turned(Turned::Lost(cause)) => Some(cause),
        };
        attempt.over = true;
        let started = lost.is_some();
        starts += u32::from(started);
        let method = request.method(&connection.input);
        let tried = Tried { started, response_begun: false, body_at_hand: upload.is_at_hand(), method, starts };
        if !may_try_again(&tried) {
            return Err(Ending::new(lost.unwrap_or(Cause::WorkerCrashed), Phase::AwaitHead));
        }
        if started {
            start_by = Instant::now() + request.queue;
        }
        lease = queue::readmit(connection, way, ticket, start_by, upload.end()).await?;
    }
    Err(Ending::new(Cause::ProxyInternalError, Phase::AwaitHead))
}

/// Hands the request over; `None` when the worker cannot be reached.
fn begin(
    connection: &Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (links, lease): (&Rc<Links>, Lease),
    start_by: Instant,
    story: &mut Story,
) -> Option<Attempt> {
    let link = links.find(lease.worker())?;
    upload.begin_attempt();
    let held = request.held.borrow().clone();
    let write = |out: &mut Vec<u8>, id| write(connection, request, upload, out, id);
    let (id, mailbox) = links.begin(&link, (lease, held), write)?;
    let now = Instant::now();
    story.handed_over(now, Arc::clone(&link.node), link.pid);
    connection.deadline.set(now, request.time.min(start_by.saturating_duration_since(now)), Waits::Busy);
    Some(Attempt {
        links: Rc::clone(links),
        link,
        id,
        mailbox,
        given: now,
        start_by,
        over: false,
        cancel: (Cancel::Unwanted, String::new()),
    })
}

/// The Request frame: what must not pass is left out, what only we know is added.
fn write(connection: &Connection, request: &Request<'_>, upload: &Upload, out: &mut Vec<u8>, id: ExchangeId) {
    let (head, input) = (request.head, &connection.input);
    let mut frame_flags = upload.flags();
    if head.version == Version::Http10 {
        frame_flags |= flags::HTTP10;
    }
    if head.is_head {
        frame_flags |= flags::HEAD;
    }
    let peer = &connection.peer;
    let (client, port, host) = match &request.told {
        None => (&peer.address, peer.port, None),
        Some(told) => (&told.text, told.port, told.host),
    };
    if request.scheme(peer) == Scheme::Https {
        frame_flags |= flags::HTTPS;
    }
    let aim = aim(request.route, head, input);
    let mut writer = RequestWriter::begin(
        out,
        id,
        frame_flags,
        peer.entry.number,
        head.method.of(input),
        upload.length(),
        (&aim.target, aim.path.clone(), aim.query.clone()),
        (client.as_bytes(), port),
    );
    let host = host.or(head.host);
    let edits = request.route.map(|route| &route.request);
    for field in &head.fields {
        let (name, value) = (field.name.of(input), field.value.of(input));
        match field.kind {
            FieldKind::Variable if !aim.is_as_it_came() && matches!(name, b"SCRIPT_NAME" | b"PATH_INFO") => {}
            _ if edits.is_some_and(|edits| edits.leaves_out(name)) => {}
            FieldKind::Variable => writer.variable(name, value),
            FieldKind::Host if host.is_some() => {}
            FieldKind::Forwarding if request.told.is_some() => writer.field(name, value),
            kind if passes(kind) && request.trace.passes(kind) => writer.field(name, value),
            _ => {}
        }
    }
    if let Some(host) = host.filter(|_| !edits.is_some_and(|edits| edits.leaves_out(b"host"))) {
        writer.field(b"Host", host.of(input));
    }
    for (name, value) in edits.into_iter().flat_map(|edits| &edits.set) {
        writer.field(name, value);
    }
    if let Some(script) = aim.script {
        writer.variable(b"SCRIPT_NAME", script.as_bytes());
    }
    writer.field(b"X-Request-Id", request.id.as_bytes());
    if let Some(context) = request.trace.context()
        && !edits.is_some_and(|edits| edits.leaves_out(b"traceparent"))
    {
        writer.field(b"traceparent", context.as_bytes());
    }
    writer.finish(&input[upload.inline()]);
}

/// Hop-by-hop fields end here (RFC 9110 §7.6.1); those by which a client could pretend to be a proxy or to have another
/// address are dropped, unless a trusted proxy sends them; names with `_` would collide with others in a WSGI environ.
fn passes(kind: FieldKind) -> bool {
    !matches!(
        kind,
        FieldKind::Connection
            | FieldKind::HopByHop
            | FieldKind::TransferEncoding
            | FieldKind::Expect
            | FieldKind::Forwarding
            | FieldKind::RequestId
            | FieldKind::Underscore
            | FieldKind::Proxy
    )
}

async fn await_head(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    attempt: &Attempt,
) -> Result<(), Failure> {
    poll_fn(|context| poll_head(connection, request, upload, attempt, context)).await
}

fn poll_head(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    attempt: &Attempt,
    context: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    if attempt.mailbox.poll_fresh(context) {
        crate::respond::forward_hints(connection, attempt);
        let (head, turned) =
            attempt.mailbox.look(|mail| (mail.head.is_some(), mail.turned.take_if(|_| mail.head.is_none())));
        if head {
            return Poll::Ready(Ok(()));
        }
        if let Some(turned) = turned {
            return Poll::Ready(Err(Failure::Turned(turned)));
        }
        // The waker has to be left again now that the news was taken.
        if attempt.mailbox.poll_fresh(context) {
            context.waker().wake_by_ref();
        }
    }
    if let Err(cause) = upload.pump(connection, attempt, Answer::Awaited(request.time), context) {
        return Poll::Ready(Err(Failure::Ended(cause)));
    }
    if !connection.out.is_empty()
        && let Poll::Ready(Sent::Broken | Sent::TimedOut) = connection.poll_flush(context)
    {
        return Poll::Ready(Err(Failure::Ended(Cause::ClientClosed)));
    }
    // A client that has only closed its own side still gets its answer.
    if upload.is_complete()
        && let Poll::Ready(Filled::Broken) = connection.poll_gone(context, upload.end())
    {
        return Poll::Ready(Err(Failure::Ended(Cause::ClientClosed)));
    }
    while connection.deadline.poll(context) {
        if let Some(failure) = attempt.judge_time(connection, request.time) {
            return Poll::Ready(Err(failure));
        }
    }
    Poll::Pending
}
