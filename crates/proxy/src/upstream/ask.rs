//! A request's head on its way to an upstream: what must not pass is left out, what only we know is added.
//!
//! Invariant: framing, connection and forwarding fields are ours; the rest passes as it came. `Via` is left out, as others do
//! that stand in front of servers: some of those stop to compress when they see it.

use http::{Field, FieldKind, Framing, Scheme};

use crate::{body::Upload, connection::Connection, request::Request};

/// Appends the head; the body follows.
pub(super) fn write(out: &mut Vec<u8>, connection: &Connection, request: &Request<'_>, upload: &Upload) {
    let (head, input) = (request.head, connection.input.as_slice());
    // A whole URL is for proxies that forward; its authority is in Host.
    let target = head.target.of(input);
    let from_path = (head.path.start.saturating_sub(head.target.start)) as usize;
    let has_path = !head.path.is_empty();
    let start = if has_path { target.get(from_path..).unwrap_or(target) } else { b"/".as_slice() };
    out.extend_from_slice(head.method.of(input));
    out.extend_from_slice(b" ");
    out.extend_from_slice(start);
    if !has_path && !head.query.is_empty() {
        out.extend_from_slice(b"?");
        out.extend_from_slice(head.query.of(input));
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = head.host.map_or(b"".as_slice(), |host| host.of(input));
    http::write_field(out, b"Host", host);
    for field in &head.fields {
        if passes(field, request, input) {
            http::write_field(out, field.name.of(input), field.value.of(input));
        }
    }
    forwarding(out, connection, request, host);
    http::write_field(out, b"X-Request-Id", request.id.as_bytes());
    match upload.framing() {
        Framing::None => {}
        Framing::Length(length) => http::write_content_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if upload.expects_continue() {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn passes(field: &Field, request: &Request<'_>, input: &[u8]) -> bool {
    match field.kind {
        FieldKind::Other => true,
        // Where `-` and `_` are the same it must not collide with what we say.
        FieldKind::Underscore => !http::could_be_taken_for_ours(field.name.of(input)),
        FieldKind::Forwarding => request.told.is_some() && !is_continued(field, input),
        _ => false,
    }
}

/// Lists that we continue.
const FOR: &[u8] = b"x-forwarded-for";
const FORWARDED: &[u8] = b"forwarded";

fn is_continued(field: &Field, input: &[u8]) -> bool {
    let name = field.name.of(input);
    name.eq_ignore_ascii_case(FOR) || name.eq_ignore_ascii_case(FORWARDED)
}

/// Who asks, how, and for which host: what trusted proxies have said is continued, everything else is replaced.
fn forwarding(out: &mut Vec<u8>, connection: &Connection, request: &Request<'_>, host: &[u8]) {
    let input = connection.input.as_slice();
    let peer = connection.peer.address.as_bytes();
    let given = |name: &'static [u8]| {
        let fields = request.told.iter().flat_map(|_| &request.head.fields);
        fields
            .filter(move |field| field.kind == FieldKind::Forwarding && field.name.of(input).eq_ignore_ascii_case(name))
            .map(|field| field.value.of(input))
            .filter(|value| !value.is_empty())
    };
    let ours = match connection.peer.ip {
        Some(ip) if request.told.is_some() && ip.is_ipv6() => format!("for=\"[{ip}]\""),
        Some(ip) if request.told.is_some() => format!("for={ip}"),
        None if request.told.is_some() => "for=unknown".to_owned(),
        _ => String::new(),
    };
    let client = request.told.as_ref().map(|told| told.text.as_bytes()).filter(|client| *client != peer);
    let mut addresses = given(FOR).peekable();
    // One that only says `Forwarded`, or speaks uwsgi, has named the client all the same.
    let client = if addresses.peek().is_none() { client } else { None };
    let peer = Some(peer).filter(|peer| !peer.is_empty());
    write_list(out, b"X-Forwarded-For", addresses.chain(client.filter(|client| !client.is_empty())).chain(peer));
    if given(FORWARDED).next().is_some() {
        write_list(out, b"Forwarded", given(FORWARDED).chain(std::iter::once(ours.as_bytes())));
    }
    if given(b"x-forwarded-proto").next().is_none() {
        let https = request.told.as_ref().is_some_and(|told| told.scheme == Scheme::Https);
        http::write_field(out, b"X-Forwarded-Proto", if https { b"https" } else { b"http" });
    }
    if given(b"x-forwarded-host").next().is_none() && !host.is_empty() {
        http::write_field(out, b"X-Forwarded-Host", host);
    }
}

fn write_list<'v>(out: &mut Vec<u8>, name: &[u8], values: impl Iterator<Item = &'v [u8]>) {
    let mut any = false;
    for value in values {
        if any {
            out.extend_from_slice(b", ");
        } else {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            any = true;
        }
        out.extend_from_slice(value);
    }
    if any {
        out.extend_from_slice(b"\r\n");
    }
}
