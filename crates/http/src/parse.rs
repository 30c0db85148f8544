//! Bytes to head, or the reason to refuse. One pass per line.

use crate::{
    bytes::{TOKEN, all, is_space, is_value, trimmed},
    fields,
    head::{Field, Limits, METHOD_MAX, Refusal, RequestHead, Span, Version, refuse},
    target,
};

/// Remembers how far a growing buffer was looked through for the end of the head, so that a slow sender costs one look
/// per byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    looked: usize,
}

impl HeadScan {
    /// Whether it is time to parse: an empty line has come, the first line can be refused already, or the head is too
    /// long.
    pub fn may_be_complete(&mut self, buffer: &[u8], limits: &Limits) -> bool {
        let from = self.looked.saturating_sub(3);
        self.looked = buffer.len();
        limits.head < buffer.len()
            || memchr::memmem::find(&buffer[from..], b"\n\r\n").is_some()
            || memchr::memmem::find(&buffer[from..], b"\n\n").is_some()
            || starts_wrong(buffer)
    }
}

/// What no amount of further bytes would turn into HTTP: a TLS handshake, another protocol, binary data.
fn starts_wrong(buffer: &[u8]) -> bool {
    let start = buffer.strip_prefix(b"\r\n").unwrap_or(buffer);
    start.first().is_some_and(|byte| *byte != b'\r' && !TOKEN[usize::from(*byte)])
}

/// Whether what begins in `buffer` is a HEAD request, however wrong the rest of it is: its answer has no content.
pub fn asks_for_head(buffer: &[u8]) -> bool {
    buffer.strip_prefix(b"\r\n").unwrap_or(buffer).starts_with(b"HEAD ")
}

/// Reads one head from the beginning of `buffer`. `Ok(Some(n))`: it takes `n` bytes. `Ok(None)`: more bytes are needed.
pub fn parse_request(buffer: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Option<usize>, Refusal> {
    head.clear();
    // At most one empty line before a request (RFC 9112 §2.2).
    let start = if buffer.starts_with(b"\r\n") { 2 } else { 0 };
    if starts_wrong(buffer) {
        return refuse(400, "the request does not begin with a method");
    }
    let Some(line_end) = line(buffer, start)? else { return incomplete(buffer, limits, start) };
    request_line(buffer, start, line_end, limits, head)?;
    let mut at = line_end + 2;
    loop {
        let Some(end) = line(buffer, at)? else { return incomplete(buffer, limits, start) };
        if end == at {
            at += 2;
            break;
        }
        if limits.fields <= head.fields.len() {
            return refuse(431, "too many fields");
        }
        if limits.field < end - at {
            return refuse(431, "a field is too long");
        }
        let field = field_line(buffer, at, end)?;
        head.fields.push(field);
        at = end + 2;
        if limits.head < at {
            return refuse(431, "the head is too long");
        }
    }
    fields::understand(buffer, head)?;
    Ok(Some(at))
}

fn incomplete(buffer: &[u8], limits: &Limits, start: usize) -> Result<Option<usize>, Refusal> {
    let first_line_open = memchr::memchr(b'\n', &buffer[start..]).is_none();
    if first_line_open && limits.target + METHOD_MAX + 16 < buffer.len() {
        return refuse(414, "the target is too long");
    }
    if limits.head < buffer.len() {
        return refuse(431, "the head is too long");
    }
    Ok(None)
}

/// Where the line from `start` ends. Only CRLF ends a line; a bare LF or CR is refused (RFC 9112 §2.2 lets us).
pub(crate) fn line(buffer: &[u8], start: usize) -> Result<Option<usize>, Refusal> {
    let Some(found) = memchr::memchr2(b'\r', b'\n', &buffer[start..]) else { return Ok(None) };
    let at = start + found;
    match (buffer[at], buffer.get(at + 1)) {
        (b'\r', Some(b'\n')) => Ok(Some(at)),
        (b'\r', None) => Ok(None),
        (b'\r', Some(_)) => refuse(400, "a carriage return stands alone"),
        _ => refuse(400, "a line ends without a carriage return"),
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 §3), with exactly these spaces.
fn request_line(
    buffer: &[u8],
    start: usize,
    end: usize,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<(), Refusal> {
    let text = &buffer[start..end];
    let Some(first) = memchr::memchr(b' ', text) else { return refuse(400, "the request line has no target") };
    let method = &text[..first];
    if method.is_empty() || !all(method, &TOKEN) {
        return refuse(400, "the method is not a token");
    }
    if METHOD_MAX < method.len() {
        return refuse(501, "the method is unknown");
    }
    let Some(second) = memchr::memchr(b' ', &text[first + 1..]) else {
        return refuse(400, "the request line has no version");
    };
    if method == b"PRI" {
        return refuse(400, "HTTP/2 is not spoken here");
    }
    let (target_start, target_end) = (start + first + 1, start + first + 1 + second);
    head.version = version(&buffer[target_end + 1..end])?;
    if limits.target < target_end - target_start {
        return refuse(414, "the target is too long");
    }
    if matches!(method, b"CONNECT" | b"TRACE") {
        return refuse(405, "the method is not served");
    }
    head.method = Span::new(start, start + first);
    head.is_head = method == b"HEAD";
    target::understand(buffer, target_start, target_end, head)
}

/// `HTTP/1.1` (RFC 9112 §2.3).
fn version(text: &[u8]) -> Result<Version, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', b'.', b'0'..=b'9'] => refuse(505, "the version is not served"),
        _ => refuse(400, "the version is not one of HTTP"),
    }
}

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5). A space before the colon and a folded line are refused (§5.1, §5.2).
pub(crate) fn field_line(buffer: &[u8], start: usize, end: usize) -> Result<Field, Refusal> {
    let text = &buffer[start..end];
    if is_space(text[0]) {
        return refuse(400, "a line begins with white space");
    }
    let Some(colon) = memchr::memchr(b':', text) else { return refuse(400, "a field has no colon") };
    let name = &text[..colon];
    if name.is_empty() || !all(name, &TOKEN) {
        return refuse(400, "a field's name is not a token");
    }
    let value = &text[colon + 1..];
    if !is_value(value) {
        return refuse(400, "a field's value holds a control character");
    }
    let (value_start, value_end) = trimmed(value);
    let base = start + colon + 1;
    Ok(Field {
        name: Span::new(start, start + colon),
        value: Span::new(base + value_start, base + value_end),
        kind: fields::kind_of(name),
    })
}

#[cfg(test)]
mod tests;
