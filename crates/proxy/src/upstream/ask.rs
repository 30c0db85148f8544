//! A request's head on its way to an upstream: what must not pass is left out, what only we know is added.
//!
//! Invariant: framing, connection and forwarding fields are ours; the rest passes as it came. `Via` is left out, as others do
//! that stand in front of servers: some of those stop to compress when they see it.

use http::{Field, FieldKind, Framing, Scheme};

use crate::{aim::aim, body::Upload, connection::Connection, request::Request, route::Edits};

/// By which both sides leave HTTP.
pub(super) const WEBSOCKET: &[u8] = b"Upgrade: websocket\r\nConnection: upgrade\r\n";

/// What an upstream was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A response.
    Response,
    /// A response, or to go on in WebSocket.
    WebSocket,
}

/// Appends the head; the body follows.
pub(super) fn write(out: &mut Vec<u8>, connection: &Connection, request: &Request<'_>, upload: &Upload) -> Asked {
    let (head, input) = (request.head, connection.input.as_slice());
    let aim = aim(request.route, head, input);
    // A whole URL is for proxies that forward; its authority is in Host.
    let path = &aim.target[usize::from(aim.path.start)..usize::from(aim.path.end)];
    let query = &aim.target[usize::from(aim.query.start)..usize::from(aim.query.end)];
    out.extend_from_slice(head.method.of(input));
    out.extend_from_slice(b" ");
    out.extend_from_slice(if path.is_empty() { b"/" } else { path });
    if !aim.query.is_empty() || aim.target.ends_with(b"?") {
        out.extend_from_slice(b"?");
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut fields = Fields { out, edits: request.route.map(|route| &route.request).filter(|edits| !edits.is_empty()) };
    let host = head.host.map_or(b"".as_slice(), |host| host.of(input));
    // It has to be there, once, and first (RFC 9112 §3.2).
    let other = fields.edits.and_then(|edits| edits.value(b"host"));
    http::write_field(fields.out, b"Host", other.unwrap_or(host));
    for field in &head.fields {
        if passes(field, request, input) {
            fields.write(field.name.of(input), field.value.of(input));
        }
    }
    forwarding(&mut fields, connection, request, host);
    if let Some(script) = aim.script {
        prefix(&mut fields, request, input, script);
    }
    fields.write(b"X-Request-Id", request.id.as_bytes());
    if let Some(context) = request.trace.context() {
        fields.write(b"traceparent", context.as_bytes());
    }
    for (name, value) in fields.edits.into_iter().flat_map(|edits| &edits.set) {
        if !name.eq_ignore_ascii_case(b"host") {
            http::write_field(fields.out, name, value);
        }
    }
    match upload.framing() {
        Framing::None => {}
        Framing::Length(length) => http::write_content_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if upload.expects_continue() {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    let asked = if http::asks_for_websocket(head, input) { Asked::WebSocket } else { Asked::Response };
    if asked == Asked::WebSocket {
        out.extend_from_slice(WEBSOCKET);
    }
    out.extend_from_slice(b"\r\n");
    asked
}

/// The fields of a head, without those that the route leaves out.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    edits: Option<&'a Edits>,
}

impl Fields<'_> {
    fn write(&mut self, name: &[u8], value: &[u8]) {
        if !self.leaves_out(name) {
            http::write_field(self.out, name, value);
        }
    }

    fn write_list<'v>(&mut self, name: &[u8], values: impl Iterator<Item = &'v [u8]>) {
        let mut values = values.peekable();
        if self.leaves_out(name) || values.peek().is_none() {
            return;
        }
        self.out.extend_from_slice(name);
        let mut before: &[u8] = b": ";
        for value in values {
            self.out.extend_from_slice(before);
            self.out.extend_from_slice(value);
            before = b", ";
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn leaves_out(&self, name: &[u8]) -> bool {
        self.edits.is_some_and(|edits| edits.leaves_out(name))
    }
}

fn passes(field: &Field, request: &Request<'_>, input: &[u8]) -> bool {
    match field.kind {
        FieldKind::Other => true,
        FieldKind::TraceState => request.trace.passes(field.kind),
        // Where `-` and `_` are the same it must not collide with what we say.
        FieldKind::Underscore => !http::could_be_taken_for_ours(field.name.of(input)),
        FieldKind::Forwarding => request.told.is_some() && !is_continued(field, input),
        _ => false,
    }
}

/// Lists that we continue.
const FOR: &[u8] = b"x-forwarded-for";
const FORWARDED: &[u8] = b"forwarded";
const PREFIX: &[u8] = b"x-forwarded-prefix";

fn is_continued(field: &Field, input: &[u8]) -> bool {
    let name = field.name.of(input);
    [FOR, FORWARDED, PREFIX].iter().any(|continued| name.eq_ignore_ascii_case(continued))
}

/// Who asks, how, and for which host: what trusted proxies have said is continued, everything else is replaced.
fn forwarding(fields: &mut Fields<'_>, connection: &Connection, request: &Request<'_>, host: &[u8]) {
    let input = connection.input.as_slice();
    let peer = connection.peer.address.as_bytes();
    let given = |name: &'static [u8]| given(request, input, name);
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
    fields.write_list(b"X-Forwarded-For", addresses.chain(client.filter(|client| !client.is_empty())).chain(peer));
    if given(FORWARDED).next().is_some() {
        fields.write_list(b"Forwarded", given(FORWARDED).chain(std::iter::once(ours.as_bytes())));
    }
    if given(b"x-forwarded-proto").next().is_none() {
        let https = request.scheme(&connection.peer) == Scheme::Https;
        fields.write(b"X-Forwarded-Proto", if https { b"https" } else { b"http" });
    }
    if given(b"x-forwarded-host").next().is_none() && !host.is_empty() {
        fields.write(b"X-Forwarded-Host", host);
    }
}

/// What the route has taken from the path, behind what a trusted proxy has taken before.
fn prefix(fields: &mut Fields<'_>, request: &Request<'_>, input: &[u8], script: &str) {
    let before = given(request, input, PREFIX).next().unwrap_or_default();
    let whole = [before.strip_suffix(b"/").unwrap_or(before), script.as_bytes()].concat();
    if !whole.is_empty() {
        fields.write(b"X-Forwarded-Prefix", &whole);
    }
}

/// What a trusted proxy says in fields of this name.
fn given<'i>(request: &Request<'i>, input: &'i [u8], name: &'static [u8]) -> impl Iterator<Item = &'i [u8]> {
    let fields = request.head.fields.iter().filter(|_| request.told.is_some());
    fields
        .filter(move |field| field.kind == FieldKind::Forwarding && field.name.of(input).eq_ignore_ascii_case(name))
        .map(|field| field.value.of(input))
        .filter(|value| !value.is_empty())
}
