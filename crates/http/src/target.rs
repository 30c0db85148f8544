//! The request target (RFC 9112 §3.2) and the host.

use crate::{
    bytes::{HOST, TARGET, all},
    head::{Refusal, RequestHead, Span, refuse},
};

/// Splits the target at `start..end` into path and query, and refuses what could be read in two ways.
pub(crate) fn understand(buffer: &[u8], start: usize, end: usize, head: &mut RequestHead) -> Result<(), Refusal> {
    let target = &buffer[start..end];
    if target.is_empty() || !all(target, &TARGET) {
        return refuse(400, "the target holds a character that is not allowed there");
    }
    head.target = Span::new(start, end);
    let path_start = match target {
        [b'/', ..] => start,
        b"*" if head.method.of(buffer) == b"OPTIONS" => {
            head.is_asterisk = true;
            head.path = head.target;
            return Ok(());
        }
        _ => match scheme_len(target) {
            Some(length) => {
                let rest = &target[length..];
                let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
                if !is_host(&rest[..authority]) {
                    return refuse(400, "the target's host is not valid");
                }
                let after = start + length + authority;
                if after == end && head.method.of(buffer) == b"OPTIONS" {
                    // What a proxy would pass on as `*` (RFC 9112 §3.2.4).
                    head.is_asterisk = true;
                }
                after
            }
            None => return refuse(400, "the target is neither a path nor an http URL"),
        },
    };
    let rest = &buffer[path_start..end];
    let path_end = memchr::memchr(b'?', rest).map_or(end, |at| path_start + at);
    head.path = Span::new(path_start, path_end);
    head.query = if path_end < end { Span::new(path_end + 1, end) } else { Span::default() };
    check_path(head.path.of(buffer))
}

fn scheme_len(target: &[u8]) -> Option<usize> {
    let is = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    [&b"http://"[..], b"https://"].into_iter().find(|scheme| is(scheme)).map(<[u8]>::len)
}

/// The host of an absolute target (RFC 9112 §3.2.2).
pub(crate) fn authority(buffer: &[u8], head: &RequestHead) -> Option<Span> {
    let target = head.target.of(buffer);
    let length = scheme_len(target)?;
    let rest = &target[length..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let start = head.target.start as usize + length;
    Some(Span::new(start, start + end))
}

/// Whether the Host field names the host of the absolute target; either may leave out the port that the scheme implies
/// (RFC 9110 §4.2.3).
pub(crate) fn is_same_host(buffer: &[u8], head: &RequestHead, host: Span, authority: Span) -> bool {
    let secure = scheme_len(head.target.of(buffer)) == Some(b"https://".len());
    let implied: &[u8] = if secure { b":443" } else { b":80" };
    let bare = |span: Span| {
        let text = span.of(buffer);
        text.strip_suffix(implied).or_else(|| text.strip_suffix(b":")).unwrap_or(text)
    };
    bare(host).eq_ignore_ascii_case(bare(authority))
}

/// Escapes must be whole, NUL is in no path, and `..` must not climb above the root (RFC 3986 §5.2.4).
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    if !path.contains(&b'%') && memchr::memmem::find(path, b"..").is_none() {
        return Ok(());
    }
    let mut depth = 0i32;
    let mut segment: [u8; 3] = [0; 3];
    let mut length = 0usize;
    let mut at = 0;
    while at <= path.len() {
        let (byte, width) = match path.get(at) {
            None => (b'/', 1),
            Some(b'%') => match path.get(at + 1..at + 3).and_then(|digits| Some((hex(digits[0])?, hex(digits[1])?))) {
                Some((0, 0)) => return refuse(400, "the path holds an escaped NUL"),
                // An escaped slash is not a separator here, but an application may take it for one.
                Some((high, low)) => (high << 4 | low, 3),
                None => return refuse(400, "the path holds a broken escape"),
            },
            Some(byte) => (*byte, 1),
        };
        if byte == b'/' {
            match &segment[..length.min(3)] {
                b".." => depth -= 1,
                b"" | b"." => {}
                _ => depth += 1,
            }
            if depth < 0 {
                return refuse(400, "the path climbs above the root");
            }
            length = 0;
        } else {
            if length < 3 {
                segment[length] = byte;
            }
            length += 1;
        }
        at += width;
    }
    Ok(())
}

pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2).
pub(crate) fn is_host(text: &[u8]) -> bool {
    let (is_valid, port) = match text {
        [b'[', rest @ ..] => {
            let Some(close) = memchr::memchr(b']', rest) else { return false };
            (is_ipv6(&rest[..close]), &rest[close + 1..])
        }
        _ => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            (is_name(&text[..end]), &text[end..])
        }
    };
    is_valid && is_port(port)
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// `reg-name` (RFC 3986 §3.2.2), which IPv4 addresses are too; not empty (RFC 9110 §4.2.1).
fn is_name(text: &[u8]) -> bool {
    let mut escapes = text.split(|byte| *byte == b'%').skip(1);
    let is_whole = |escape: &[u8]| escape.get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    !text.is_empty() && all(text, &HOST) && escapes.all(is_whole)
}

/// Nothing, or a colon and a number that a port can have (RFC 3986 §3.2.3 lets the number be absent).
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
            number.is_some_and(|number| number.parse::<u16>().is_ok())
        }
        _ => false,
    }
}
