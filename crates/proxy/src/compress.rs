//! Whether a response is compressed, and what its head then says.
//!
//! Invariant: a response that another client would get compressed says `Vary: Accept-Encoding`, and one that is compressed says
//! nothing that holds for the bytes before: no length, no digest, no ranges, no strong entity tag. What has a coding already, is
//! no whole representation, or must not be changed (`no-transform`) is left alone.

use config::Compression;
use http::{Coding, RequestHead};

use crate::{connection::Connection, encode::Encoder, request::Request};

/// What is shorter gains nothing that anybody would notice, and may become longer.
const LENGTH_MIN: u64 = 1024;

/// The cheapest first: of equal size, zstd takes a third of the time of gzip, and brotli takes more (decision 11).
const ORDER: [Coding; 3] = [Coding::Zstd, Coding::Gzip, Coding::Brotli];

/// What of a response decides besides its fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) status: u16,
    /// Of the body, where it is known; of what GET would have, where HEAD is answered.
    pub(crate) length: Option<u64>,
}

/// The encoder for a response whose field lines are at the end of `out`, from `start` on: they say then what the client has to
/// know of it.
pub(crate) fn encoder(
    connection: &Connection,
    request: &Request<'_>,
    (out, start): (&mut Vec<u8>, usize),
    facts: Facts,
) -> Option<Encoder> {
    let configured = connection.thread.settings().compression;
    if request.route.and_then(|route| route.rule.compression).unwrap_or(configured) == Compression::Off {
        return None;
    }
    let (mut change, mut encoder) = (judge(&out[start..], request.head, &connection.input, facts)?, None);
    if let Change::Compressed(coding) = change {
        encoder = connection.thread.encoders.begin(coding, facts.length);
        if encoder.is_none() {
            // There are too many at present.
            change = Change::Varies;
        }
    }
    let lines = out.split_off(start);
    write_fields(out, &lines, change);
    encoder
}

/// What becomes of the fields of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Another client would get it compressed.
    Varies,
    /// This one does.
    Compressed(Coding),
    /// It has it already, compressed.
    NotModified,
}

/// What is to be changed, if anything is.
fn judge(lines: &[u8], head: &RequestHead, input: &[u8], facts: Facts) -> Option<Change> {
    if facts.status == 304 {
        return knows_compressed(lines, head, input).then_some(Change::NotModified);
    }
    if !gains(lines, facts) {
        return None;
    }
    let coding = http::accepted_codings(head, input, ORDER).next();
    Some(coding.map_or(Change::Varies, Change::Compressed))
}

/// Whether a response gains by being compressed, for a client that accepts it.
fn gains(lines: &[u8], facts: Facts) -> bool {
    // Redirects and the like say what they have to say in their head; a part is one of the bytes as they are.
    let has_body = matches!(facts.status, 200..=203 | 207 | 400..=599);
    if !has_body || facts.length.is_some_and(|length| length < LENGTH_MIN) {
        return false;
    }
    let mut compresses = false;
    for (name, value) in fields(lines) {
        match name {
            _ if is(name, b"content-encoding") || is(name, b"content-range") => return false,
            _ if is(name, b"cache-control") && lists(value, b"no-transform") => return false,
            _ if is(name, b"content-type") => compresses = is_compressible(value),
            _ => {}
        }
    }
    compresses
}

/// Types that become much smaller. A stream of events does not count: its pieces are short, and each of many connections that
/// wait would keep an encoder.
fn is_compressible(value: &[u8]) -> bool {
    const OTHERS: [&[u8]; 19] = [
        b"application/ecmascript",
        b"application/javascript",
        b"application/json",
        b"application/jsonl",
        b"application/rtf",
        b"application/vnd.ms-fontobject",
        b"application/wasm",
        b"application/x-javascript",
        b"application/x-ndjson",
        b"application/x-yaml",
        b"application/xml",
        b"application/yaml",
        b"font/collection",
        b"font/otf",
        b"font/sfnt",
        b"font/ttf",
        b"image/bmp",
        b"image/vnd.microsoft.icon",
        b"image/x-icon",
    ];
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let kind = kind.as_slice();
    match kind {
        b"text/event-stream" => false,
        _ if kind.starts_with(b"text/") => true,
        _ => [b"+json".as_slice(), b"+xml", b"+yaml"].iter().any(|end| kind.ends_with(end)) || OTHERS.contains(&kind),
    }
}

/// Whether the client has what a 304 is about compressed: its tag is our weak form of the application's.
fn knows_compressed(lines: &[u8], head: &RequestHead, input: &[u8]) -> bool {
    let Some((_, etag)) = fields(lines).find(|(name, _)| is(name, b"etag")) else { return false };
    let asked = head.fields.iter().filter(|field| is(field.name.of(input), b"if-none-match"));
    let mut tags = asked.flat_map(|field| field.value.of(input).split(|byte| *byte == b','));
    etag.starts_with(b"\"") && tags.any(|tag| tag.trim_ascii().strip_prefix(b"W/") == Some(etag))
}

/// Appends the fields with that change.
fn write_fields(out: &mut Vec<u8>, lines: &[u8], change: Change) {
    /// They are about the bytes before (RFC 9110 §14.3, RFC 9530 §2 and §3 and what they replace).
    const OF_BYTES: [&[u8]; 5] = [b"accept-ranges", b"content-digest", b"content-md5", b"digest", b"repr-digest"];
    let varies_by = |value: &[u8]| lists(value, b"*") || lists(value, b"accept-encoding");
    let mut varies = fields(lines).any(|(name, value)| is(name, b"vary") && varies_by(value));
    for (name, value) in fields(lines) {
        if change != Change::Varies && is(name, b"etag") && value.starts_with(b"\"") {
            http::write_field(out, name, &[b"W/", value].concat());
        } else if !varies && is(name, b"vary") && !value.is_empty() {
            http::write_field(out, name, &[value, b", Accept-Encoding"].concat());
            varies = true;
        } else if !(matches!(change, Change::Compressed(_)) && OF_BYTES.iter().any(|known| is(name, known))) {
            http::write_field(out, name, value);
        }
    }
    if let Change::Compressed(coding) = change {
        http::write_field(out, b"Content-Encoding", coding.name().as_bytes());
    }
    if !varies {
        http::write_field(out, b"Vary", b"Accept-Encoding");
    }
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

/// Whether the items of a list have this one; what follows `=` does not count.
fn lists(value: &[u8], item: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(item))
}

/// Names and values of field lines.
fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = line.split_at(memchr::memchr(b':', line)?);
        Some((name, value[1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests;
