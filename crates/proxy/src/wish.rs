//! What a request wishes of the balancing: where its key leads, or the node whose cookie it brings.
//!
//! Invariant: a cookie that names no node of the request's service says nothing. Where nothing is configured, nothing is looked for.

use std::{io::Write, net::IpAddr};

use config::HashOn;
use http::{RequestHead, Scheme};
use policy::{Mark, Wish, WorkerId, hash_key};

use crate::{connection::Connection, request::Request};

/// What the request wishes.
pub(crate) fn of(connection: &Connection, request: &Request<'_>) -> Wish {
    let settings = connection.thread.settings();
    let key = settings.hash_on.as_ref().and_then(|hash_on| key(hash_on, connection, request));
    let mark = request.cookie.and_then(|name| mark(name, request.head, &connection.input));
    Wish { key, mark }
}

/// `None` where the request does not have what decides.
fn key(hash_on: &HashOn, connection: &Connection, request: &Request<'_>) -> Option<u64> {
    let (head, input) = (request.head, connection.input.as_slice());
    let bytes = match hash_on {
        HashOn::Client => {
            let client = request.told.as_ref().map_or(connection.peer.ip, |told| told.address);
            return Some(match client? {
                IpAddr::V4(ip) => hash_key(&ip.octets()),
                IpAddr::V6(ip) => hash_key(&ip.octets()),
            });
        }
        HashOn::Path => head.path.of(input),
        HashOn::Uri => head.target.of(input),
        HashOn::Header(name) => fields(head, input, name.as_bytes()).next()?,
        HashOn::Cookie(name) => cookie(head, input, name)?,
    };
    (!bytes.is_empty()).then(|| hash_key(bytes))
}

fn mark(name: &str, head: &RequestHead, input: &[u8]) -> Option<Mark> {
    let value = std::str::from_utf8(cookie(head, input, name)?).ok()?;
    // As it is written below, and in no other way.
    let is_ours = value.len() == 32 && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(value, 16).ok().filter(|_| is_ours).map(Mark)
}

fn fields<'i>(head: &'i RequestHead, input: &'i [u8], name: &'i [u8]) -> impl Iterator<Item = &'i [u8]> {
    let named = head.fields.iter().filter(move |field| field.name.of(input).eq_ignore_ascii_case(name));
    named.map(|field| field.value.of(input))
}

/// The value of a cookie (RFC 6265 §4.2.1); the first, if there are several.
fn cookie<'i>(head: &'i RequestHead, input: &'i [u8], name: &str) -> Option<&'i [u8]> {
    let pairs = fields(head, input, b"cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Appends the cookie by which the client comes back to the node of this worker, unless it has brought it.
pub(crate) fn write_cookie(connection: &Connection, request: &Request<'_>, worker: WorkerId, out: &mut Vec<u8>) {
    let (Some(name), Some(way)) = (request.cookie, request.way) else { return };
    let Some(known) = way.shared().mark(worker) else { return };
    if mark(name, request.head, &connection.input) == Some(known) {
        return;
    }
    let secure = if request.scheme(&connection.peer) == Scheme::Https { "; Secure" } else { "" };
    // Writing to memory cannot fail.
    let _ = write!(out, "Set-Cookie: {name}={:032x}; Path=/; HttpOnly; SameSite=Lax{secure}\r\n", known.0);
}
