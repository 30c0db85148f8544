//! Who the client is: the peer of the connection, or whom a proxy that is trusted names in its place.
//!
//! Invariant: nothing is believed of a peer that is not trusted. A gateway that speaks uwsgi is, by where it could connect to;
//! when the client that it names is a trusted proxy in its turn, so is what that one says.

use std::net::IpAddr;

use config::TrustedProxies;
use http::{FieldKind, Gateway, RequestHead, Scheme, Span};
use units::RequestId;

use crate::connection::Peer;

/// The client as a trusted peer describes it.
#[derive(Debug)]
pub(crate) struct Told {
    /// `None` for a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// The same as text; empty for a Unix socket.
    pub(crate) text: String,
    /// 0 when it is not known.
    pub(crate) port: u16,
    pub(crate) scheme: Scheme,
    /// In place of the Host field.
    pub(crate) host: Option<Span>,
}

/// What is told of the client by a peer that is trusted; `None` when it is not, which costs nothing where nobody is.
pub(crate) fn told(peer: &Peer, trusted: &TrustedProxies, head: &RequestHead, input: &[u8]) -> Option<Told> {
    let mut told = match &head.gateway {
        Some(gateway) => match by_gateway(peer, gateway, input) {
            Some(told) => told,
            None => return Some(Told { scheme: gateway.scheme, ..Told::new(peer.ip, peer.port) }),
        },
        None if trusted.is_empty() || !trusted.contains(peer.ip) => return None,
        None => Told { scheme: peer.scheme, ..Told::new(peer.ip, peer.port) },
    };
    if trusted.contains(told.address) {
        let forwarded = http::forwarded(input, head, |address| trusted.contains(address));
        let scheme = forwarded.scheme.unwrap_or(told.scheme);
        if let Some(client) = forwarded.client {
            told = Told::new(client.address, client.port);
        }
        (told.scheme, told.host) = (scheme, forwarded.host);
    }
    Some(told)
}

/// `None`: what is given as the client's address is none, so that nobody knows whether that client is to be trusted.
fn by_gateway(peer: &Peer, gateway: &Gateway, input: &[u8]) -> Option<Told> {
    let text = |span: Span| std::str::from_utf8(span.of(input)).unwrap_or_default();
    let address = match gateway.client.of(input) {
        b"" => peer.ip,
        // nginx's own client came through a Unix socket.
        b"unix:" => None,
        _ => Some(text(gateway.client).parse::<IpAddr>().ok()?.to_canonical()),
    };
    let port = text(gateway.client_port).parse().unwrap_or(0);
    Some(Told { scheme: gateway.scheme, ..Told::new(address, port) })
}

/// The name that a trusted peer gives to the request, when it has the form of one.
pub(crate) fn request_id(head: &RequestHead, input: &[u8]) -> Option<RequestId> {
    let mut given = head.fields.iter().filter(|field| field.kind == FieldKind::RequestId);
    match (given.next(), given.next()) {
        (Some(field), None) => RequestId::parse(field.value.of(input)),
        _ => None,
    }
}

impl Told {
    fn new(address: Option<IpAddr>, port: u16) -> Self {
        let text = address.map(|address| address.to_string()).unwrap_or_default();
        Self { address, text, port, scheme: Scheme::Http, host: None }
    }
}

#[cfg(test)]
mod tests {
    use config::Protocol;

    use super::*;
    use crate::listener::Entry;

    fn trusted() -> TrustedProxies {
        let mut trusted = TrustedProxies::default();
        ["127.0.0.1", "10.0.0.0/8", "unix"].iter().for_each(|text| trusted.add(text).unwrap());
        trusted
    }

    fn packet(variables: &[(&str, &str)]) -> Vec<u8> {
        let usual = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/"), ("HTTP_X_FORWARDED_FOR", "192.0.2.9")];
        let mut block = Vec::new();
        for text in usual.iter().chain(variables).flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let [low, high] = u16::try_from(block.len()).unwrap().to_le_bytes();
        [vec![0, low, high, 0], block].concat()
    }

    #[test]
    fn a_gateway_is_believed_and_whom_it_names_if_that_is_a_trusted_proxy() {
        let entry = Entry { number: 0, protocol: Protocol::Uwsgi };
        let peer = Peer {
            ip: "127.0.0.1".parse().ok(),
            address: "127.0.0.1".to_owned(),
            port: 1,
            scheme: Scheme::Http,
            entry,
            share: None,
        };
        for (given, expected) in [
            (&[("REMOTE_ADDR", "192.0.2.1"), ("REMOTE_PORT", "82")][..], ("192.0.2.1", 82)),
            (&[("REMOTE_ADDR", "::ffff:192.0.2.1")], ("192.0.2.1", 0)),
            (&[("REMOTE_ADDR", "10.0.0.1"), ("REMOTE_PORT", "82")], ("192.0.2.9", 0)),
            (&[("REMOTE_ADDR", "unix:")], ("192.0.2.9", 0)),
            (&[], ("192.0.2.9", 0)),
            (&[("REMOTE_ADDR", "10.0.0.1, 192.0.2.1"), ("REMOTE_PORT", "82")], ("127.0.0.1", 1)),
        ] {
            let mut input = packet(given);
            let mut head = RequestHead::default();
            http::parse_uwsgi(&mut input, &http::Limits::default(), &mut head).unwrap().unwrap();
            let told = told(&peer, &trusted(), &head, &input).unwrap();
            assert_eq!((told.text.as_str(), told.port), expected, "{given:?}");
        }
    }
}
