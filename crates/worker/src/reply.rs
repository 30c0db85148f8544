//! The frames of one response, from its head to the end of the work.
//!
//! | stage     | left by                          | frame                                    |
//! |-----------|----------------------------------|------------------------------------------|
//! | Unsent    | first bytes, or the end          | Response (LAST when nothing follows)      |
//! | Streaming | the last byte, or the end        | ResponseBody … LAST                       |
//! | both      | a file                           | ResponseFile LAST, after a Response       |
//! | both      | an exception, too few bytes      | ResponseAborted                           |
//! | Ended     | [`Reply::done`]                  | DONE on the last frame, or Done           |
//!
//! Invariant: at most Content-Length bytes of body, never more than the credit, and no body where there must be none. A
//! file needs no credit: none of its bytes pass over the link.

use std::{os::fd::OwnedFd, sync::Arc};

use link::{Abort, FilePart, Kind, ResponseHead, flags, write_frame, write_response};
use pyo3::{PyErr, Python};

use crate::{
    exchange::{Cancelled, Exchange},
    wire::Position,
};

/// Early hints of one request beyond this are left out: they are a kindness, and must not become a flood.
const HINTS_MAX: u8 = 16;

/// What the application has declared by `start_response`, checked.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) reason: Vec<u8>,
    /// Lines `Name: value` CRLF.
    pub(crate) fields: Vec<u8>,
    pub(crate) length: Option<u64>,
    /// HAS_DATE.
    pub(crate) flags: u8,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Reply {
    exchange: Arc<Exchange>,
    to_head: bool,
    head: Option<Head>,
    stage: Stage,
    sent: u64,
    last: Position,
    /// How often hints may still be sent.
    hints: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unsent,
    Streaming,
    Ended,
}

/// Whether more of the body may come after these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Follows,
    Nothing,
}

/// How far the response has come with a piece of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// As far as before: there was nothing to send.
    Same,
    /// More may follow.
    Open,
    /// All that was announced has been sent.
    Complete,
    /// The same, and this piece was longer than that.
    Excess,
    /// The head is all of it: a body is not sent.
    Bodiless,
}

/// What has become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The response is complete, or has been aborted.
    Taken,
    /// Bytes of unknown number have gone before it: it has to be read like anything else.
    Declined,
}

/// Why nothing can be sent.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody wants it any more.
    Cancelled,
    /// The application has not called `start_response`.
    NoHead,
    /// An exception was raised where it waited.
    Raised(PyErr),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Reply {
    /// The response of `exchange`, to a HEAD request or another.
    pub(crate) fn new(exchange: &Arc<Exchange>, request_flags: u8) -> Self {
        Self {
            exchange: Arc::clone(exchange),
            to_head: request_flags & flags::HEAD != 0,
            head: None,
            stage: Stage::Unsent,
            sent: 0,
            last: Position::default(),
            // RFC 8297 §2: clients of HTTP/1.0 do not expect interim responses.
            hints: if request_flags & flags::HTTP10 == 0 { HINTS_MAX } else { 0 },
        }
    }

    /// The head, unless there is none yet.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Whether the head has been sent, so that it cannot be replaced.
    pub(crate) fn is_begun(&self) -> bool {
        self.stage != Stage::Unsent
    }

    /// Sets the head, or replaces one that has not been sent.
    pub(crate) fn set_head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Appends a piece of the body, for the caller to flush. PEP 3333: the head leaves with the first bytes that are not
    /// empty, and no more than Content-Length is sent.
    pub(crate) fn write(&mut self, py: Python<'_>, data: &[u8], more: More) -> Result<Progress, Stop> {
        if data.is_empty() && (self.stage == Stage::Ended || more == More::Follows) {
            return Ok(Progress::Same);
        }
        let Some(head) = &mut self.head else { return Err(Stop::NoHead) };
        let bodiless = self.to_head || matches!(head.status, 204 | 304);
        if self.stage == Stage::Ended {
            return Ok(if bodiless { Progress::Bodiless } else { Progress::Excess });
        }
        if more == More::Nothing && self.stage == Stage::Unsent && head.length.is_none() && head.status != 304 {
            // An empty answer to HEAD says nothing about the length of the same answer to GET.
            head.length = Some(data.len() as u64).filter(|length| *length != 0 || !self.to_head);
        }
        if head.status == 204 {
            // RFC 9110 §8.6: no Content-Length in a response without content by its nature.
            head.length = None;
        }
        if bodiless {
            self.send(py, &[], More::Nothing)?;
            return Ok(Progress::Bodiless);
        }
        let left = head.length.map_or(u64::MAX, |length| length - self.sent);
        let piece = &data[..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let reached = head.length == Some(self.sent + piece.len() as u64);
        if more == More::Nothing && head.length.is_some() && !reached {
            // Not even the head is sent, if it can be helped: then the client gets a clear error.
            self.abort(Abort::Incomplete);
            return Ok(Progress::Complete);
        }
        self.send(py, piece, if reached { More::Nothing } else { more })?;
        Ok(match (piece.len() < data.len(), reached || more == More::Nothing) {
            (true, _) => Progress::Excess,
            (_, true) => Progress::Complete,
            (_, false) => Progress::Open,
        })
    }

    /// Sends what was appended.
    pub(crate) fn flush(&self) {
        self.exchange.wire.flush();
    }

    /// Ends the response with a part of a file: so much of it as the Content-Length says, which is the part's length
    /// where the application has not said any. The edge sends the bytes, from the descriptor, which is its own from now on.
    pub(crate) fn file(&mut self, py: Python<'_>, part: FilePart, descriptor: OwnedFd) -> Result<Offered, Stop> {
        if self.stage == Stage::Ended {
            return Ok(Offered::Taken);
        }
        let Some(head) = &mut self.head else { return Err(Stop::NoHead) };
        if head.length.is_none() {
            if self.stage != Stage::Unsent {
                return Ok(Offered::Declined);
            }
            head.length = Some(part.length).filter(|_| head.status != 304);
        }
        let length = head.length.map_or(0, |length| length - self.sent);
        if length == 0 || self.to_head || matches!(head.status, 204 | 304) {
            self.write(py, &[], More::Nothing)?;
        } else if part.length < length {
            self.abort(Abort::Incomplete);
        } else if self.exchange.is_cancelled() {
            return Err(Stop::Cancelled);
        } else {
            if self.stage == Stage::Unsent {
                self.frame(&[], 0);
            }
            let (exchange, part) = (&self.exchange, FilePart { length, ..part });
            self.last = exchange.wire.append_file(flags::LAST, exchange.id, part, descriptor);
            self.stage = Stage::Ended;
        }
        Ok(Offered::Taken)
    }

    /// Sends fields ahead of the response, unless that has begun.
    pub(crate) fn hint(&mut self, fields: &[u8]) {
        if self.stage == Stage::Unsent && 0 < self.hints && !fields.is_empty() {
            self.hints -= 1;
            let exchange = &self.exchange;
            exchange.wire.append_frame(Kind::EarlyHints, 0, 0, exchange.id, fields);
            exchange.wire.flush();
        }
    }

    /// The response cannot be completed.
    pub(crate) fn abort(&mut self, reason: Abort) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Ended;
            let exchange = &self.exchange;
            self.last = exchange.wire.append_frame(Kind::ResponseAborted, 0, reason as u16, exchange.id, &[]);
        }
    }

    /// The work has ended.
    pub(crate) fn done(mut self) {
        self.abort(Abort::Incomplete);
        self.exchange.wire.append_done(self.exchange.id, self.last);
    }

    /// Sends all of `data` in as many frames as the credit demands.
    fn send(&mut self, py: Python<'_>, mut data: &[u8], more: More) -> Result<(), Stop> {
        loop {
            let mut taken = 0;
            if !data.is_empty() {
                taken = self.exchange.take_credit(data.len()).map_err(|Cancelled| Stop::Cancelled)?;
                if taken == 0 {
                    self.exchange.wire.flush();
                    self.exchange.wait_for_credit(py)?;
                    continue;
                }
            }
            let (piece, rest) = data.split_at(taken);
            data = rest;
            let ends = rest.is_empty() && more == More::Nothing;
            self.frame(piece, if ends { flags::LAST } else { 0 });
            if ends {
                self.stage = Stage::Ended;
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn frame(&mut self, body: &[u8], frame_flags: u8) {
        let id = self.exchange.id;
        let head = self.head.as_ref().expect("checked by write");
        let unsent = self.stage == Stage::Unsent;
        self.last = self.exchange.wire.append(|out| {
            if unsent {
                let (content_length, reason, fields) = (head.length, &head.reason[..], &head.fields[..]);
                let response = ResponseHead { content_length, reason, fields, body };
                write_response(out, id, head.status, head.flags | frame_flags, &response);
            } else {
                write_frame(out, Kind::ResponseBody, frame_flags, 0, id, body);
            }
        });
        self.sent += body.len() as u64;
        self.stage = Stage::Streaming;
    }
}
