//! The answer, in framing of our own: the application's as it comes, or ours in its place.
//!
//! Invariant: a response that is not whole never looks whole to the client: its framing stays open and the connection is
//! given up.

mod coded; // the body through an encoder

use std::{
    future::poll_fn,
    io::Write,
    pin::pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use config::{Expose, ServerTiming};
use http::{ResponseFraming, Version};
use link::{Abort, Kind, RESPONSE_WINDOW, flags};
use tokio::task::yield_now;
use units::{Cause, Ending, Phase};

use crate::{
    Settings,
    accept::{Accept, Form},
    body::{Answer, Upload},
    compress::{self, Facts},
    connection::{Connection, Filled, Sent},
    encode::Encoder,
    exchange::Attempt,
    file::FileBody,
    mailbox::{Head, Turned},
    page,
    record::Story,
    request::{After, Request},
    wish,
};

use coded::Coded;

/// The worker gets credit in portions of so many bytes.
const CREDIT_STEP: u32 = RESPONSE_WINDOW / 4;

/// No more is taken from the worker while so much waits for the client.
pub(crate) const OUT_MAX: usize = 64 * 1024;

/// The methods that are served; what an application makes of them is its business.
const ALLOW: &[u8] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What an aborted response is called.
pub(crate) fn cause_of(abort: Abort) -> Cause {
    match abort {
        Abort::AppException => Cause::AppException,
        Abort::Incomplete => Cause::HttpResponseIncomplete,
        Abort::Cancelled => Cause::ProxyInternalError,
    }
}

/// What becomes of the connection. A body that was not read to its end makes the next request unfindable.
pub(crate) fn after(connection: &Connection, request: &Request<'_>, upload: &Upload, ending: Ending) -> After {
    match ending.cause {
        Cause::ClientClosed => After::Drop,
        _ if ending.phase == Phase::SendBody => After::Drop,
        _ if !upload.is_complete() => After::Linger,
        _ if may_keep(connection, request) => After::Keep,
        _ if request.head.keep_alive => After::Linger,
        _ => After::Close,
    }
}

pub(crate) fn may_keep(connection: &Connection, request: &Request<'_>) -> bool {
    request.head.keep_alive && connection.thread.keeps_connections() && !connection.closing
}

/// How long the body is that the client is to have, as far as that is known.
pub(crate) fn announced(request: &Request<'_>, attempt: &Attempt) -> u64 {
    attempt.mailbox.look(|mail| match &mail.head {
        Some(head) if !request.head.is_head && head.status != 304 => {
            head.content_length.unwrap_or(if mail.last { mail.body.len() as u64 } else { 0 })
        }
        _ => 0,
    })
}

/// Forwards the response whose head is in the attempt's mailbox; returns how the request ended.
pub(crate) async fn forward(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    mut attempt: Attempt,
    story: &mut Story,
) -> Ending {
    let (framing, left, encoder) = write_app_head(connection, request, upload, &attempt, story);
    #[cfg(test)]
    crate::tests::panic_at("answering", request.head, &connection.input);
    let coded = encoder.map(|encoder| Box::new(Coded::new(encoder)));
    let allowed = Some(request.response);
    let mut download = Download { framing, left, allowed, taken: 0, file: None, coded, complete: false, turned: None };
    connection.deadline.clear();
    match poll_fn(|context| download.poll(connection, upload, &attempt, story, context)).await {
        Ok(()) => {
            attempt.over = true;
            Ending::SERVED
        }
        Err(cause) => {
            // Whoever still works on it is told to stop.
            attempt.over = download.turned.is_some();
            attempt.abandon(connection, request, cause);
            connection.break_off();
            Ending::new(cause, Phase::SendBody)
        }
    }
}

/// The body of a response on its way.
#[derive(Debug)]
struct Download {
    framing: ResponseFraming,
    /// Bytes that are still owed to the client when their number was announced.
    left: Option<u64>,
    /// Bytes that may still come; `None` when more have come than that.
    allowed: Option<u64>,
    /// Body bytes taken since the worker was last given credit.
    taken: u32,
    /// What is to be sent after `out`.
    file: Option<FileBody>,
    /// Through which it goes when it is compressed.
    coded: Option<Box<Coded>>,
    /// The last byte is in `out` or in `file`.
    complete: bool,
    /// Nothing more will come although it should.
    turned: Option<Turned>,
}

impl Download {
    fn poll(
        &mut self,
        connection: &mut Connection,
        upload: &mut Upload,
        attempt: &Attempt,
        story: &mut Story,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cause>> {
        loop {
            if !self.complete {
                // The application may go on reading while it answers.
                if let Err(cause) = upload.pump(connection, attempt, Answer::Begun, context) {
                    return Poll::Ready(Err(cause));
                }
                if connection.out.len() < OUT_MAX {
                    self.take(connection, attempt, story)?;
                }
                if self.allowed.is_none() {
                    return Poll::Ready(Err(Cause::ResponseTooLarge));
                }
            }
            if self.file.is_none() {
                ready!(connection.poll_unsent(context))?;
            }
            if let Some(file) = &mut self.file {
                match connection.poll_send_file(context, file) {
                    Poll::Ready(Ok(count)) => story.sent(count),
                    Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                    Poll::Pending => return Poll::Pending,
                }
                if 0 < file.left() {
                    // First the thread looks what others have to do.
                    return pin!(yield_now()).poll(context).map(Ok);
                }
                self.file = None;
                if connection.has_unsent() {
                    continue;
                }
            }
            match &self.turned {
                _ if self.complete && self.left.is_some_and(|left| 0 < left) => {
                    return Poll::Ready(Err(Cause::HttpResponseIncomplete));
                }
                _ if self.complete => return Poll::Ready(Ok(())),
                Some(Turned::Aborted(abort)) => return Poll::Ready(Err(cause_of(*abort))),
                Some(Turned::Lost(cause)) => return Poll::Ready(Err(*cause)),
                Some(_) => return Poll::Ready(Err(Cause::WorkerCrashed)),
                None => {}
            }
            if CREDIT_STEP <= self.taken {
                attempt.send(Kind::Credit, 0, &std::mem::take(&mut self.taken).to_le_bytes());
            }
            if self.coded.as_ref().is_some_and(|coded| coded.has_more()) {
                // First the thread looks what others have to do.
                return pin!(yield_now()).poll(context).map(Ok);
            }
            if !attempt.mailbox.poll_fresh(context) {
                if self.flush_coded(connection, story)? {
                    continue;
                }
                let gone =
                    upload.is_complete() && connection.poll_gone(context, upload.end()) == Poll::Ready(Filled::Broken);
                return if gone { Poll::Ready(Err(Cause::ClientClosed)) } else { Poll::Pending };
            }
        }
    }

    /// Moves what has arrived to `out`, framed.
    fn take(&mut self, connection: &mut Connection, attempt: &Attempt, story: &mut Story) -> Result<(), Cause> {
        if self.coded.is_some() {
            return self.take_coded(connection, attempt, story);
        }
        attempt.mailbox.look(|mail| {
            let body = &mut mail.body;
            let out = &mut connection.out;
            self.taken = self.taken.saturating_add(u32::try_from(body.len()).unwrap_or(u32::MAX));
            if let Some(left) = &mut self.left {
                // The worker cuts what is more than announced; this is for the client's safety, not for correctness.
                body.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= body.len() as u64;
            }
            if self.framing != ResponseFraming::NoBody {
                self.allowed = self.allowed.and_then(|allowed| allowed.checked_sub(body.len() as u64));
                if self.allowed.is_none() {
                    return;
                }
            }
            if !body.is_empty() && self.framing != ResponseFraming::NoBody {
                story.sent(body.len() as u64);
                match self.framing {
                    ResponseFraming::Chunked => {
                        http::write_chunk_head(out, body.len());
                        out.append(body);
                        out.extend_from_slice(http::CHUNK_END);
                    }
                    _ if out.is_empty() => std::mem::swap(out, body),
                    _ => out.append(body),
                }
            }
            body.clear();
            if let Some(mut file) = mail.file.take() {
                match &mut self.left {
                    Some(left) => {
                        file.limit(*left);
                        *left -= file.left();
                        self.file = Some(file);
                    }
                    None if self.framing == ResponseFraming::NoBody => {}
                    None => {
                        // No worker of ours sends a file without having announced its length.
                        mail.last = false;
                        mail.turned = Some(Turned::Aborted(Abort::Incomplete));
                    }
                }
            }
            if mail.last {
                self.complete = true;
                if self.framing == ResponseFraming::Chunked {
                    out.extend_from_slice(http::LAST_CHUNK);
                }
            } else if self.turned.is_none() {
                self.turned = mail.turned.take();
            }
        });
        Ok(())
    }
}

/// What the application wants the client to know before its response (RFC 8297).
pub(crate) fn forward_hints(connection: &mut Connection, attempt: &Attempt) {
    attempt.mailbox.look(|mail| {
        for fields in mail.hints.drain(..) {
            http::write_status_line(&mut connection.out, 103, b"");
            connection.out.extend_from_slice(&fields);
            connection.out.extend_from_slice(b"\r\n");
        }
    });
}

/// Writes the application's head with our framing; the first body bytes follow, so many if that is known, through an encoder if
/// there is one.
fn write_app_head(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    attempt: &Attempt,
    story: &mut Story,
) -> (ResponseFraming, Option<u64>, Option<Encoder>) {
    let now = Instant::now();
    let head = attempt.mailbox.look(|mail| mail.head.take()).expect("`forward` is called when the head is here");
    // What has no body by its nature says nothing of the length that the answer to GET would have (RFC 9110 §8.6).
    let tells = !request.head.is_head && head.status != 304;
    let declared = head.content_length.or_else(|| {
        // A response that is complete already needs no chunks.
        attempt.mailbox.look(|mail| (tells && mail.last).then_some(mail.body.len() as u64))
    });
    story.answered(head.status);
    let mut out = std::mem::take(&mut connection.out);
    let start = attempt.mailbox.look(|mail| {
        let (reason, fields) = mail.text.split_at(head.reason_len);
        http::write_status_line(&mut out, head.status, reason);
        let start = out.len();
        // The id that the client sees is the one by which the log knows the request, whatever the application says.
        let ours: &[&[u8]] = match connection.thread.settings().expose {
            Expose::Shown => &[b"x-request-id", b"x-served-by"],
            Expose::Hidden => &[b"x-request-id"],
        };
        match request.route.map(|route| &route.response) {
            Some(edits) if !edits.is_empty() => {
                let mut own = Vec::with_capacity(fields.len());
                http::write_fields_without(&mut own, fields, ours);
                edits.write(&mut out, &own);
            }
            _ => http::write_fields_without(&mut out, fields, ours),
        }
        start
    });
    let facts = Facts { status: head.status, length: declared };
    let encoder = compress::encoder(connection, request, (&mut out, start), facts);
    let announced = declared.filter(|_| encoder.is_none());
    let (framing, length) =
        http::response_framing(head.status, request.head.is_head, request.head.answer_version(), announced);
    let keep = may_keep(connection, request) && upload.is_complete() && framing != ResponseFraming::UntilClose;
    connection.closing |= !keep;
    let date = has_date(&head) || request.route.is_some_and(|route| route.response.leaves_out(b"date"));
    finish_head(connection, &mut out, Some(request), story, &Framed { framing, length, date, now });
    connection.out = out;
    match framing {
        ResponseFraming::NoBody => (framing, None, None),
        ResponseFraming::Length(length) => (framing, Some(length), None),
        _ => (framing, declared, encoder),
    }
}

fn has_date(head: &Head) -> bool {
    head.flags & flags::HAS_DATE != 0
}

#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) framing: ResponseFraming,
    pub(crate) length: Option<u64>,
    /// The fields already hold a Date.
    pub(crate) date: bool,
    pub(crate) now: Instant,
}

/// The fields that are ours: Date, framing, connection, request id, worker; and the empty line.
pub(crate) fn finish_head(
    connection: &Connection,
    out: &mut Vec<u8>,
    request: Option<&Request<'_>>,
    story: &Story,
    framed: &Framed,
) {
    if !framed.date {
        out.extend_from_slice(b"Date: ");
        connection.thread.write_date(framed.now, out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(length) = framed.length {
        http::write_content_length(out, length);
    }
    if framed.framing == ResponseFraming::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    http::write_field(out, b"X-Request-Id", story.id.as_bytes());
    if connection.thread.settings().server_timing == ServerTiming::Shown {
        story.write_timing(framed.now, out);
    }
    if connection.thread.settings().expose == Expose::Shown
        && let Some((node, pid)) = story.worker()
    {
        // Writing to memory cannot fail.
        let _ = match pid {
            0 => write!(out, "X-Served-By: {node}\r\n"),
            pid => write!(out, "X-Served-By: {node}/{pid}\r\n"),
        };
    }
    if let (Some(request), Some(worker)) = (request, story.server()) {
        wish::write_cookie(connection, request, worker, out);
    }
    if connection.closing {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if request.is_some_and(|request| request.head.version == Version::Http10) {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Answers in the application's place: what happened, in the words of the log, and the id by which it is found there.
pub(crate) async fn refuse(
    connection: &mut Connection,
    request: Option<&Request<'_>>,
    status: u16,
    ending: Ending,
    story: &mut Story,
) -> Ending {
    let keep = request.is_some_and(|request| may_keep(connection, request))
        && matches!(ending.phase, Phase::Queue | Phase::AwaitHead)
        && !matches!(ending.cause, Cause::BodyTooLarge | Cause::HttpProtocolError(_) | Cause::ClientTimedOut);
    connection.closing |= !keep;
    let page = if ending.cause == Cause::AppNotLoaded { connection.thread.page() } else { None };
    let settings = connection.thread.settings();
    let own;
    let (kind, text) = match &page {
        Some(page) => page.of_choice(request.map(|request| request.head), &connection.input),
        None => {
            let form = Accept::of(request.map(|request| request.head), &connection.input).form();
            match operators_page(&settings, request, status, ending) {
                Some(html) if form == Form::Html => (page::HTML, html),
                _ => {
                    let (kind, text) = page::of_ending(form, story.id, status, ending, explain(ending.cause));
                    own = text;
                    (kind, own.as_str())
                }
            }
        }
    };
    let mut out = std::mem::take(&mut connection.out);
    http::write_status_line(&mut out, status, b"");
    http::write_field(&mut out, b"Content-Type", kind.as_bytes());
    http::write_field(&mut out, b"Cache-Control", b"no-store");
    http::write_field(&mut out, b"Proxy-Status", page::proxy_status(ending).as_bytes());
    if matches!(status, 429 | 503) {
        http::write_field(&mut out, b"Retry-After", story.retry_seconds().to_string().as_bytes());
    }
    if status == 405 {
        http::write_field(&mut out, b"Allow", ALLOW);
    }
    let framed = Framed {
        framing: ResponseFraming::Length(0),
        length: Some(text.len() as u64),
        date: false,
        now: Instant::now(),
    };
    finish_head(connection, &mut out, request, story, &framed);
    // The request still lies at the beginning of the input, also when it could not be understood.
    if !http::asks_for_head(&connection.input) {
        out.extend_from_slice(text.as_bytes());
        story.sent(text.len() as u64);
    }
    connection.out = out;
    story.answered(status);
    flush(connection, ending).await
}

/// What the operator has for browsers in place of our page.
fn operators_page<'a>(
    settings: &'a Settings,
    request: Option<&'a Request<'_>>,
    status: u16,
    ending: Ending,
) -> Option<&'a str> {
    let protection = &settings.protection;
    let maintenance = request.filter(|_| ending.cause == Cause::Maintenance);
    let page = maintenance.and_then(|request| protection.maintenance(request)?.page.as_deref());
    page.or_else(|| protection.pages.of(status))
}

async fn flush(connection: &mut Connection, ending: Ending) -> Ending {
    match connection.flush().await {
        Sent::All => ending,
        Sent::Broken => Ending::new(Cause::ClientClosed, ending.phase),
        Sent::TimedOut => Ending::new(Cause::ClientTimedOut, Phase::SendBody),
    }
}

/// Sends the client elsewhere, with the method and the body that it has (RFC 9110 §15.4.9).
pub(crate) async fn redirect(
    connection: &mut Connection,
    request: &Request<'_>,
    location: &[u8],
    story: &mut Story,
) -> Ending {
    connection.closing |= !may_keep(connection, request);
    let mut out = std::mem::take(&mut connection.out);
    http::write_status_line(&mut out, 308, b"");
    http::write_field(&mut out, b"Location", location);
    let framed = Framed { framing: ResponseFraming::Length(0), length: Some(0), date: false, now: Instant::now() };
    finish_head(connection, &mut out, Some(request), story, &framed);
    connection.out = out;
    story.answered(308);
    flush(connection, Ending::SERVED).await
}

/// Answers `OPTIONS *`, which asks what the server as a whole can do and is about no resource (RFC 9110 §9.3.7).
pub(crate) async fn tell_options(connection: &mut Connection, request: &Request<'_>, story: &mut Story) -> Ending {
    connection.closing |= !may_keep(connection, request);
    let mut out = std::mem::take(&mut connection.out);
    http::write_status_line(&mut out, 200, b"");
    http::write_field(&mut out, b"Allow", ALLOW);
    let framed = Framed { framing: ResponseFraming::Length(0), length: Some(0), date: false, now: Instant::now() };
    finish_head(connection, &mut out, Some(request), story, &framed);
    connection.out = out;
    story.answered(200);
    flush(connection, Ending::SERVED).await
}

/// One sentence for the person who sees the answer.
fn explain(cause: Cause) -> &'static str {
    match cause {
        Cause::Served => "the application has answered.",
        Cause::AppException => "the application raised an exception; the log has the traceback.",
        Cause::AppNotLoaded => "the application cannot be loaded as it is now; the log says why.",
        Cause::BodyTooLarge => "the body of the request is larger than this server accepts.",
        Cause::ClientClosed => "the client has closed the connection.",
        Cause::ClientInFlight => "too many requests of this client are being worked on.",
        Cause::ClientTimedOut => "the request did not arrive in time.",
        Cause::ConnectionRefused => "the server behind this one takes no connections.",
        Cause::ConnectionTerminated => "the server behind this one has closed the connection without an answer.",
        Cause::ConnectionTimeout => "the server behind this one cannot be reached in time.",
        Cause::DestinationUnavailable => "none of the servers behind this one is available.",
        Cause::UpstreamProtocolError => "what the server behind this one has sent breaks a rule of HTTP.",
        Cause::DnsError => "the name of the server behind this one stands for no address.",
        Cause::TlsCertificateError => "the certificate of the server behind this one cannot be trusted.",
        Cause::TlsProtocolError => "no TLS connection to the server behind this one could be made.",
        Cause::Draining => "what ran this request had to stop, and did not wait for it any longer.",
        Cause::HttpOnHttpsPort => {
            "this port speaks HTTPS, and the request came in plain HTTP: write https:// in its address."
        }
        Cause::HttpProtocolError(_) => "the request breaks a rule of HTTP and was not passed on.",
        Cause::HttpResponseTimeout => "the application did not answer in time.",
        Cause::HttpResponseIncomplete => "the application did not send the response that it had announced.",
        Cause::Maintenance => "this is being worked on, and will be back.",
        Cause::NoRoute => "nothing here answers requests for this host and path.",
        Cause::QueueFull => "too many requests are waiting.",
        Cause::QueueTimeout => "no worker became free in time.",
        Cause::RateLimited => "this client comes too often.",
        Cause::ResponseTooLarge => "the response of the application is larger than this server passes on.",
        Cause::TunnelTimeout => "nothing has moved on this connection for too long.",
        Cause::ProxyInternalError => "the server itself failed.",
        Cause::WorkerCrashed => "the worker process ended while it was running this request.",
    }
}
