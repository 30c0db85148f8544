//! Status line, fields and framing of a response (RFC 9112 §4, §6).

use crate::head::Version;

/// How a response's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none, whatever the fields say.
    NoBody,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// By the end of the connection: length unknown, and the client knows no chunks.
    UntilClose,
}

/// The framing of a response, and the Content-Length to send if any (RFC 9112 §6.3, RFC 9110 §8.6). `length` is what the
/// application has announced, or what is known because the response is complete.
pub fn response_framing(
    status: u16,
    request_is_head: bool,
    version: Version,
    length: Option<u64>,
) -> (ResponseFraming, Option<u64>) {
    match (status, length) {
        (100..=199 | 204, _) => (ResponseFraming::NoBody, None),
        // RFC 9110 §15.3.6: it has no content either, but says so in the ordinary way.
        (205, _) => (ResponseFraming::NoBody, Some(0)),
        (304, _) => (ResponseFraming::NoBody, length),
        _ if request_is_head => (ResponseFraming::NoBody, length),
        (_, Some(length)) => (ResponseFraming::Length(length), Some(length)),
        (_, None) if version == Version::Http10 => (ResponseFraming::UntilClose, None),
        (_, None) => (ResponseFraming::Chunked, None),
    }
}

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the status line. An empty `reason` is replaced by the usual one. We speak 1.1 to everybody (RFC 9110 §6.2).
pub fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let digit = |scale: u16| b'0' + u8::try_from(status / scale % 10).expect("a digit");
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(if reason.is_empty() { reason_phrase(status).as_bytes() } else { reason });
    out.extend_from_slice(b"\r\n");
}

/// Appends a field line; name and value have to be valid.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends ready field lines without those that have one of `names`.
pub fn write_fields_without(out: &mut Vec<u8>, lines: &[u8], names: &[&[u8]]) {
    let has =
        |line: &[u8], name: &[u8]| line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name);
    let (mut written, mut at) = (0, 0);
    while at < lines.len() {
        let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |found| at + found + 1);
        if names.iter().any(|name| has(&lines[at..end], name)) {
            out.extend_from_slice(&lines[written..at]);
            written = end;
        }
        at = end;
    }
    out.extend_from_slice(&lines[written..]);
}

/// Appends a Content-Length.
pub fn write_content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    let mut digits = [0; 20];
    out.extend_from_slice(format_number(length, 10, &mut digits));
    out.extend_from_slice(b"\r\n");
}

/// Appends what stands before a chunk of `length` bytes, which must not be 0.
pub fn write_chunk_head(out: &mut Vec<u8>, length: usize) {
    let mut digits = [0; 20];
    out.extend_from_slice(format_number(length as u64, 16, &mut digits));
    out.extend_from_slice(b"\r\n");
}

fn format_number(mut number: u64, base: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[usize::try_from(number % base).expect("below the base")];
        number /= base;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// The usual reason phrase (RFC 9110 §15).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // The phrase carries nothing (RFC 9112 §4); the space before it stays.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_follows_status_method_and_version() {
        use ResponseFraming::{Chunked, Length, NoBody, UntilClose};
        use Version::{Http10, Http11};
        for (status, head, version, length, expected) in [
            (200, false, Http11, Some(5), (Length(5), Some(5))),
            (200, false, Http11, None, (Chunked, None)),
            (200, false, Http10, None, (UntilClose, None)),
            (200, true, Http11, Some(5), (NoBody, Some(5))),
            (200, true, Http11, None, (NoBody, None)),
            (204, false, Http11, Some(5), (NoBody, None)),
            (205, false, Http11, Some(5), (NoBody, Some(0))),
            (205, false, Http11, None, (NoBody, Some(0))),
            (205, true, Http10, None, (NoBody, Some(0))),
            (304, false, Http11, Some(5), (NoBody, Some(5))),
            (304, false, Http11, None, (NoBody, None)),
        ] {
            assert_eq!(
                response_framing(status, head, version, length),
                expected,
                "{status} {head} {version:?} {length:?}"
            );
        }
    }

    #[test]
    fn fields_can_be_left_out() {
        for (lines, expected) in [
            ("", ""),
            ("A: 1\r\nX-B: 2\r\n", "A: 1\r\n"),
            ("x-b: 1\r\nX-b:2\r\nX-BB: 3\r\nC: X-B: 4\r\nX: 5\r\n", "X-BB: 3\r\nC: X-B: 4\r\nX: 5\r\n"),
        ] {
            let mut out = Vec::new();
            write_fields_without(&mut out, lines.as_bytes(), &[b"x-b", b"y"]);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{lines:?}");
        }
    }

    #[test]
    fn lines_are_written_as_they_are_read() {
        let mut out = Vec::new();
        write_status_line(&mut out, 404, b"");
        write_status_line(&mut out, 200, b"Fine");
        write_status_line(&mut out, 599, b"");
        write_field(&mut out, b"A", b"b");
        write_content_length(&mut out, 0);
        write_content_length(&mut out, u64::MAX);
        write_chunk_head(&mut out, 0x1f40);
        let expected = "HTTP/1.1 404 Not Found\r\nHTTP/1.1 200 Fine\r\nHTTP/1.1 599 \r\nA: b\r\nContent-Length: 0\r\n\
                        Content-Length: 18446744073709551615\r\n1f40\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
