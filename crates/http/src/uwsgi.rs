//! The uwsgi packet, in which a gateway such as nginx passes a request on: variables to a request's head.
//!
//! Layout, little endian: `modifier1 u8 · size u16 · modifier2 u8`, then `size` bytes of pairs `name u16+bytes · value
//! u16+bytes`; the body follows. `HTTP_*` are made fields in place, other variables keep their names. The gateway is
//! believed in what it says of client and server, which no other client may say; invariant: whatever else it passes on comes
//! from anybody and keeps the rules and limits of HTTP.

use crate::{
    bytes::{TOKEN, all, is_value, trimmed},
    fields,
    head::{
        Field, FieldKind, Framing, Gateway, Limits, METHOD_MAX, Refusal, RequestHead, Scheme, Span, Version, refuse,
    },
    target::{self, hex},
};

const HEADER: usize = 4;

/// Variables besides the fields; nginx sends about 15 and what its configuration adds.
const VARIABLES_MAX: usize = 100;

/// `modifier1` of a request for a WSGI application, and of one whose PATH_INFO still begins with SCRIPT_NAME.
const WSGI: u8 = 0;
const MANAGE_PATH_INFO: u8 = 30;

/// Reads one packet from the beginning of `buffer`. `Ok(Some(n))`: it takes `n` bytes. `Ok(None)`: more bytes are needed.
pub fn parse_uwsgi(buffer: &mut [u8], limits: &Limits, head: &mut RequestHead) -> Result<Option<usize>, Refusal> {
    head.clear();
    let Some(&modifier1) = buffer.first() else { return Ok(None) };
    if modifier1.is_ascii_uppercase() {
        return refuse(400, "it is no uwsgi packet: it looks like HTTP");
    }
    if !matches!(modifier1, WSGI | MANAGE_PATH_INFO) {
        return refuse(400, "modifier1 is not 0, which is the one of WSGI (nginx: uwsgi_modifier1)");
    }
    let Some(&[_, low, high, modifier2]) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    if modifier2 != 0 {
        return refuse(400, "modifier2 is not 0 (nginx: uwsgi_modifier2)");
    }
    let end = HEADER + usize::from(u16::from_le_bytes([low, high]));
    let Some(packet) = buffer.get_mut(..end) else { return Ok(None) };
    let mut variables = Variables::default();
    let mut at = HEADER;
    while at < end {
        let name = text(packet, &mut at)?;
        let value = text(packet, &mut at)?;
        variables.take(packet, Pair { name, value }, limits, head)?;
    }
    variables.settle(packet, modifier1, limits, head)?;
    Ok(Some(end))
}

/// Bytes behind their number.
fn text(packet: &[u8], at: &mut usize) -> Result<Span, Refusal> {
    let start = *at + 2;
    let length = packet.get(*at..start).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    match length.map(|length| start + usize::from(length)) {
        Some(end) if end <= packet.len() => {
            *at = end;
            Ok(Span::new(start, end))
        }
        _ => refuse(400, "a variable is cut short"),
    }
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    name: Span,
    value: Span,
}

/// What can be settled only when all variables are there. Of a variable that comes twice the last one counts, so that a
/// configuration can include the usual ones and add its own.
#[derive(Debug, Default)]
struct Variables {
    content_length: Option<Span>,
    content_type: Option<Pair>,
    path_info: Option<Pair>,
    script_name: Option<Pair>,
    gateway: Gateway,
    /// How many there are under their own names, and how many fields of how many bytes.
    own: usize,
    fields: usize,
    field_bytes: usize,
}

impl Variables {
    fn take(&mut self, packet: &mut [u8], pair: Pair, limits: &Limits, head: &mut RequestHead) -> Result<(), Refusal> {
        match pair.name.of(packet) {
            b"REQUEST_METHOD" => head.method = pair.value,
            b"REQUEST_URI" => head.target = pair.value,
            b"PATH_INFO" => self.path_info = Some(pair),
            b"SCRIPT_NAME" => self.script_name = Some(pair),
            b"CONTENT_TYPE" => self.content_type = Some(pair),
            b"CONTENT_LENGTH" => return self.content_length(packet, pair.value),
            b"REMOTE_ADDR" => self.gateway.client = pair.value,
            b"REMOTE_PORT" => self.gateway.client_port = pair.value,
            name if name.starts_with(b"HTTP_") => return self.field(packet, pair, limits, head),
            _ => return self.own(packet, pair, head),
        }
        Ok(())
    }

    /// nginx sends an empty one with a request that has no body.
    fn content_length(&mut self, packet: &[u8], value: Span) -> Result<(), Refusal> {
        if value.is_empty() {
            return Ok(());
        }
        match self.content_length.replace(value) {
            Some(before) if before.of(packet) != value.of(packet) => {
                refuse(400, "there is more than one CONTENT_LENGTH")
            }
            _ => Ok(()),
        }
    }

    fn field(&mut self, packet: &mut [u8], pair: Pair, limits: &Limits, head: &mut RequestHead) -> Result<(), Refusal> {
        let length = pair.name.len() + pair.value.len();
        self.fields += 1;
        self.field_bytes += length;
        if limits.fields < self.fields {
            return refuse(431, "too many fields");
        }
        if limits.field < length || limits.head < self.field_bytes {
            return refuse(431, "the fields are too long");
        }
        let Pair { name, value } = as_field(packet, pair, b"HTTP_".len())?;
        let (name_text, value_text) = (name.of(packet), value.of(packet));
        let kind = fields::kind_of(name_text);
        match kind {
            FieldKind::Host => {
                head.fields.retain(|field| field.kind != FieldKind::Host);
                head.host = None;
                if value_text.is_empty() {
                    return Ok(());
                }
                if !target::is_host(value_text) {
                    return refuse(400, "the Host is not valid");
                }
                head.host = Some(value);
            }
            // What the gateway says of the body are the variables without HTTP_; these are the client's words.
            FieldKind::ContentLength => return Ok(()),
            _ if name_text.eq_ignore_ascii_case(b"content-type") => return Ok(()),
            _ => {}
        }
        head.fields.push(Field { name, value, kind });
        Ok(())
    }

    /// A variable that reaches the application under its own name, if it says anything.
    fn own(&mut self, packet: &[u8], pair: Pair, head: &mut RequestHead) -> Result<(), Refusal> {
        let (name, value) = (pair.name.of(packet), pair.value.of(packet));
        match name {
            b"SERVER_PROTOCOL" => self.gateway.protocol = pair.value,
            b"HTTPS" if value.eq_ignore_ascii_case(b"on") || value == b"1" => self.gateway.scheme = Scheme::Https,
            b"REQUEST_SCHEME" | b"UWSGI_SCHEME" if value.eq_ignore_ascii_case(b"https") => {
                self.gateway.scheme = Scheme::Https;
            }
            _ => {}
        }
        // Of these names only, so that none can pass for one of `wsgi.…`.
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            return refuse(400, "the name of a variable is not made of letters, digits and `_`");
        }
        self.own += 1;
        if VARIABLES_MAX < self.own {
            return refuse(431, "too many variables");
        }
        if !value.is_empty() || name == b"QUERY_STRING" {
            head.fields.push(variable(pair));
        }
        Ok(())
    }

    fn settle(self, packet: &mut [u8], modifier1: u8, limits: &Limits, head: &mut RequestHead) -> Result<(), Refusal> {
        method(head.method.of(packet))?;
        head.is_head = head.method.of(packet) == b"HEAD";
        if self.gateway.protocol.of(packet) == b"HTTP/1.0" {
            head.version = Version::Http10;
        }
        match head.target.len() {
            0 => return refuse(400, "there is no REQUEST_URI"),
            length if limits.target < length => return refuse(414, "the target is too long"),
            _ => target::understand(packet, head.target.start as usize, head.target.end as usize, head)?,
        }
        self.path(packet, modifier1, head)?;
        head.framing = self.framing(packet, head)?;
        if let Some(pair) = self.content_type.filter(|pair| !pair.value.is_empty()) {
            let Pair { name, value } = as_field(packet, pair, 0)?;
            head.fields.push(Field { name, value, kind: FieldKind::Other });
        }
        fields::mark_named(packet, head)?;
        head.gateway = Some(self.gateway);
        Ok(())
    }

    /// PATH_INFO without SCRIPT_NAME: nginx sends the whole path and the configuration adds where the application is mounted.
    fn path(&self, packet: &[u8], modifier1: u8, head: &mut RequestHead) -> Result<(), Refusal> {
        let script = match self.script_name {
            Some(pair) => {
                let text = pair.value.of(packet);
                let length = text.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
                let script = Pair { value: part(pair.value, 0, length), ..pair };
                check_path(script.value.of(packet))?;
                if 0 < length {
                    head.fields.push(variable(script));
                }
                script.value.of(packet)
            }
            None => b"",
        };
        let Some(pair) = self.path_info else {
            if begins_with(head.path.of(packet), script) {
                head.path = part(head.path, script.len(), head.path.len());
            }
            return Ok(());
        };
        let info = pair.value.of(packet);
        check_path(info)?;
        let is_rest = || unescaped(head.path.of(packet)).eq(script.iter().chain(info).copied());
        let whole = begins_with(info, script) && (modifier1 == MANAGE_PATH_INFO || !is_rest());
        let start = if whole { script.len() } else { 0 };
        head.fields.push(variable(Pair { value: part(pair.value, start, info.len()), ..pair }));
        Ok(())
    }

    /// nginx undoes chunks, tells the length, and still passes the client's Transfer-Encoding on. A gateway that tells no
    /// length has left the body as it was.
    fn framing(&self, packet: &[u8], head: &RequestHead) -> Result<Framing, Refusal> {
        if let Some(length) = self.content_length {
            return fields::content_length(length.of(packet)).map(Framing::Length);
        }
        match head.fields.iter().find(|field| field.kind == FieldKind::TransferEncoding) {
            Some(field) => fields::transfer_encoding(field.value.of(packet)).map(|()| Framing::Chunked),
            None => Ok(Framing::None),
        }
    }
}

/// A variable as a field: `HTTP_X_A` is `X-A`, and its name and value keep the rules of fields (RFC 9110 §5).
fn as_field(packet: &mut [u8], pair: Pair, prefix: usize) -> Result<Pair, Refusal> {
    let name = part(pair.name, prefix, pair.name.len());
    for byte in &mut packet[name.start as usize..name.end as usize] {
        if *byte == b'_' {
            *byte = b'-';
        }
    }
    if name.is_empty() || !all(name.of(packet), &TOKEN) {
        return refuse(400, "a field's name is not a token");
    }
    let value = pair.value.of(packet);
    if !is_value(value) {
        return refuse(400, "a field's value holds a control character");
    }
    let (start, end) = trimmed(value);
    Ok(Pair { name, value: part(pair.value, start, end) })
}

fn variable(pair: Pair) -> Field {
    Field { name: pair.name, value: pair.value, kind: FieldKind::Variable }
}

fn method(text: &[u8]) -> Result<(), Refusal> {
    match text {
        b"" => refuse(400, "there is no REQUEST_METHOD"),
        _ if !all(text, &TOKEN) => refuse(400, "the method is not a token"),
        _ if METHOD_MAX < text.len() => refuse(501, "the method is unknown"),
        b"CONNECT" | b"TRACE" => refuse(405, "the method is not served"),
        _ => Ok(()),
    }
}

/// For a path without escapes what [`target::understand`] checks for one with them.
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    if path.first().is_some_and(|first| *first != b'/') || path.contains(&0) {
        return refuse(400, "PATH_INFO or SCRIPT_NAME is not a path");
    }
    let mut depth = 0i32;
    for segment in path.split(|byte| *byte == b'/') {
        depth += match segment {
            b"" | b"." => 0,
            b".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return refuse(400, "the path climbs above the root");
        }
    }
    Ok(())
}

/// Whether `path` is `mount` or below it.
fn begins_with(path: &[u8], mount: &[u8]) -> bool {
    path.strip_prefix(mount).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// The bytes of a path whose escapes are known to be whole.
fn unescaped(path: &[u8]) -> impl Iterator<Item = u8> + use<'_> {
    let mut bytes = path.iter().copied();
    std::iter::from_fn(move || match bytes.next()? {
        b'%' => Some(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?),
        byte => Some(byte),
    })
}

fn part(span: Span, start: usize, end: usize) -> Span {
    Span::new(span.start as usize + start, span.start as usize + end)
}

#[cfg(test)]
mod tests;
