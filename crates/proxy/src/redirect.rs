//! Plain requests are sent to https, where that is wanted.
//!
//! Invariant: a request that came through TLS, here or before a trusted proxy, is never sent away; nor is what proves to an
//! authority whose host this is.

use config::Protocol;
use http::Scheme;
use units::{Cause, Ending, Phase};

use crate::{connection::Connection, request::Request};

/// Where authorities look before there is a certificate (RFC 8555 §8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

const HTTPS: u16 = 443;

/// The port that the client is to be sent to, if it is.
pub(crate) fn wanted(connection: &Connection, request: &Request<'_>) -> Option<u16> {
    let port = connection.thread.settings().https_redirect?;
    let peer = &connection.peer;
    let plain = peer.entry.protocol == Protocol::Http && request.scheme(peer) == Scheme::Http;
    let stays = request.head.is_asterisk || request.head.path.of(&connection.input).starts_with(CHALLENGES);
    (plain && !stays).then_some(port)
}

/// The same resource in https. A request without a host cannot be sent anywhere.
pub(crate) fn location(connection: &Connection, request: &Request<'_>, port: u16) -> Result<Vec<u8>, Ending> {
    let input = &connection.input;
    let host = request.told.as_ref().and_then(|told| told.host).or(request.head.host);
    let host = without_port(host.map_or(b"", |host| host.of(input)));
    if host.is_empty() {
        return Err(Ending::new(Cause::HttpProtocolError(400), Phase::ReadHead));
    }
    let mut location = [b"https://", host].concat();
    if port != HTTPS {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(request.head.path.of(input));
    let query = request.head.query.of(input);
    if !query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    Ok(location)
}

/// `a.example:80` and `[::1]:80` without the port.
fn without_port(host: &[u8]) -> &[u8] {
    let end = match host.iter().position(|byte| *byte == b']') {
        Some(bracket) => bracket + 1,
        None => host.iter().position(|byte| *byte == b':').unwrap_or(host.len()),
    };
    &host[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        for (host, expected) in [
            ("a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(without_port(host.as_bytes()), expected.as_bytes());
        }
    }
}
