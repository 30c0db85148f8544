//! An upstream's answer on its way to the client, in framing of our own.
//!
//! Invariant: a response that is not whole never looks whole to the client, and its connection is never used again.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use config::Expose;
use http::{BodyDecoder, FieldKind, Framing, ReceivedBody, ReceivedHead, ResponseFraming};
use tokio::task::yield_now;
use units::{Cause, Ending, Phase};

use super::{
    attempt::{Answered, move_body},
    pool::Pools,
    wire::{Came, Expects, Wire},
};
use crate::{
    body::{Answer, Upload},
    compress::{self, Facts},
    connection::{Connection, Filled},
    deadline::Waits,
    encode::{Encoder, TURN, Then},
    files::{self, Wanted},
    record::Story,
    request::Request,
    respond::{self, Framed, OUT_MAX},
};

/// An upstream that sends nothing for so long in the middle of a body is given up; a stream of events may be silent.
const STALL: Duration = Duration::from_secs(60);

/// Pieces that are shorter are copied behind what waits already, so that they leave in one piece.
const SHORT: usize = 4 * 1024;

/// How long the body is that the client is to have, as far as that is known.
pub(super) fn announced(answered: &Answered) -> u64 {
    match answered.head.body {
        ReceivedBody::Framed(Framing::Length(length)) => length,
        _ => 0,
    }
}

/// Forwards the response; returns how the request ended.
pub(super) async fn forward(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (pools, answered): (&Pools, Answered),
    story: &mut Story,
) -> Ending {
    let Answered { pool, mut wire, head, length } = answered;
    let mut download = Download::begin(connection, request, upload, (&wire, &head), story);
    let allowed = keep_alive_timeout(&head, &wire.input);
    wire.input.drain(..length);
    connection.deadline.clear();
    let result = poll_fn(|context| download.poll(connection, upload, &mut wire, story, context)).await;
    let is_clean = is_clean(upload, &wire, &head);
    pools.put_head(head);
    match result {
        Ok(()) => {
            if is_clean && download.has_ended_by_itself {
                wire.rest(&connection.thread);
                pool.put(wire, Instant::now(), allowed);
            }
            Ending::SERVED
        }
        Err(cause) => {
            connection.break_off();
            Ending::new(cause, Phase::SendBody)
        }
    }
}

/// The file that this response is to have as its body.
pub(super) fn wanted(connection: &Connection, answered: &Answered) -> Option<Wanted> {
    let settings = connection.thread.settings();
    if !settings.routes.has_internal() {
        return None;
    }
    let (head, input) = (&answered.head, &answered.wire.input);
    if !head.fields.iter().any(|field| files::names_a_file(field.name.of(input))) {
        return None;
    }
    let mut lines = Vec::new();
    write_fields(&mut lines, head, input, &[]);
    files::wanted(&settings.routes, &lines)
}

/// Keeps the connection of a response that is not forwarded, if all of that is here already.
pub(super) fn finish(connection: &Connection, upload: &Upload, answered: Answered) {
    let Answered { pool, mut wire, head, length } = answered;
    let allowed = keep_alive_timeout(&head, &wire.input);
    wire.input.drain(..length);
    if skip(&head, &mut wire.input) && is_clean(upload, &wire, &head) {
        wire.rest(&connection.thread);
        pool.put(wire, Instant::now(), allowed);
    }
}

/// Takes the whole body off the input; false when there is more to come of it, or no telling.
fn skip(head: &ReceivedHead, input: &mut Vec<u8>) -> bool {
    let ReceivedBody::Framed(framing) = head.body else { return false };
    let mut decoder = BodyDecoder::new(framing);
    let mut taken = 0;
    while !decoder.is_done() {
        match decoder.decode(&input[taken..]) {
            Ok(decoded) if 0 < decoded.consumed => taken += decoded.consumed,
            _ => return false,
        }
    }
    input.drain(..taken);
    true
}

/// Whether the connection can carry another request, once the response has been read to its end. Bytes behind that belong to
/// nobody.
fn is_clean(upload: &Upload, wire: &Wire, head: &ReceivedHead) -> bool {
    head.keep_alive && upload.is_complete() && !wire.is_deaf && wire.is_flushed() && wire.input.is_empty()
}

/// `Keep-Alive: timeout=5`, as most servers say it.
fn keep_alive_timeout(head: &ReceivedHead, input: &[u8]) -> Option<Duration> {
    let named = |field: &&http::Field| field.kind == FieldKind::HopByHop;
    let mut values =
        head.fields.iter().filter(named).filter(|field| field.name.of(input).eq_ignore_ascii_case(b"keep-alive"));
    let text = std::str::from_utf8(values.next()?.value.of(input)).ok()?;
    let seconds = text.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse().ok());
    seconds.map(Duration::from_secs)
}

/// Appends an interim response (RFC 9110 §15.2).
pub(super) fn write_interim(out: &mut Vec<u8>, head: &ReceivedHead, input: &[u8]) {
    http::write_status_line(out, head.status, head.reason.of(input));
    write_fields(out, head, input, &[]);
    out.extend_from_slice(b"\r\n");
}

/// What is known of a head whose beginning has been written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Where its fields begin.
    pub(super) fields: usize,
    /// Nothing is to be said of the date any more.
    pub(super) has_date: bool,
}

/// Appends status line and fields, as the route has them.
pub(super) fn write_start(
    out: &mut Vec<u8>,
    connection: &Connection,
    request: &Request<'_>,
    (head, input): (&ReceivedHead, &[u8]),
) -> Start {
    http::write_status_line(out, head.status, head.reason.of(input));
    let start = out.len();
    let ours: &[&[u8]] = match connection.thread.settings().expose {
        Expose::Shown => &[b"x-request-id", b"x-served-by"],
        Expose::Hidden => &[b"x-request-id"],
    };
    let edits = request.route.map(|route| &route.response).filter(|edits| !edits.is_empty());
    match edits {
        Some(edits) => {
            let mut fields = Vec::new();
            write_fields(&mut fields, head, input, ours);
            edits.write(out, &fields);
        }
        None => write_fields(out, head, input, ours),
    }
    let has_date = head.has_date || edits.is_some_and(|edits| edits.leaves_out(b"date"));
    Start { fields: start, has_date }
}

/// Appends the fields that pass.
fn write_fields(out: &mut Vec<u8>, head: &ReceivedHead, input: &[u8], but: &[&[u8]]) {
    for field in &head.fields {
        let name = field.name.of(input);
        let ends_here = matches!(
            field.kind,
            FieldKind::Connection | FieldKind::HopByHop | FieldKind::TransferEncoding | FieldKind::ContentLength
        );
        if !ends_here && !but.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            http::write_field(out, name, field.value.of(input));
        }
    }
}

/// The body of a response on its way.
#[derive(Debug)]
struct Download {
    framing: ResponseFraming,
    /// Through which it goes when it is compressed.
    encoder: Option<Box<Encoder>>,
    source: Source,
    is_stream: bool,
    /// The last byte is in `out`.
    complete: bool,
    /// Bytes that may still come.
    allowed: u64,
    /// That was not told by the end of the connection.
    has_ended_by_itself: bool,
}

#[derive(Debug)]
enum Source {
    Framed(BodyDecoder),
    UntilClose,
}

impl Download {
    /// Writes the head with our framing; the first body bytes follow.
    fn begin(
        connection: &mut Connection,
        request: &Request<'_>,
        upload: &Upload,
        (wire, head): (&Wire, &ReceivedHead),
        story: &mut Story,
    ) -> Self {
        let declared = match head.body {
            ReceivedBody::Framed(Framing::Length(length)) => Some(length),
            ReceivedBody::Framed(Framing::None) => head.length,
            _ => None,
        };
        story.answered(head.status);
        let mut out = mem::take(&mut connection.out);
        if out.capacity() == 0 {
            out = connection.thread.buffers.take_short();
        }
        let start = write_start(&mut out, connection, request, (head, &wire.input));
        let facts = Facts { status: head.status, length: declared };
        let encoder = compress::encoder(connection, request, (&mut out, start.fields), facts);
        let announced = declared.filter(|_| encoder.is_none());
        let (framing, length) =
            http::response_framing(head.status, request.head.is_head, request.head.answer_version(), announced);
        let keep =
            respond::may_keep(connection, request) && upload.is_complete() && framing != ResponseFraming::UntilClose;
        connection.closing |= !keep;
        let framed = Framed { framing, length, date: start.has_date, now: Instant::now() };
        respond::finish_head(connection, &mut out, Some(request), story, &framed);
        connection.out = out;
        let source = match head.body {
            ReceivedBody::Framed(framing) => Source::Framed(BodyDecoder::new(framing)),
            ReceivedBody::UntilClose => Source::UntilClose,
        };
        let is_stream =
            head.value(b"content-type", &wire.input).is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        // What the client is not to have is not waited for.
        let complete = framing == ResponseFraming::NoBody;
        let has_ended_by_itself = matches!(&source, Source::Framed(decoder) if decoder.is_done());
        let encoder = encoder.filter(|_| !complete).map(Box::new);
        let allowed = request.response;
        Self { framing, encoder, source, is_stream, complete, allowed, has_ended_by_itself }
    }

    fn poll(
        &mut self,
        connection: &mut Connection,
        upload: &mut Upload,
        wire: &mut Wire,
        story: &mut Story,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cause>> {
        loop {
            if !self.complete {
                // It may go on reading while it answers.
                if let Err(cause) = move_body(connection, upload, wire, Answer::Begun, context) {
                    return Poll::Ready(Err(cause));
                }
                if let Err(cause) = self.take(connection, wire, story) {
                    return Poll::Ready(Err(cause));
                }
            }
            ready!(connection.poll_unsent(context))?;
            if self.complete {
                return Poll::Ready(Ok(()));
            }
            if self.encoder.as_mut().is_some_and(|encoder| encoder.ends_turn()) {
                // First the thread looks what others have to do.
                return pin!(yield_now()).poll(context).map(Ok);
            }
            if !wire.input.is_empty() {
                // The client had to take something first.
                continue;
            }
            match wire.poll_read(context, &connection.thread, Expects::Body) {
                Poll::Ready(Came::More) => connection.deadline.clear(),
                Poll::Ready(Came::End) if matches!(self.source, Source::UntilClose) => self.end(connection, story)?,
                Poll::Ready(Came::End | Came::Broken) => return Poll::Ready(Err(Cause::HttpResponseIncomplete)),
                Poll::Pending => match &mut self.encoder {
                    Some(encoder) if encoder.is_behind() => {
                        story.sent(encoder.write(&[], Then::Flush, self.framing, &mut connection.out)?);
                    }
                    _ => return self.wait(connection, upload, context),
                },
            }
        }
    }

    /// While nothing comes: whether the client has gone, or that has lasted too long.
    fn wait(&self, connection: &mut Connection, upload: &Upload, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        if upload.is_complete() && connection.poll_gone(context, upload.end()) == Poll::Ready(Filled::Broken) {
            return Poll::Ready(Err(Cause::ClientClosed));
        }
        if !self.is_stream {
            if !connection.deadline.is_set() {
                connection.deadline.set(Instant::now(), STALL, Waits::Busy);
            }
            if connection.deadline.poll(context) {
                return Poll::Ready(Err(Cause::HttpResponseTimeout));
            }
        }
        Poll::Pending
    }

    /// Moves what has arrived to `out`, framed.
    fn take(&mut self, connection: &mut Connection, wire: &mut Wire, story: &mut Story) -> Result<(), Cause> {
        let out = &mut connection.out;
        let mut at = 0;
        let mut done = match &self.source {
            Source::Framed(decoder) => decoder.is_done(),
            Source::UntilClose => false,
        };
        // An encoder has to let others have their turn.
        let most = if self.encoder.is_some() { TURN.min(wire.input.len()) } else { wire.input.len() };
        while !done && at < most && out.len() < OUT_MAX {
            let input = &wire.input[at..most];
            let (consumed, data) = match &mut self.source {
                Source::UntilClose => (input.len(), 0..input.len()),
                Source::Framed(decoder) => {
                    let decoded = decoder.decode(input).map_err(|_| Cause::UpstreamProtocolError)?;
                    done = decoded.done;
                    (decoded.consumed, decoded.data)
                }
            };
            if consumed == 0 && !done {
                break;
            }
            let count = data.len();
            self.allowed = self.allowed.checked_sub(count as u64).ok_or(Cause::ResponseTooLarge)?;
            if let Some(encoder) = &mut self.encoder {
                story.sent(encoder.write(&input[data], Then::More, self.framing, out)?);
            } else if 0 < count {
                story.sent(count as u64);
                let is_all = at == 0 && count == wire.input.len();
                match self.framing {
                    ResponseFraming::Chunked => {
                        http::write_chunk_head(out, count);
                        out.extend_from_slice(&input[data]);
                        out.extend_from_slice(http::CHUNK_END);
                    }
                    // Nothing is copied of a long body that fills whole reads.
                    _ if is_all && out.is_empty() && SHORT < count => {
                        mem::swap(out, &mut wire.input);
                        at = 0;
                        break;
                    }
                    _ => out.extend_from_slice(&input[data]),
                }
            }
            at += consumed;
        }
        if at == wire.input.len() {
            wire.input.clear();
        } else {
            wire.input.drain(..at);
        }
        if done {
            self.has_ended_by_itself = true;
            self.end(connection, story)?;
        }
        Ok(())
    }

    fn end(&mut self, connection: &mut Connection, story: &mut Story) -> Result<(), Cause> {
        self.complete = true;
        if let Some(mut encoder) = self.encoder.take() {
            story.sent(encoder.write(&[], Then::Finish, self.framing, &mut connection.out)?);
        }
        if self.framing == ResponseFraming::Chunked {
            connection.out.extend_from_slice(http::LAST_CHUNK);
        }
        Ok(())
    }
}
