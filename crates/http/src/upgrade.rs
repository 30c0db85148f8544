//! Leaving HTTP for WebSocket on the same connection (RFC 9110 §7.8, RFC 6455 §4).
//!
//! Only `websocket` passes. What follows a switch are bytes that nobody here reads, so that a protocol which carries requests
//! itself (`h2c`, `HTTP/2.0`, `TLS/1.0`) would bring them past the rules of all routes; and there is no other protocol to which
//! clients of web applications switch by a GET. An offer that is left out counts as declined, and the answer is ordinary HTTP.
//!
//! Invariant: both sides have said that they leave HTTP, and for what, before a byte is taken for anything else.

use crate::head::{Field, FieldKind, Framing, Refusal, RequestHead, Version, refuse};
use crate::received::ReceivedHead;

/// Whether a request offers to go on in WebSocket, in a form in which the offer can be passed on.
pub fn asks_for_websocket(head: &RequestHead, buffer: &[u8]) -> bool {
    let offers = || lists(&head.fields, b"upgrade", buffer).any(is_websocket);
    // Whatever is offered in HTTP/1.0 is to be ignored, and a body would lie between the two protocols.
    head.version == Version::Http11
        && head.gateway.is_none()
        && matches!(head.framing, Framing::None | Framing::Length(0))
        && offers()
        && head.method.of(buffer) == b"GET"
        && names_upgrade(&head.fields, buffer)
        && values(&head.fields, b"sec-websocket-key", buffer).count() == 1
}

/// Whether a response with status 101 is the answer to such a request.
pub fn switches_to_websocket(head: &ReceivedHead, buffer: &[u8]) -> Result<(), Refusal> {
    let mut protocols = lists(&head.fields, b"upgrade", buffer);
    if !protocols.next().is_some_and(is_websocket) || protocols.next().is_some() {
        return refuse(502, "it switches to another protocol than websocket");
    }
    if !names_upgrade(&head.fields, buffer) {
        return refuse(502, "it switches protocols without `Connection: upgrade`");
    }
    let mut accepted = values(&head.fields, b"sec-websocket-accept", buffer);
    if accepted.next().is_none_or(<[u8]>::is_empty) || accepted.next().is_some() {
        return refuse(502, "it switches to websocket without one Sec-WebSocket-Accept");
    }
    Ok(())
}

fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}

fn names_upgrade(fields: &[Field], buffer: &[u8]) -> bool {
    lists(fields, b"connection", buffer).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// The elements of all fields of this name (RFC 9110 §5.6.1).
fn lists<'a>(fields: &'a [Field], name: &'static [u8], buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let own = |kind| matches!(kind, FieldKind::Connection | FieldKind::HopByHop);
    let named = fields.iter().filter(move |field| own(field.kind) && is_named(field, name, buffer));
    let elements = named.flat_map(|field| field.value.of(buffer).split(|byte| *byte == b','));
    elements.map(crate::bytes::trim).filter(|element| !element.is_empty())
}

/// The values of all fields of this name that are not for this connection only.
fn values<'a>(fields: &'a [Field], name: &'static [u8], buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let passing = fields.iter().filter(|field| field.kind == FieldKind::Other);
    passing.filter(move |field| is_named(field, name, buffer)).map(|field| field.value.of(buffer))
}

fn is_named(field: &Field, name: &[u8], buffer: &[u8]) -> bool {
    field.name.of(buffer).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse_request, parse_response};

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    #[test]
    fn an_offer_is_passed_on_if_it_is_whole() {
        let asks = |line: &str, fields: &str| {
            let text = format!("{line}\r\nHost: a\r\n{fields}\r\n");
            let mut head = RequestHead::default();
            parse_request(text.as_bytes(), &Limits::default(), &mut head).unwrap().unwrap();
            asks_for_websocket(&head, text.as_bytes())
        };
        let get = "GET / HTTP/1.1";
        let usual = format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{KEY}");
        for (line, fields, expected) in [
            (get, usual.clone(), true),
            (get, format!("{usual}Content-Length: 0\r\n"), true),
            (get, format!("Upgrade: h2c, WebSocket\r\nConnection: keep-alive, upgrade\r\n{KEY}"), true),
            (get, format!("Upgrade: x\r\nUpgrade: websocket\r\nConnection: a\r\nConnection: Upgrade\r\n{KEY}"), true),
            ("POST / HTTP/1.1", usual.clone(), false),
            ("GET / HTTP/1.0", usual.clone(), false),
            (get, format!("{usual}Content-Length: 1\r\n"), false),
            (get, format!("{usual}Transfer-Encoding: chunked\r\n"), false),
            (get, format!("Upgrade: websocket\r\n{KEY}"), false),
            (get, format!("Connection: upgrade\r\n{KEY}"), false),
            (get, format!("Upgrade: h2c\r\nConnection: upgrade\r\n{KEY}"), false),
            (get, format!("Upgrade: websocket/13\r\nConnection: upgrade\r\n{KEY}"), false),
            (get, "Upgrade: websocket\r\nConnection: upgrade\r\n".to_owned(), false),
            (get, format!("{usual}{KEY}"), false),
            (get, format!("Upgrade: websocket\r\nConnection: upgrade, sec-websocket-key\r\n{KEY}"), false),
        ] {
            assert_eq!(asks(line, &fields), expected, "{line} {fields}");
        }
    }

    #[test]
    fn a_switch_names_what_was_offered_and_has_accepted_it() {
        let switches = |fields: &str| {
            let text = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
            let mut head = ReceivedHead::default();
            parse_response(text.as_bytes(), &Limits::default(), false, &mut head).unwrap().unwrap();
            switches_to_websocket(&head, text.as_bytes()).is_ok()
        };
        let usual = format!("Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n{ACCEPT}");
        for (fields, expected) in [
            (usual.clone(), true),
            (format!("Upgrade: h2c\r\nConnection: upgrade\r\n{ACCEPT}"), false),
            (format!("Upgrade: websocket, h2c\r\nConnection: upgrade\r\n{ACCEPT}"), false),
            (format!("Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade\r\n{ACCEPT}"), false),
            (format!("Connection: upgrade\r\n{ACCEPT}"), false),
            (format!("Upgrade: websocket\r\n{ACCEPT}"), false),
            (format!("Upgrade: websocket\r\nConnection: close\r\n{ACCEPT}"), false),
            ("Upgrade: websocket\r\nConnection: upgrade\r\n".to_owned(), false),
            ("Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept:\r\n".to_owned(), false),
            (format!("{usual}{ACCEPT}"), false),
            (format!("Upgrade: websocket\r\nConnection: upgrade, Sec-WebSocket-Accept\r\n{ACCEPT}"), false),
        ] {
            assert_eq!(switches(&fields), expected, "{fields}");
        }
    }
}
