//! A request's head on its way to an upstream that speaks uwsgi, in the variables of nginx's `uwsgi_params`.
//!
//! Invariant: what a client has written stands in variables that begin with `HTTP_`, or in one of those of CGI (RFC 3875 §4.1).
//! The server is told what a worker of ours would be. What a gateway in front says besides ends here: servers take orders by
//! some variables (`UWSGI_FILE`).

use std::borrow::Cow;

use http::{Field, FieldKind, Framing, PacketWriter, Refusal, Scheme, Version};

use crate::{aim::aim, body::Upload, connection::Connection, request::Request, route::Edits};

/// Appends the packet; the body follows.
pub(super) fn write(
    out: &mut Vec<u8>,
    connection: &Connection,
    request: &Request<'_>,
    upload: &Upload,
) -> Result<(), Refusal> {
    let mut packet = PacketWriter::begin(out);
    packet.variable(b"REQUEST_METHOD", request.method(&connection.input));
    target(&mut packet, request, &connection.input);
    // The server answers in the version that it is told, and we read no other.
    let version: &[u8] = if request.head.version == Version::Http10 { b"HTTP/1.0" } else { b"HTTP/1.1" };
    packet.variable(b"SERVER_PROTOCOL", version);
    who(&mut packet, connection, request);
    let length = match upload.framing() {
        Framing::Length(length) => length.to_string(),
        Framing::None | Framing::Chunked => String::new(),
    };
    packet.variable(b"CONTENT_LENGTH", length.as_bytes());
    fields(&mut packet, request, &connection.input);
    packet.end()
}

/// How long the variables of the packet are that lies at the beginning of `out`.
pub(super) fn length(out: &[u8]) -> usize {
    out.get(1..3).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

/// Where it is to go, by the route's mount or by that of a gateway in front.
fn target(packet: &mut PacketWriter<'_>, request: &Request<'_>, input: &[u8]) {
    let head = request.head;
    let aim = aim(request.route, head, input);
    let query = &aim.target[usize::from(aim.query.start)..usize::from(aim.query.end)];
    if aim.target.starts_with(b"/") {
        packet.variable(b"REQUEST_URI", &aim.target);
    } else {
        // A whole URL: its authority is in Host.
        let path = head.path.of(input);
        let mark: &[u8] = if aim.target.contains(&b'?') { b"?" } else { b"" };
        packet.variable(b"REQUEST_URI", &[if path.is_empty() { b"/" } else { path }, mark, query].concat());
    }
    packet.variable(b"QUERY_STRING", query);
    let told = |name: &[u8]| {
        let mut variables = head.fields.iter().filter(|field| field.kind == FieldKind::Variable);
        variables.find(|field| field.name.of(input) == name).map(|field| field.value.of(input))
    };
    let is_mounted_before = aim.is_as_it_came();
    let script = aim.script.map(str::as_bytes).or_else(|| told(b"SCRIPT_NAME").filter(|_| is_mounted_before));
    packet.variable(b"SCRIPT_NAME", script.unwrap_or_default());
    match told(b"PATH_INFO").filter(|_| is_mounted_before) {
        Some(info) => packet.variable(b"PATH_INFO", info),
        None => {
            let path = &aim.target[usize::from(aim.path.start)..usize::from(aim.path.end)];
            packet.path(b"PATH_INFO", if path.starts_with(b"/") { path } else { b"/" });
        }
    }
}

/// Who asks, and whom.
fn who(packet: &mut PacketWriter<'_>, connection: &Connection, request: &Request<'_>) {
    let peer = &connection.peer;
    let (client, port) = match &request.told {
        None => (peer.address.as_str(), peer.port),
        Some(told) => (told.text.as_str(), told.port),
    };
    // The word of nginx for whoever comes through a Unix socket.
    packet.variable(b"REMOTE_ADDR", if client.is_empty() { b"unix:" } else { client.as_bytes() });
    packet.variable(b"REMOTE_PORT", if port == 0 { String::new() } else { port.to_string() }.as_bytes());
    let (scheme, usual_port): (&[u8], &[u8]) = match request.scheme(peer) {
        Scheme::Http => (b"http", b"80"),
        Scheme::Https => (b"https", b"443"),
    };
    packet.variable(b"REQUEST_SCHEME", scheme);
    if scheme == b"https" {
        packet.variable(b"HTTPS", b"on");
    }
    let host = request.host(&connection.input);
    let colon = host.iter().rposition(|byte| *byte == b':').filter(|at| !host[*at..].contains(&b']'));
    let (name, port) = colon.map_or((host, b"".as_slice()), |at| (&host[..at], &host[at + 1..]));
    packet.variable(b"SERVER_NAME", if name.is_empty() { b"localhost" } else { name });
    packet.variable(b"SERVER_PORT", if port.is_empty() { usual_port } else { port });
    if !host.is_empty() {
        packet.field(b"Host", host);
    }
}

/// The fields that pass, each once: several of a name are a list (RFC 3875 §4.1.18).
fn fields(packet: &mut PacketWriter<'_>, request: &Request<'_>, input: &[u8]) {
    let edits = request.route.map(|route| &route.request).filter(|edits| !edits.is_empty());
    let leaves_out = |name: &[u8]| edits.is_some_and(|edits: &Edits| edits.leaves_out(name));
    let set = edits.map_or(&[][..], |edits| &edits.set);
    let all = &request.head.fields;
    let is = |field: &Field, name: &[u8]| passes(field, request) && field.name.of(input).eq_ignore_ascii_case(name);
    for (at, field) in all.iter().enumerate() {
        let name = field.name.of(input);
        if !passes(field, request) || leaves_out(name) || all[..at].iter().any(|before| is(before, name)) {
            continue;
        }
        let mut value = Cow::Borrowed(field.value.of(input));
        let between: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
        for more in all[at + 1..].iter().filter(|more| is(more, name)) {
            value.to_mut().extend_from_slice(between);
            value.to_mut().extend_from_slice(more.value.of(input));
        }
        packet.field(name, &value);
    }
    for (name, value) in [(&b"X-Request-Id"[..], Some(request.id.as_bytes())), (b"traceparent", context(request))] {
        if let Some(value) = value.filter(|_| !leaves_out(name)) {
            packet.field(name, value);
        }
    }
    set.iter().for_each(|(name, value)| packet.field(name, value));
    // nginx says it in any case, and applications rely on it.
    let is_typed = all.iter().any(|field| is(field, b"content-type")) && !leaves_out(b"content-type");
    if !is_typed && !set.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-type")) {
        packet.variable(b"CONTENT_TYPE", b"");
    }
}

fn context<'r>(request: &'r Request<'_>) -> Option<&'r [u8]> {
    request.trace.context().map(|context| context.as_bytes())
}

/// Names with `_`, and `Proxy`, would collide with others in the form of variables.
fn passes(field: &Field, request: &Request<'_>) -> bool {
    match field.kind {
        FieldKind::Other => true,
        FieldKind::TraceState => request.trace.passes(field.kind),
        FieldKind::Forwarding => request.told.is_some(),
        _ => false,
    }
}
