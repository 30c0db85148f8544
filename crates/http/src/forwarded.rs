//! What proxies tell of the client: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239).
//!
//! Each proxy adds to the right end of a list. Invariant: a list is read from the right as far as proxies are trusted and not
//! beyond, so what a client has written into it, however malformed, has no say. Forwarded counts only where there is none of
//! the others: most proxies set those, and pass on what a client has sent as Forwarded.

use std::net::IpAddr;

use crate::{
    bytes::trimmed,
    head::{FieldKind, RequestHead, Scheme, Span},
    target,
};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `None`: from a Unix socket.
    pub address: Option<IpAddr>,
    /// 0 when it is not known.
    pub port: u16,
}

/// What was told; `None` is what was not told, or cannot be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Where the client is: the first address from the right that is not trusted, else the left-most.
    pub client: Option<Origin>,
    /// How it speaks to the first proxy.
    pub scheme: Option<Scheme>,
    /// Whom it wants to speak to; a valid host.
    pub host: Option<Span>,
}

/// Reads what the peer of a request, which has to be trusted itself, tells of the client. A list of addresses that is
/// malformed where it is read makes all that belongs to it worthless.
pub fn forwarded(buffer: &[u8], head: &RequestHead, trusts: impl Fn(Option<IpAddr>) -> bool) -> Forwarded {
    let names: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"];
    let [addresses, schemes, hosts] = names.map(|name| elements(buffer, head, name));
    if names.iter().all(|name| elements(buffer, head, name).next().is_none()) {
        return standard(buffer, head, trusts).unwrap_or_default();
    }
    let many = addresses.clone().count();
    let mut told = Forwarded::default();
    let mut at = 0;
    for (nth, element) in addresses.enumerate() {
        let Some(origin) = origin(element.of(buffer)) else { return Forwarded::default() };
        (told.client, at) = (Some(origin), nth);
        if !trusts(origin.address) {
            break;
        }
    }
    told.scheme = beside(schemes, at, many).and_then(|value| scheme(value.of(buffer)));
    told.host = beside(hosts, at, many).filter(|value| target::is_host(value.of(buffer)));
    told
}

/// The only value, or the one that stands where the address does.
fn beside(values: impl Iterator<Item = Span> + Clone, at: usize, many: usize) -> Option<Span> {
    match values.clone().count() {
        1 => values.clone().next(),
        count if count == many => values.clone().nth(at),
        _ => None,
    }
}

/// `for=192.0.2.60;proto=http;host=a, for="[2001:db8::1]:4711"` (RFC 7239 §4). `None` where it is malformed.
fn standard(buffer: &[u8], head: &RequestHead, trusts: impl Fn(Option<IpAddr>) -> bool) -> Option<Forwarded> {
    let mut told = Forwarded::default();
    for element in elements(buffer, head, b"forwarded") {
        told = Forwarded::default();
        for pair in parts(buffer, element, b';') {
            let text = pair.of(buffer);
            let equals = memchr::memchr(b'=', text)?;
            let value = Span { start: pair.start + u32::try_from(equals).ok()? + 1, ..pair };
            let value = || unquoted(buffer, value);
            match &text[..equals] {
                name if name.eq_ignore_ascii_case(b"for") => told.client = Some(origin(value()?.of(buffer))?),
                name if name.eq_ignore_ascii_case(b"proto") => {
                    told.scheme = value().and_then(|value| scheme(value.of(buffer)));
                }
                name if name.eq_ignore_ascii_case(b"host") => {
                    told.host = value().filter(|value| target::is_host(value.of(buffer)));
                }
                _ => {}
            }
        }
        if !trusts(told.client?.address) {
            break;
        }
    }
    Some(told)
}

/// A token or a quoted string. None of the values that we read needs an escape inside (RFC 7239 §6).
fn unquoted(buffer: &[u8], value: Span) -> Option<Span> {
    match value.of(buffer) {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
            Some(Span { start: value.start + 1, end: value.end - 1 })
        }
        text if text.contains(&b'"') => None,
        _ => Some(value),
    }
}

fn scheme(text: &[u8]) -> Option<Scheme> {
    [(&b"http"[..], Scheme::Http), (b"https", Scheme::Https)]
        .into_iter()
        .find_map(|(name, scheme)| text.eq_ignore_ascii_case(name).then_some(scheme))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, and nginx's `unix:`.
fn origin(text: &[u8]) -> Option<Origin> {
    let text = std::str::from_utf8(text).ok()?;
    if text == "unix:" {
        return Some(Origin { address: None, port: 0 });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Origin { address: Some(address.to_canonical()), port: 0 });
    }
    let (address, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, rest)) => (IpAddr::V6(inside.parse().ok()?), rest),
        None => {
            let colon = text.find(':')?;
            (IpAddr::V4(text[..colon].parse().ok()?), &text[colon..])
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 0,
        // A proxy may hide the port (RFC 7239 §6.3).
        Some(hidden) if hidden.starts_with('_') => 0,
        Some(digits) => digits.parse().ok()?,
        None => return None,
    };
    Some(Origin { address: Some(address.to_canonical()), port })
}

/// The elements of all fields of this name as one list (RFC 9110 §5.6.1), the last one first.
fn elements<'a>(
    buffer: &'a [u8],
    head: &'a RequestHead,
    name: &'a [u8],
) -> impl Iterator<Item = Span> + Clone + use<'a> {
    let is =
        |field: &&crate::Field| field.kind == FieldKind::Forwarding && field.name.of(buffer).eq_ignore_ascii_case(name);
    head.fields.iter().rev().filter(is).flat_map(|field| parts(buffer, field.value, b','))
}

/// What stands between separators that are not quoted, the last first, without white space; what is empty is left out.
///
/// From the right, a quotation mark that a client has left open is met only after all that proxies have added.
fn parts(buffer: &[u8], list: Span, separator: u8) -> impl Iterator<Item = Span> + Clone + use<'_> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        loop {
            let whole = rest?;
            let start = last_start(whole.of(buffer), separator);
            rest = (0 < start).then(|| Span::new(whole.start as usize, whole.start as usize + start - 1));
            let (from, to) = trimmed(&whole.of(buffer)[start..]);
            if from < to {
                let base = whole.start as usize + start;
                return Some(Span::new(base + from, base + to));
            }
        }
    })
}

/// Where the last part of `text` begins.
fn last_start(text: &[u8], separator: u8) -> usize {
    let mut quoted = false;
    for at in (0..text.len()).rev() {
        let escaped = || text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        match text[at] {
            b'"' if !(quoted && escaped()) => quoted = !quoted,
            byte if byte == separator && !quoted => return at + 1,
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests;
