//! Answers that the edge gives itself, where a route or a file says so.
//!
//! Invariant: their length is known before their head is written; a file that turns out shorter breaks the connection off.

use std::{future::poll_fn, time::Instant};

use http::ResponseFraming;
use rustix::{buffer::spare_capacity, io::pread};
use tokio::task::yield_now;
use units::{Cause, Ending, Phase};

use crate::{
    accept::{Accept, Form},
    body::Upload,
    compress::{self, Facts},
    connection::{Connection, Sent},
    encode::{Encoder, TURN, Then},
    file::FileBody,
    page,
    record::Story,
    request::Request,
    respond::{self, Framed},
};

/// A file that is not longer than this is read and sent together with its head; for a longer one sendfile(2) is worth a call more.
pub(crate) const READ_MAX: u64 = 32 * 1024;

/// A longer file is sent as it is: whoever has such files compresses them once.
const CODED_MAX: u64 = 10_000_000;

/// What is answered.
#[derive(Debug)]
pub(crate) struct Own<'a> {
    pub(crate) status: u16,
    /// Field lines.
    pub(crate) fields: &'a [u8],
    pub(crate) body: Body<'a>,
}

/// What follows the head; for HEAD, and for 304, it only says how long that would be.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Bytes(&'a [u8]),
    File(FileBody),
}

impl Body<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.left(),
        }
    }
}

/// A short answer in text.
pub(crate) async fn tell(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
    text: (u16, &str),
) -> Ending {
    tell_with(connection, request, upload, story, text, b"").await
}

/// The same with further field lines; for browsers the page that the operator has for the status, if there is one.
pub(crate) async fn tell_with(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
    (status, text): (u16, &str),
    lines: &[u8],
) -> Ending {
    let settings = connection.thread.settings();
    let likes_html = || Accept::of(Some(request.head), &connection.input).form() == Form::Html;
    let page = settings.protection.pages.of(status).filter(|_| likes_html());
    let kind = if page.is_some() { page::HTML } else { page::TEXT };
    let mut fields = lines.to_vec();
    http::write_field(&mut fields, b"Content-Type", kind.as_bytes());
    http::write_field(&mut fields, b"Cache-Control", b"no-store");
    let own = Own { status, fields: &fields, body: Body::Bytes(page.unwrap_or(text).as_bytes()) };
    answer(connection, request, upload, story, own).await
}

pub(crate) async fn answer(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
    own: Own<'_>,
) -> Ending {
    let Own { status, fields, body } = own;
    connection.closing |= !upload.is_complete() || !respond::may_keep(connection, request);
    let version = request.head.answer_version();
    // A 304 says nothing of the length: the client knows it.
    let known = (status != 304).then(|| body.length());
    let mut out = std::mem::take(&mut connection.out);
    http::write_status_line(&mut out, status, b"");
    let start = out.len();
    match request.route.map(|route| &route.response) {
        Some(edits) if !edits.is_empty() => edits.write(&mut out, fields),
        _ => out.extend_from_slice(fields),
    }
    let encoder = match &body {
        Body::File(file) if CODED_MAX < file.left() => None,
        _ => compress::encoder(connection, request, (&mut out, start), Facts { status, length: known }),
    };
    let announced = known.filter(|_| encoder.is_none());
    let (framing, length) = http::response_framing(status, request.head.is_head, version, announced);
    connection.closing |= framing == ResponseFraming::UntilClose;
    let has_date = request.route.is_some_and(|route| route.response.leaves_out(b"date"));
    let framed = Framed { framing, length, date: has_date, now: Instant::now() };
    respond::finish_head(connection, &mut out, Some(request), story, &framed);
    story.answered(status);
    connection.out = out;
    let has_body = framing != ResponseFraming::NoBody;
    let sent = match (body, encoder.filter(|_| has_body).map(Box::new)) {
        // Apart, so that what only these need costs others no memory.
        (body, Some(encoder)) => Box::pin(send_coded(connection, body, (encoder, framing), story)).await,
        (Body::Bytes(bytes), None) => {
            if has_body {
                connection.out.extend_from_slice(bytes);
                story.sent(bytes.len() as u64);
            }
            send(connection, None, story).await
        }
        (Body::File(file), None) => send(connection, Some(file).filter(|_| has_body), story).await,
    };
    match sent {
        Ok(()) => Ending::SERVED,
        Err(cause) => {
            connection.break_off();
            Ending::new(cause, Phase::SendBody)
        }
    }
}

/// A piece at a time: what was read is bounded, and nobody on the thread waits for more than one.
async fn send_coded(
    connection: &mut Connection,
    mut body: Body<'_>,
    (mut encoder, framing): (Box<Encoder>, ResponseFraming),
    story: &mut Story,
) -> Result<(), Cause> {
    let mut piece = connection.thread.buffers.take_long();
    loop {
        match &mut body {
            Body::File(file) => file.read(TURN, &mut piece).map_err(|_| Cause::HttpResponseIncomplete)?,
            Body::Bytes(bytes) => {
                let (first, rest) = bytes.split_at(bytes.len().min(TURN));
                piece.clear();
                piece.extend_from_slice(first);
                *bytes = rest;
            }
        }
        let then = if body.length() == 0 { Then::Finish } else { Then::More };
        story.sent(encoder.write(&piece, then, framing, &mut connection.out)?);
        if then == Then::Finish && framing == ResponseFraming::Chunked {
            connection.out.extend_from_slice(http::LAST_CHUNK);
        }
        send(connection, None, story).await?;
        if then == Then::Finish {
            connection.thread.buffers.put(piece);
            return Ok(());
        }
        yield_now().await;
    }
}

async fn send(connection: &mut Connection, file: Option<FileBody>, story: &mut Story) -> Result<(), Cause> {
    let mut rest = file.filter(|file| 0 < file.left());
    if let Some(file) = rest.take_if(|file| file.left() <= READ_MAX) {
        let read = file.read_all(&mut connection.out).map_err(|_| Cause::HttpResponseIncomplete)?;
        story.sent(read);
    }
    if let Some(mut file) = rest {
        connection.deadline.clear();
        loop {
            let sent = poll_fn(|context| connection.poll_send_file(context, &mut file)).await?;
            story.sent(sent);
            if file.left() == 0 {
                break;
            }
            // First the thread looks what others have to do.
            yield_now().await;
        }
    }
    // Of a file too, as TLS takes more than it sends.
    match connection.flush().await {
        Sent::All => Ok(()),
        Sent::Broken => Err(Cause::ClientClosed),
        Sent::TimedOut => Err(Cause::ClientTimedOut),
    }
}

impl FileBody {
    /// Appends all of it to `out`, and tells how much that was.
    fn read_all(self, out: &mut Vec<u8>) -> rustix::io::Result<u64> {
        let (file, part) = self.into_parts();
        let length = usize::try_from(part.length).map_err(|_| rustix::io::Errno::FBIG)?;
        let end = out.len() + length;
        while out.len() < end {
            out.reserve(end - out.len());
            let at = part.offset + (length - (end - out.len())) as u64;
            match pread(&file, spare_capacity(out), at) {
                Ok(0) => return Err(rustix::io::Errno::IO),
                Ok(_) => out.truncate(end),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(part.length)
    }
}
