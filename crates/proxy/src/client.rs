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
        Some(gateway) => by_gateway(peer, gateway, input),
        None if trusted.is_empty() || !trusted.contains(peer.ip) => return None,
        None => Told::new(peer.ip, peer.port),
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

/// An address that is none, as nginx's `unix:`, is no address.
fn by_gateway(peer: &Peer, gateway: &Gateway, input: &[u8]) -> Told {
    let text = |span: Span| std::str::from_utf8(span.of(input)).unwrap_or_default();
    let address = match text(gateway.client) {
        "" => peer.ip,
        client => client.parse().ok().map(|address: IpAddr| address.to_canonical()),
    };
    let port = text(gateway.client_port).parse().unwrap_or(0);
    Told { scheme: gateway.scheme, ..Told::new(address, port) }
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
