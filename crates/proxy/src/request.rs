//! The life of a request, from its head to its ending; the steps are in files of their own.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use config::RetryOn;
use http::{RequestHead, Scheme};
use telemetry::Counted;
use units::{Bytes, Cause, Ending, Phase, RequestId};

use crate::{
    admission::{self, Held},
    body::Upload,
    client::{self, Told},
    connection::{Connection, Peer},
    exchange::{self, Attempt},
    files::{self, Wanted},
    queue,
    record::{self, Story},
    redirect, respond,
    route::{Asked, Route},
    routed,
    service::Way,
    trace::{self, Trace},
    upstream, wish,
};

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request may follow.
    Keep,
    /// The answer was the last, and the client knows.
    Close,
    /// The same, but the client may still be sending.
    Linger,
    /// The client is gone, or is to see that the answer is not whole.
    Drop,
}

/// One request whose head lies at the beginning of the connection's input.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) id: RequestId,
    pub(crate) trace: Trace,
    /// What a trusted proxy tells of the client.
    pub(crate) told: Option<Told>,
    /// `limits.time`.
    pub(crate) time: Duration,
    /// `limits.queue`.
    pub(crate) queue: Duration,
    /// `limits.response`, in bytes.
    pub(crate) response: u64,
    /// For what else it is tried again on another upstream.
    pub(crate) retry_on: &'a RetryOn,
    /// What it holds while the application works on it.
    pub(crate) held: RefCell<Held>,
    /// What it is to be treated by, if any route fits.
    pub(crate) route: Option<&'a Route>,
    /// Where it goes, if anywhere.
    pub(crate) way: Option<&'a Way>,
    /// Under what name it is counted once it asks for a slot there.
    pub(crate) service: Counted,
    /// The cookie by which clients stick to a node there, if they do.
    pub(crate) cookie: Option<&'a str>,
}

impl Request<'_> {
    /// How the client speaks to whom it has reached first.
    pub(crate) fn scheme(&self, peer: &Peer) -> Scheme {
        self.told.as_ref().map_or(peer.scheme, |told| told.scheme)
    }

    /// Whose request it is; `None` for one of a Unix socket.
    pub(crate) fn client(&self, peer: &Peer) -> Option<IpAddr> {
        self.told.as_ref().map_or(peer.ip, |told| told.address)
    }

    pub(crate) fn method<'i>(&self, input: &'i [u8]) -> &'i [u8] {
        self.head.method.of(input)
    }

    /// The host that the client has asked for; empty when it has named none.
    pub(crate) fn host<'i>(&self, input: &'i [u8]) -> &'i [u8] {
        host(self.told.as_ref(), self.head, input)
    }
}

fn host<'i>(told: Option<&Told>, head: &RequestHead, input: &'i [u8]) -> &'i [u8] {
    told.and_then(|told| told.host).or(head.host).map_or(b"", |host| host.of(input))
}

/// Serves the request whose head takes the first `length` bytes of the input. Every request ends here, once; a panic, which is
/// a mistake of ours, ends this one and no other.
pub(crate) async fn run(connection: &mut Connection, head: &RequestHead, length: usize) -> After {
    connection.thread.counts.request_begun();
    let mut story = Story::begin(Instant::now(), connection.thread.make_id());
    let served = {
        let mut serving = pin!(serve(connection, head, length, &mut story));
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            // What it held was given back while the stack was unwound.
            Err(_) => Poll::Ready(None),
        })
        .await
    };
    match served {
        Some(after) => after,
        None => failed(connection, &mut story).await,
    }
}

/// Ends a request in which we have panicked.
async fn failed(connection: &mut Connection, story: &mut Story) -> After {
    if story.has_answer() {
        let ending = Ending::new(Cause::ProxyInternalError, Phase::SendBody);
        connection.break_off();
        record::record(connection, None, story, ending);
        return After::Drop;
    }
    let ending = Ending::new(Cause::ProxyInternalError, Phase::AwaitHead);
    let ending = respond::refuse(connection, None, 500, ending, story).await;
    record::record(connection, None, story, ending);
    After::Linger
}

async fn serve(connection: &mut Connection, head: &RequestHead, length: usize, story: &mut Story) -> After {
    let settings = connection.thread.settings();
    let told = client::told(&connection.peer, &settings.trusted_proxies, head, &connection.input);
    if let Some(id) = told.as_ref().and_then(|_| client::request_id(head, &connection.input)) {
        story.id = id;
    }
    let input = &connection.input;
    let route = settings.routes.find(Asked { head, input, host: host(told.as_ref(), head, input) });
    let service = settings.routes.service(route);
    let way = service.and_then(|number| connection.thread.way(number));
    let cookie = service.and_then(|number| settings.cookies.get(number)).map(String::as_str);
    let counted = service.and_then(|number| settings.counted.get(number)).copied().unwrap_or_default();
    let limits = route.map(|route| route.rule.limits).unwrap_or_default();
    let trace = trace::of(&connection.thread, settings.tracing, head, input);
    #[cfg(test)]
    crate::tests::panic_at("begun", head, input);
    let request = Request {
        head,
        id: story.id,
        trace,
        told,
        time: limits.time.unwrap_or(settings.time),
        queue: limits.queue.unwrap_or(settings.queue),
        response: limits.response.map_or(settings.response, Bytes::count),
        retry_on: &settings.retry_on,
        held: RefCell::default(),
        route,
        way: way.as_deref(),
        service: counted,
        cookie,
    };
    let limit = limits.body.map_or(settings.body, Bytes::count);
    let upload = match settings.routes.is_empty() || !http::has_dot_segments(head.path.of(input)) {
        true => Upload::new(head, length, (limit, settings.patience), story.began),
        // Where a path decides, there are no two ways to read it; no browser sends such a one.
        false => Err(Cause::HttpProtocolError(400)),
    };
    let (ended, after, end) = match upload {
        Ok(mut upload) => {
            let ended = answer(connection, &request, &mut upload, story).await;
            let ended = match ended {
                Ok(ending) => ending,
                Err(ending) => {
                    connection.closing |= !upload.is_complete();
                    refused(connection, &request, ending, story).await
                }
            };
            story.received(upload.received());
            (ended, respond::after(connection, &request, &upload, ended), upload.end())
        }
        Err(cause) => {
            let ending = Ending::new(cause, Phase::ReadHead);
            (refused(connection, &request, ending, story).await, After::Linger, length)
        }
    };
    record::record(connection, Some(&request), story, ended);
    connection.consume(end);
    after
}

/// The way of a request that meets no obstacle. `Err` as long as nothing of a response has gone to the client.
async fn answer(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    story: &mut Story,
) -> Result<Ending, Ending> {
    if let Some(port) = redirect::wanted(connection, request) {
        connection.closing |= !upload.is_complete();
        let location = redirect::location(connection, request, port)?;
        return Ok(respond::redirect(connection, request, &location, story).await);
    }
    if let Some(ending) = routed::guard(connection, request, upload, story).await? {
        return Ok(ending);
    }
    upload.gather(connection).await?;
    if request.head.is_asterisk {
        connection.closing |= !upload.is_complete();
        return Ok(respond::tell_options(connection, request, story).await);
    }
    if let Some(ending) = routed::answer(connection, request, upload, story).await? {
        return Ok(ending);
    }
    let way = request.way.ok_or(Ending::new(Cause::NoRoute, Phase::Queue))?;
    let start_by = admission::enter(connection, request, upload, story).await?;
    let wish = wish::of(connection, request);
    let lease = queue::admit(connection, (way, wish), start_by, upload.end()).await?;
    story.granted(Instant::now());
    #[cfg(test)]
    crate::tests::panic_at("leased", request.head, &connection.input);
    let links = match way {
        Way::Upstreams(pools) => {
            return upstream::run(connection, request, upload, (way, pools, lease), start_by, story).await;
        }
        Way::Workers { links, .. } => links,
    };
    let mut attempt = exchange::run(connection, request, upload, (way, links, lease), start_by, story).await?;
    request.held.borrow_mut().answered();
    if let Some(wanted) = wanted(connection, &attempt) {
        // What is complete needs no word that nobody wants it.
        attempt.over = attempt.mailbox.look(|mail| mail.last);
        drop(attempt);
        return Box::pin(files::answer_wanted(connection, request, upload, story, wanted)).await;
    }
    if request.response < respond::announced(request, &attempt) {
        attempt.over = attempt.mailbox.look(|mail| mail.last);
        return Err(Ending::new(Cause::ResponseTooLarge, Phase::AwaitHead));
    }
    Ok(respond::forward(connection, request, upload, attempt, story).await)
}

/// The file that the application wants to be sent in place of a body.
fn wanted(connection: &Connection, attempt: &Attempt) -> Option<Wanted> {
    let settings = connection.thread.settings();
    if !settings.routes.has_internal() {
        return None;
    }
    attempt.mailbox.look(|mail| files::wanted(&settings.routes, &mail.text[mail.head.as_ref()?.reason_len..]))
}

/// Answers in the application's place where there is anybody to answer.
async fn refused(connection: &mut Connection, request: &Request<'_>, ending: Ending, story: &mut Story) -> Ending {
    match ending.status() {
        Some(status) => respond::refuse(connection, Some(request), status, ending, story).await,
        None => ending,
    }
}

/// Ends a request whose head could not be read; the connection is over.
pub(crate) async fn refuse(connection: &mut Connection, ending: Ending) {
    connection.thread.counts.request_begun();
    let mut story = Story::begin(Instant::now(), connection.thread.make_id());
    let ending = match ending.status() {
        Some(status) if ending.cause != Cause::ClientClosed => {
            respond::refuse(connection, None, status, ending, &mut story).await
        }
        _ => ending,
    };
    record::record(connection, None, &story, ending);
}
