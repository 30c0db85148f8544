//! A response's head out of the bytes of an upstream, read as strictly as a request's.
//!
//! Invariant: a head whose body could end at two places is refused (RFC 9112 §6.3); whoever sent it is not to be spoken to
//! on that connection any more.

use crate::{
    bytes::is_value,
    fields::{self, Persistence},
    head::{Field, FieldKind, Framing, Limits, Refusal, Span, Version, refuse},
    parse::{field_line, line},
};

/// Where the body of a received response ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceivedBody {
    /// As its framing says; [`Framing::None`] where there is none by nature.
    Framed(Framing),
    /// With the connection.
    #[default]
    UntilClose,
}

/// A response's head. Spans are valid in the buffer that was parsed. Made to be used again for the next response.
#[derive(Clone, Debug, Default)]
pub struct ReceivedHead {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; it may be empty.
    pub reason: Span,
    /// All fields in order.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub body: ReceivedBody,
    /// What Content-Length says, also where there is no body.
    pub length: Option<u64>,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
    /// There is a Date.
    pub has_date: bool,
}

impl ReceivedHead {
    /// Whether another head follows this one (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        self.status / 100 == 1
    }

    /// The value of the field of this name; the first if there are several.
    pub fn value<'b>(&self, name: &[u8], buffer: &'b [u8]) -> Option<&'b [u8]> {
        let field = self.fields.iter().find(|field| field.name.of(buffer).eq_ignore_ascii_case(name))?;
        Some(field.value.of(buffer))
    }
}

/// Reads one head from the beginning of `buffer`, the answer to a HEAD request or to another. `Ok(Some(n))`: it takes `n`
/// bytes. `Ok(None)`: more bytes are needed. The status of a refusal says nothing here.
pub fn parse_response(
    buffer: &[u8],
    limits: &Limits,
    to_head: bool,
    head: &mut ReceivedHead,
) -> Result<Option<usize>, Refusal> {
    let mut kept = std::mem::take(&mut head.fields);
    kept.clear();
    *head = ReceivedHead { fields: kept, ..ReceivedHead::default() };
    const START: &[u8] = b"HTTP/1.";
    let seen = buffer.len().min(START.len());
    if buffer[..seen] != START[..seen] {
        return refuse(502, "the response does not begin with HTTP/1");
    }
    let Some(line_end) = line(buffer, 0)? else { return incomplete(buffer, limits) };
    let version = status_line(buffer, line_end, head)?;
    let mut at = line_end + 2;
    loop {
        let Some(end) = line(buffer, at)? else { return incomplete(buffer, limits) };
        if end == at {
            at += 2;
            break;
        }
        if limits.fields <= head.fields.len() {
            return refuse(502, "the response has too many fields");
        }
        if limits.field < end - at {
            return refuse(502, "a field of the response is too long");
        }
        head.fields.push(field_line(buffer, at, end)?);
        at = end + 2;
        if limits.head < at {
            return refuse(502, "the response's head is too long");
        }
    }
    understand(buffer, version, to_head, head)?;
    Ok(Some(at))
}

fn incomplete(buffer: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
    if limits.head < buffer.len() { refuse(502, "the response's head is too long") } else { Ok(None) }
}

/// `HTTP-version SP 3DIGIT SP [ reason-phrase ]` (RFC 9112 §4). The last space is left out by some, when no phrase follows.
fn status_line(buffer: &[u8], end: usize, head: &mut ReceivedHead) -> Result<Version, Refusal> {
    const CODE: usize = 9;
    const REASON: usize = 13;
    let version = match &buffer[..end] {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', ..] => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9', b' ', ..] => Version::Http11,
        _ => return refuse(502, "the response's version is not one of HTTP/1"),
    };
    let [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] = buffer.get(CODE..CODE + 3).unwrap_or_default() else {
        return refuse(502, "the response has no status");
    };
    head.status = buffer[CODE..CODE + 3].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let rest = &buffer[CODE + 3..end];
    if !rest.is_empty() && rest[0] != b' ' || !is_value(rest) {
        return refuse(502, "the response's status line is malformed");
    }
    head.reason = Span::new(REASON.min(end), end);
    Ok(version)
}

/// Settles framing and connection, once all fields are there.
fn understand(buffer: &[u8], version: Version, to_head: bool, head: &mut ReceivedHead) -> Result<(), Refusal> {
    let mut chunked = false;
    let mut connection = None;
    let mut names_fields = false;
    for field in &head.fields {
        let value = field.value.of(buffer);
        match field.kind {
            FieldKind::ContentLength if head.length.is_some() => {
                return refuse(502, "the response has more than one Content-Length");
            }
            FieldKind::ContentLength => head.length = Some(fields::content_length(value)?),
            FieldKind::TransferEncoding if chunked => {
                return refuse(502, "the response has more than one Transfer-Encoding");
            }
            FieldKind::TransferEncoding => {
                fields::transfer_encoding(value)?;
                chunked = true;
            }
            FieldKind::Connection => names_fields |= fields::tokens(value, &mut connection)?,
            FieldKind::Other if field.name.of(buffer).eq_ignore_ascii_case(b"date") => head.has_date = true,
            _ => {}
        }
    }
    if names_fields {
        drop_named(buffer, head);
    }
    if chunked && head.length.is_some() {
        return refuse(502, "Content-Length and Transfer-Encoding of the response contradict each other");
    }
    let bodiless = to_head || matches!(head.status, 100..=199 | 204 | 304);
    head.body = match head.length {
        _ if bodiless => ReceivedBody::Framed(Framing::None),
        _ if chunked => ReceivedBody::Framed(Framing::Chunked),
        Some(length) => ReceivedBody::Framed(Framing::Length(length)),
        None => ReceivedBody::UntilClose,
    };
    head.keep_alive = match connection {
        _ if head.body == ReceivedBody::UntilClose => false,
        // What HTTP/1.0 means by a coding is anybody's guess (RFC 9112 §6.1).
        _ if chunked && version == Version::Http10 => false,
        Some(Persistence::Close) => false,
        Some(Persistence::KeepAlive) => true,
        None => version == Version::Http11,
    };
    Ok(())
}

/// Fields that Connection names end here (RFC 9110 §7.6.1); the framing is ours already, whatever it names.
fn drop_named(buffer: &[u8], head: &mut ReceivedHead) {
    let connections: Vec<_> =
        head.fields.iter().filter(|field| field.kind == FieldKind::Connection).map(|field| field.value).collect();
    let tokens = connections.iter().flat_map(|value| value.of(buffer).split(|byte| *byte == b','));
    for token in tokens.map(crate::bytes::trim) {
        for field in &mut head.fields {
            if fields::ends_when_named(field.kind) && field.name.of(buffer).eq_ignore_ascii_case(token) {
                field.kind = FieldKind::HopByHop;
            }
        }
    }
}

#[cfg(test)]
mod tests;
