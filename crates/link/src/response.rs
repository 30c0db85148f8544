//! The payload of a Response frame: the application's head, checked by the worker, and the first bytes of the body.
//!
//! Layout, little endian: `content length u64 · reason u8+bytes · fields u32+bytes · body to the end`. The fields are
//! ready lines (`Name: value CRLF`) without Content-Length, Transfer-Encoding and hop-by-hop fields, so that the edge
//! copies them as they are and writes its own framing.

use crate::{
    ExchangeId, Kind, Malformed, flags,
    frame::{begin, finish},
};

/// Why a response ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Abort {
    /// The application raised an exception.
    AppException = 1,
    /// The application sent fewer bytes than its Content-Length, or broke a rule of its protocol.
    Incomplete = 2,
    /// The edge had cancelled it.
    Cancelled = 3,
}

impl Abort {
    /// Reads the `aux` of a ResponseAborted frame.
    pub fn from_aux(aux: u16) -> Self {
        match aux {
            2 => Self::Incomplete,
            3 => Self::Cancelled,
            _ => Self::AppException,
        }
    }
}

/// A response's head, borrowed from the frame; the status is the frame's `aux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// What the application declared.
    pub content_length: Option<u64>,
    /// Its reason phrase.
    pub reason: &'a [u8],
    /// Lines `Name: value` CRLF.
    pub fields: &'a [u8],
    /// The first bytes of the body.
    pub body: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    /// Reads the payload of a Response frame with those `flags`.
    pub fn read(frame_flags: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        const CUT: Malformed = Malformed("a response is cut short");
        let (length, rest) = payload.split_first_chunk::<8>().ok_or(CUT)?;
        let (reason_len, rest) = rest.split_first().ok_or(CUT)?;
        let (reason, rest) = rest.split_at_checked(usize::from(*reason_len)).ok_or(CUT)?;
        let (fields_len, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let (fields, body) = rest.split_at_checked(u32::from_le_bytes(*fields_len) as usize).ok_or(CUT)?;
        let content_length = (frame_flags & flags::HAS_LENGTH != 0).then(|| u64::from_le_bytes(*length));
        Ok(Self { content_length, reason, fields, body })
    }
}

/// Appends a Response frame. HAS_LENGTH is set from `head`; the caller adds LAST, DONE and HAS_DATE.
pub fn write_response(out: &mut Vec<u8>, id: ExchangeId, status: u16, frame_flags: u8, head: &ResponseHead<'_>) {
    let has_length = if head.content_length.is_some() { flags::HAS_LENGTH } else { 0 };
    let begun = begin(out, Kind::Response, frame_flags | has_length, status, id);
    out.extend_from_slice(&head.content_length.unwrap_or(0).to_le_bytes());
    let reason = &head.reason[..head.reason.len().min(255)];
    out.push(u8::try_from(reason.len()).expect("cut to 255 bytes"));
    out.extend_from_slice(reason);
    out.extend_from_slice(&u32::try_from(head.fields.len()).expect("shorter than a frame").to_le_bytes());
    out.extend_from_slice(head.fields);
    out.extend_from_slice(head.body);
    finish(out, begun);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;

    #[test]
    fn a_response_survives_the_link() {
        let head = ResponseHead { content_length: Some(2), reason: b"OK", fields: b"A: b\r\n", body: b"hi" };
        for (length, has) in [(Some(2), flags::HAS_LENGTH), (None, 0)] {
            let mut wire = Vec::new();
            let head = ResponseHead { content_length: length, ..head };
            write_response(&mut wire, ExchangeId(9), 200, flags::LAST, &head);
            let (frame, _) = Frame::read(&wire).unwrap().unwrap();
            assert_eq!((frame.kind, frame.aux, frame.flags), (Kind::Response, 200, flags::LAST | has));
            assert_eq!(ResponseHead::read(frame.flags, frame.payload), Ok(head));
            for cut in 0..frame.payload.len() - head.body.len() {
                assert!(ResponseHead::read(frame.flags, &frame.payload[..cut]).is_err(), "{cut}");
            }
        }
    }
}
