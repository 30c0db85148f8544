//! What the fields mean for framing and connection.

use crate::{
    bytes::{TOKEN, all, trim},
    head::{FieldKind, Framing, Refusal, RequestHead, Version, refuse},
    target,
};

/// Sorts a field by its name.
pub(crate) fn kind_of(name: &[u8]) -> FieldKind {
    use FieldKind::{
        Connection, ContentLength, Expect, Forwarding, HopByHop, Host, Other, Proxy, RequestId, TraceParent,
        TraceState, TransferEncoding, Underscore,
    };
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let kind = match name.len() {
        2 if is("te") => HopByHop,
        4 if is("host") => Host,
        5 if is("proxy") => Proxy,
        6 if is("expect") => Expect,
        7 if is("upgrade") || is("trailer") => HopByHop,
        9 if is("forwarded") || is("x-real-ip") => Forwarding,
        10 if is("connection") => Connection,
        10 if is("keep-alive") => HopByHop,
        10 if is("tracestate") => TraceState,
        11 if is("traceparent") => TraceParent,
        12 if is("x-request-id") => RequestId,
        14 if is("content-length") => ContentLength,
        16 if is("proxy-connection") => HopByHop,
        17 if is("transfer-encoding") => TransferEncoding,
        _ if name.len() > 12 && name[..12].eq_ignore_ascii_case(b"x-forwarded-") => Forwarding,
        _ => Other,
    };
    if kind == Other && name.contains(&b'_') { Underscore } else { kind }
}

/// Whether a name with `_` is, to servers that make variables of fields, that of a field which the edge writes or removes.
pub fn could_be_taken_for_ours(name: &[u8]) -> bool {
    let name: Vec<_> = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
    kind_of(&name) != FieldKind::Other
}

/// Settles framing, host and connection, once all fields are there.
pub(crate) fn understand(buffer: &[u8], head: &mut RequestHead) -> Result<(), Refusal> {
    let mut length = None;
    let mut chunked = false;
    let mut connection = None;
    let mut names_fields = false;
    for at in 0..head.fields.len() {
        let field = head.fields[at];
        let value = field.value.of(buffer);
        match field.kind {
            FieldKind::Host => {
                if head.host.replace(field.value).is_some() {
                    return refuse(400, "there is more than one Host");
                }
                let absent = value.is_empty() && head.version == Version::Http10;
                if !absent && !target::is_host(value) {
                    return refuse(400, "the Host is not valid");
                }
            }
            FieldKind::ContentLength if length.is_some() => {
                return refuse(400, "there is more than one Content-Length");
            }
            FieldKind::ContentLength => length = Some(content_length(value)?),
            FieldKind::TransferEncoding => {
                if std::mem::replace(&mut chunked, true) {
                    return refuse(400, "there is more than one Transfer-Encoding");
                }
                transfer_encoding(value)?;
            }
            FieldKind::Connection => names_fields |= tokens(value, &mut connection)?,
            FieldKind::Expect if value.eq_ignore_ascii_case(b"100-continue") => head.expects_continue = true,
            FieldKind::Expect => return refuse(417, "the expectation is unknown"),
            _ => {}
        }
    }
    if chunked && head.version == Version::Http10 {
        return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    }
    head.framing = match (length, chunked) {
        (Some(_), true) => return refuse(400, "Content-Length and Transfer-Encoding contradict each other"),
        (None, true) => Framing::Chunked,
        (Some(length), false) => Framing::Length(length),
        (None, false) => Framing::None,
    };
    // HTTP/1.0 knows no interim responses, and without a body there is nothing to wait for (RFC 9110 §10.1.1).
    head.expects_continue &=
        head.version == Version::Http11 && !matches!(head.framing, Framing::None | Framing::Length(0));
    match (head.host, target::authority(buffer, head)) {
        (None, _) if head.version == Version::Http11 => return refuse(400, "there is no Host"),
        (Some(host), Some(authority)) if !host.is_empty() && !target::is_same_host(buffer, head, host, authority) => {
            return refuse(400, "the Host is not that of the target");
        }
        // RFC 9112 §3.2.2: the target's counts.
        (_, Some(authority)) => head.host = Some(authority),
        _ => {}
    }
    // RFC 9112 §9.3.
    head.keep_alive = match connection {
        Some(Persistence::Close) => false,
        Some(Persistence::KeepAlive) => true,
        None => head.version == Version::Http11,
    };
    if names_fields {
        mark_named(buffer, head)?;
    }
    Ok(())
}

/// `1*DIGIT` (RFC 9110 §8.6).
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let number =
        std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match number.map(str::parse::<u64>) {
        Some(Ok(length)) if length <= i64::MAX as u64 => Ok(length),
        _ => refuse(400, "the Content-Length is not a number"),
    }
}

/// `chunked` and nothing else (RFC 9112 §6.1, §7). Where it is the last of several, the body has an end and only the other
/// codings are unknown; otherwise where the body ends is unknown too (§6.3).
pub(crate) fn transfer_encoding(value: &[u8]) -> Result<(), Refusal> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Ok(());
    }
    let mut codings = value.split(|byte| *byte == b',').map(trim);
    let last = codings.next_back().unwrap_or_default();
    if is_chunked(last) && codings.all(|coding| is_coding(coding) && !is_chunked(coding)) {
        return refuse(501, "the transfer coding is not served");
    }
    refuse(400, "the Transfer-Encoding does not end with chunked, once")
}

/// A name, perhaps with parameters, which are not looked at.
fn is_coding(text: &[u8]) -> bool {
    let name = trim(text.split(|byte| *byte == b';').next().unwrap_or(text));
    !name.is_empty() && all(name, &TOKEN)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    Close,
    KeepAlive,
}

/// Reads a Connection field; true when it names other fields. `close` wins over `keep-alive`.
pub(crate) fn tokens(value: &[u8], persistence: &mut Option<Persistence>) -> Result<bool, Refusal> {
    let mut names_fields = false;
    for token in value.split(|byte| *byte == b',').map(trim).filter(|token| !token.is_empty()) {
        if token.eq_ignore_ascii_case(b"close") {
            *persistence = Some(Persistence::Close);
        } else if token.eq_ignore_ascii_case(b"keep-alive") {
            persistence.get_or_insert(Persistence::KeepAlive);
        } else {
            names_fields = true;
        }
    }
    Ok(names_fields)
}

/// Whether Connection can say of such a field that it is for this connection only. All others are ours to judge.
pub(crate) fn ends_when_named(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::Other | FieldKind::Underscore | FieldKind::TraceState)
}

/// Fields that Connection names end here; those that we or the application rely on must not be named (a client could
/// make a proxy drop them).
pub(crate) fn mark_named(buffer: &[u8], head: &mut RequestHead) -> Result<(), Refusal> {
    for at in 0..head.fields.len() {
        if head.fields[at].kind != FieldKind::Connection {
            continue;
        }
        let value = head.fields[at].value;
        for token in value.of(buffer).split(|byte| *byte == b',').map(trim).filter(|token| !token.is_empty()) {
            let protected = [&b"cookie"[..], b"authorization"].iter().any(|name| token.eq_ignore_ascii_case(name));
            let kind = kind_of(token);
            if protected || matches!(kind, FieldKind::Host | FieldKind::ContentLength | FieldKind::Forwarding) {
                return refuse(400, "Connection names a field that is not its to name");
            }
            for field in &mut head.fields {
                if ends_when_named(field.kind) && field.name.of(buffer).eq_ignore_ascii_case(token) {
                    field.kind = FieldKind::HopByHop;
                }
            }
        }
    }
    Ok(())
}
