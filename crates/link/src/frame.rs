//! Frames: a 12-byte little-endian header `{length: u32, kind: u8, flags: u8, aux: u16, id: u32}` and a payload.
//!
//! | direction      | kind            | flags                              | aux      | payload                     |
//! |----------------|-----------------|------------------------------------|----------|-----------------------------|
//! | edge → worker  | Request         | BODY_FOLLOWS, EXPECTS_CONTINUE, …  | listener | see [`crate::RequestHead`]  |
//! | edge → worker  | Body            | LAST                               | 0        | bytes                       |
//! | edge → worker  | BodyAborted     |                                    | 0        |                             |
//! | edge → worker  | Credit          |                                    | 0        | u32: response bytes passed  |
//! | edge → worker  | Cancel          |                                    | reason   | the request, for the log    |
//! | edge → worker  | Drain           |                                    | 0        |                             |
//! | worker → edge  | Response        | LAST, DONE, HAS_LENGTH, …          | status   | see [`crate::ResponseHead`] |
//! | worker → edge  | ResponseBody    | LAST, DONE                         | 0        | bytes                       |
//! | worker → edge  | ResponseFile    | LAST, DONE                         | 0        | see [`crate::FilePart`]     |
//! | worker → edge  | ResponseAborted | DONE                               | reason   |                             |
//! | worker → edge  | EarlyHints      |                                    | 0        | lines `Name: value` CRLF    |
//! | worker → edge  | WantBody        |                                    | 0        |                             |
//! | worker → edge  | BodyCredit      |                                    | 0        | u32: request bytes read     |
//! | worker → edge  | Done            |                                    | 0        |                             |
//!
//! With a ResponseFile travels a descriptor ([`crate::Outbound`]). It stands for bytes of the body whose number the
//! response has announced (HAS_LENGTH), and it ends the body (LAST).

use crate::ExchangeId;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 12;

/// The longest payload a frame may have; a head of 64 KiB and a window of body fit several times.
pub const FRAME_MAX: usize = 1 << 20;

/// What a frame is about; the table of the module says who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request's head, and its body when that is short and complete.
    Request = 1,
    /// A piece of the request's body.
    Body = 2,
    /// The request's body will never be complete: the client has gone or broke the rules.
    BodyAborted = 3,
    /// The client has taken so many bytes of the response's body.
    Credit = 4,
    /// Nobody wants the response any more; see [`crate::Cancel`].
    Cancel = 5,
    /// No more requests will come; leave when those in flight have ended.
    Drain = 6,
    /// The response's head, and the first bytes of its body.
    Response = 66,
    /// A piece of the response's body.
    ResponseBody = 67,
    /// The response will never be complete, or will never begin.
    ResponseAborted = 68,
    /// The application reads the request's body for the first time.
    WantBody = 69,
    /// The application has read so many bytes of the request's body.
    BodyCredit = 70,
    /// The work has ended: the slot is free.
    Done = 71,
    /// A part of a file in place of the rest of the response's body.
    ResponseFile = 72,
    /// Fields that are to reach the client before the response (RFC 8297).
    EarlyHints = 73,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Body,
            3 => Self::BodyAborted,
            4 => Self::Credit,
            5 => Self::Cancel,
            6 => Self::Drain,
            66 => Self::Response,
            67 => Self::ResponseBody,
            68 => Self::ResponseAborted,
            69 => Self::WantBody,
            70 => Self::BodyCredit,
            71 => Self::Done,
            72 => Self::ResponseFile,
            73 => Self::EarlyHints,
            _ => return None,
        })
    }
}

/// Bits of a frame's `flags`. Those of requests and of responses share numbers, never a frame.
pub mod flags {
    /// Request: Body frames follow.
    pub const BODY_FOLLOWS: u8 = 1;
    /// Request: the client waits for `100 Continue` (RFC 9110 §10.1.1).
    pub const EXPECTS_CONTINUE: u8 = 2;
    /// Request: it came as HTTP/1.0.
    pub const HTTP10: u8 = 4;
    /// Request: its method is HEAD; no response body is wanted.
    pub const HEAD: u8 = 8;
    /// Request: the client speaks TLS, with a proxy in front.
    pub const HTTPS: u8 = 16;
    /// Body, Response, ResponseBody, ResponseFile: this is the last byte.
    pub const LAST: u8 = 1;
    /// Response, ResponseBody, ResponseFile, ResponseAborted: the work has ended too; no Done frame follows.
    pub const DONE: u8 = 2;
    /// Response: the application declared a Content-Length.
    pub const HAS_LENGTH: u8 = 4;
    /// Response: the fields hold a Date.
    pub const HAS_DATE: u8 = 8;
}

/// The peer did not keep to the protocol; the link must be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(
    /// What was wrong.
    pub &'static str,
);

/// One frame as it was read; the payload is borrowed from the reading buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Bits of [`flags`].
    pub flags: u8,
    /// The listener of a request, the status of a response, the reason of an abort.
    pub aux: u16,
    /// Which exchange it belongs to.
    pub id: ExchangeId,
    /// The rest.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the first frame of `buffer` and how many bytes it takes; `None` when it is not complete yet.
    pub fn read(buffer: &'a [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((header, rest)) = buffer.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [l0, l1, l2, l3, kind, flags, a0, a1, i0, i1, i2, i3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if FRAME_MAX < length {
            return Err(Malformed("frame too long"));
        }
        let kind = Kind::from_byte(kind).ok_or(Malformed("unknown kind of frame"))?;
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let id = ExchangeId(u32::from_le_bytes([i0, i1, i2, i3]));
        Ok(Some((Self { kind, flags, aux: u16::from_le_bytes([a0, a1]), id, payload }, HEADER_LEN + length)))
    }

    /// The payload of Credit and BodyCredit.
    pub fn amount(&self) -> Result<u32, Malformed> {
        let bytes: [u8; 4] = self.payload.try_into().map_err(|_| Malformed("an amount is four bytes"))?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// Appends a frame to `out`.
///
/// # Panics
/// When the payload is longer than [`FRAME_MAX`]: the sender has to cut it.
pub fn write_frame(out: &mut Vec<u8>, kind: Kind, flags: u8, aux: u16, id: ExchangeId, payload: &[u8]) {
    let begun = begin(out, kind, flags, aux, id);
    out.extend_from_slice(payload);
    finish(out, begun);
}

/// Appends a header whose length is still open.
pub(crate) fn begin(out: &mut Vec<u8>, kind: Kind, flags: u8, aux: u16, id: ExchangeId) -> usize {
    let begun = out.len();
    let [a0, a1] = aux.to_le_bytes();
    let [i0, i1, i2, i3] = id.0.to_le_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, kind as u8, flags, a0, a1, i0, i1, i2, i3]);
    begun
}

/// Writes the length of the frame that began at `begun`.
pub(crate) fn finish(out: &mut [u8], begun: usize) {
    let length = out.len() - begun - HEADER_LEN;
    assert!(length <= FRAME_MAX, "a frame of {length} bytes has to be cut");
    let length = u32::try_from(length).expect("at most FRAME_MAX");
    out[begun..begun + 4].copy_from_slice(&length.to_le_bytes());
}

/// Bytes that have arrived and are not yet whole frames.
#[derive(Debug, Default)]
pub struct Inbound {
    bytes: Vec<u8>,
    read: usize,
}

impl Inbound {
    /// Where the next bytes from the socket go; at least `room` bytes of spare capacity.
    pub fn spare(&mut self, room: usize) -> &mut Vec<u8> {
        if 0 < self.read {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.reserve(room);
        &mut self.bytes
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Malformed> {
        match Frame::read(&self.bytes[self.read..])? {
            Some((frame, length)) => {
                self.read += length;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// How many bytes there are of a frame that is not complete.
    pub fn cut(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// Gives memory back after a burst: called when no frame is left.
    pub fn shrink(&mut self, keep: usize) {
        if self.read == self.bytes.len() && keep < self.bytes.capacity() {
            self.bytes = Vec::new();
            self.read = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        write_frame(&mut wire, Kind::Body, flags::LAST, 7, ExchangeId::new(3, 9), b"abc");
        write_frame(&mut wire, Kind::Done, 0, 0, ExchangeId(1), b"");
        for cut in 0..=wire.len() {
            let mut inbound = Inbound::default();
            let mut seen = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                inbound.spare(part.len()).extend_from_slice(part);
                while let Some(frame) = inbound.next_frame().unwrap() {
                    seen.push((frame.kind, frame.flags, frame.aux, frame.id, frame.payload.to_vec()));
                }
            }
            assert_eq!(
                seen,
                [
                    (Kind::Body, flags::LAST, 7, ExchangeId::new(3, 9), b"abc".to_vec()),
                    (Kind::Done, 0, 0, ExchangeId(1), vec![]),
                ]
            );
        }
    }

    #[test]
    fn nonsense_is_malformed() {
        let mut wire = Vec::new();
        write_frame(&mut wire, Kind::Body, 0, 0, ExchangeId(0), b"");
        wire[4] = 99;
        assert_eq!(Frame::read(&wire), Err(Malformed("unknown kind of frame")));
        wire[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Frame::read(&wire), Err(Malformed("frame too long")));
    }

    #[test]
    fn amounts() {
        let mut wire = Vec::new();
        write_frame(&mut wire, Kind::Credit, 0, 0, ExchangeId(1), &77u32.to_le_bytes());
        let (frame, _) = Frame::read(&wire).unwrap().unwrap();
        assert_eq!(frame.amount(), Ok(77));
        let short = Frame { payload: b"abc", ..frame };
        assert!(short.amount().is_err());
    }
}
