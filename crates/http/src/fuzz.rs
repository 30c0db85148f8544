//! What holds of every parser here, whatever the bytes are. The fuzz targets call these functions, and so do tests, with inputs
//! that are nearly right.
//!
//! Invariants of all: nothing panics; what was taken lies within the input; bytes that come one by one mean the same as all at
//! once; what stands behind a message changes nothing in it.

use crate::{
    BodyDecoder, Coding, Framing, HeadScan, Limits, ReceivedBody, ReceivedHead, Refusal, RequestHead, Selected, Span,
    Validators, accepted_codings, asks_for_head, condition, forwarded, has_dot_segments, parse_date,
    parse_proxy_header, parse_request, parse_response, parse_uwsgi, path_prefix, relative_path, selected, write_date,
};

/// How many beginnings of an input are looked at.
const BEGINNINGS: usize = 300;

/// A request's head, and what its fields say.
pub fn request(input: &[u8]) {
    let (limits, mut head) = (Limits::default(), RequestHead::default());
    let whole = parse_request(input, &limits, &mut head);
    asks_for_head(input);
    let mut other = RequestHead::default();
    in_pieces(input, whole, |beginning| parse_request(beginning, &limits, &mut other));
    let Ok(Some(length)) = whole else { return };
    assert!(input[..length].ends_with(b"\r\n\r\n"));
    spans_are_within(&head, length);
    assert!(head.fields.len() <= limits.fields && head.target.len() <= limits.target && length <= limits.head);
    let mut scan = HeadScan::default();
    let noticed = (0..=length).find(|end| scan.may_be_complete(&input[..*end], &limits));
    assert!(noticed.is_some(), "a head that is whole is noticed");
    fields(input, &head);
    body(head.framing, &input[length..]);
}

/// A uwsgi packet, and what its fields say.
pub fn uwsgi(input: &[u8]) {
    let (limits, mut head) = (Limits::default(), RequestHead::default());
    let mut packet = input.to_vec();
    let whole = parse_uwsgi(&mut packet, &limits, &mut head);
    let mut other = RequestHead::default();
    in_pieces(input, whole, |beginning| {
        let mut copy = beginning.to_vec();
        let parsed = parse_uwsgi(&mut copy, &limits, &mut other);
        assert!(parsed != Ok(None) || copy == beginning, "what is read once more is as it was");
        parsed
    });
    let Ok(Some(length)) = whole else { return };
    assert_eq!(packet[length..], input[length..], "what is behind it is not touched");
    spans_are_within(&head, length);
    let gateway = head.gateway.expect("a packet comes from one");
    assert!([gateway.client, gateway.client_port, gateway.protocol].iter().all(|span| span.end as usize <= length));
    fields(&packet, &head);
}

/// A response's head, and its body.
pub fn response(input: &[u8]) {
    let limits = Limits::default();
    for to_head in [false, true] {
        let (mut head, mut other) = (ReceivedHead::default(), ReceivedHead::default());
        let whole = parse_response(input, &limits, to_head, &mut head);
        in_pieces(input, whole, |beginning| parse_response(beginning, &limits, to_head, &mut other));
        let Ok(Some(length)) = whole else { continue };
        assert!(input[..length].ends_with(b"\r\n\r\n") && (100..600).contains(&head.status));
        let spans = head.fields.iter().flat_map(|field| [field.name, field.value]).chain([head.reason]);
        are_within(spans, length);
        assert!(!head.keep_alive || head.body != ReceivedBody::UntilClose);
        if let ReceivedBody::Framed(framing) = head.body {
            assert!(framing == Framing::None || !to_head);
            body(framing, &input[length..]);
        }
    }
}

/// A body in chunks, and one of a length that the first byte tells.
pub fn bodies(input: &[u8]) {
    body(Framing::Chunked, input);
    if let Some((length, rest)) = input.split_first() {
        body(Framing::Length(u64::from(*length)), rest);
    }
}

fn body(framing: Framing, input: &[u8]) {
    let whole = decoded(framing, input, input.len().max(1));
    assert_eq!(whole, decoded(framing, input, 1), "{framing:?}");
    let (data, consumed, done) = whole;
    match (framing, done) {
        (Framing::Length(length), Ok(true)) => assert_eq!((data.len() as u64, consumed as u64), (length, length)),
        (Framing::Chunked, Ok(true)) => {
            // All that follows it belongs to somebody else.
            assert_eq!((data, consumed, Ok(true)), decoded(framing, &input[..consumed], input.len().max(1)));
        }
        (Framing::None, _) => assert_eq!((consumed, done), (0, Ok(true))),
        _ => {}
    }
}

/// The data, how many bytes were read for it, and whether that was all; fed in pieces.
fn decoded(framing: Framing, input: &[u8], piece: usize) -> (Vec<u8>, usize, Result<bool, Refusal>) {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at, mut have) = (Vec::new(), 0, 0);
    while have < input.len() && !decoder.is_done() {
        have = (have + piece).min(input.len());
        loop {
            let decoded = match decoder.decode(&input[at..have]) {
                Ok(decoded) => decoded,
                // How far it was is not told.
                Err(refusal) => return (data, 0, Err(refusal)),
            };
            assert!(decoded.consumed <= have - at && decoded.data.end <= decoded.consumed);
            data.extend_from_slice(&input[at..have][decoded.data]);
            at += decoded.consumed;
            if decoded.consumed == 0 || decoded.done {
                break;
            }
        }
    }
    (data, at, Ok(decoder.is_done()))
}

/// A header of the PROXY protocol.
pub fn proxy_header(input: &[u8]) {
    let whole = parse_proxy_header(input);
    let length = whole.map(|header| header.map(|header| header.length));
    in_pieces(input, length, |beginning| Ok(parse_proxy_header(beginning)?.map(|header| header.length)));
    if let Ok(Some(header)) = whole {
        assert_eq!(parse_proxy_header(&input[..header.length]), whole, "what is behind it is not looked at");
    }
}

/// Dates that clients send.
pub fn date(input: &[u8]) {
    if let Some(second) = parse_date(input) {
        let mut text = Vec::new();
        write_date(&mut text, second);
        assert_eq!(parse_date(&text), Some(second));
    }
}

/// Paths as routes and files see them.
pub fn path(input: &[u8]) {
    has_dot_segments(input);
    for prefix in [&b"/"[..], b"/a", b"/static/"] {
        assert!(path_prefix(input, prefix).is_none_or(|taken| taken <= input.len()));
    }
    let mut relative = Vec::new();
    if relative_path(input, &mut relative).is_some() {
        assert!(!relative.contains(&0) && !relative.starts_with(b"/"));
        assert!(relative.split(|byte| *byte == b'/').all(|segment| segment != b".." && segment != b"."));
    }
}

/// What proxies and caches say in fields.
fn fields(input: &[u8], head: &RequestHead) {
    for trusted in [false, true] {
        let told = forwarded(input, head, |_| trusted);
        are_within(told.host.into_iter(), input.len());
    }
    let validators = Validators { etag: b"\"x\"", modified: 784_111_777 };
    condition(head, input, validators);
    for length in [0, 1, 1000, u64::MAX] {
        if let Selected::Part(part) = selected(head, input, validators, length, 1 << 31) {
            assert!(part.start < part.end && part.end <= length);
        }
    }
    let order = [Coding::Brotli, Coding::Gzip, Coding::Zstd];
    assert!(accepted_codings(head, input, order).count() <= order.len());
    path(head.path.of(input));
    path(head.query.of(input));
}

/// `parse` says of every beginning what it says of the whole: more is needed, or the same.
fn in_pieces<E>(
    input: &[u8],
    whole: Result<Option<usize>, E>,
    mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
) {
    let taken = whole.as_ref().ok().copied().flatten();
    assert!(taken.is_none_or(|taken| taken <= input.len()));
    for end in (0..input.len()).step_by(1 + input.len() / BEGINNINGS) {
        match parse(&input[..end]) {
            // Which of its faults is told may depend on how much of it is there.
            Err(_) => assert!(whole.is_err(), "{end} bytes are refused, all of them are not"),
            Ok(None) => assert!(taken.is_none_or(|taken| end < taken), "{end} bytes are not enough, {taken:?} are"),
            Ok(some) => assert_eq!(some, taken, "{end} bytes"),
        }
    }
}

fn spans_are_within(head: &RequestHead, length: usize) {
    let fields = head.fields.iter().flat_map(|field| [field.name, field.value]);
    are_within(fields.chain([head.method, head.target, head.path, head.query]).chain(head.host), length);
}

fn are_within(spans: impl Iterator<Item = Span>, length: usize) {
    for span in spans {
        assert!(span.start <= span.end && span.end as usize <= length, "{span:?} of {length}");
    }
}

#[cfg(test)]
mod tests {
    use testkit::mutants;

    use super::*;

    /// A few seconds in all, without optimisation.
    const COUNT: usize = 5_000;

    const REQUESTS: [&[u8]; 5] = [
        b"GET /a%20b/../c?x=1 HTTP/1.1\r\nHost: example.org:80\r\nConnection: x-a, close\r\nX-A:  b c \r\nY_Z:\r\n\r\n",
        b"\r\nPOST http://a/x HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nT: x\r\n\r\n",
        b"PUT / HTTP/1.0\r\nContent-Length: 005\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\
          Forwarded: for=\"[2001:db8::1]:80\";proto=https;host=c, for=unknown\r\n\r\n",
        b"GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=1-5\r\nIf-Range: \"x\"\r\nIf-None-Match: W/\"x\", \"y\"\r\n\
          If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Encoding: br;q=0.5, gzip, *;q=0\r\n\r\n",
    ];

    #[test]
    fn requests() {
        mutants(&REQUESTS, COUNT, request);
    }

    #[test]
    fn responses() {
        let seeds: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nKeep-Alive: timeout=5\r\n\r\nabcHTTP/1.1 200",
            b"HTTP/1.1 103 \r\nLink: <a>\r\n\r\n",
            b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\nDate: x\r\n\r\n",
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
        ];
        mutants(&seeds, COUNT, response);
    }

    #[test]
    fn uwsgi_packets() {
        let seeds: [&[u8]; 2] = [
            b"\0\x5a\0\0\x0e\0REQUEST_METHOD\x03\0GET\x0b\0REQUEST_URI\x04\0/a?b\x09\0PATH_INFO\x02\0/a\x0f\0SERVER_PROTOCOL\x08\0HTTP/1.1\
              \x09\0HTTP_HOST\x01\0a",
            b"\x1e\x2f\0\0\x0e\0REQUEST_METHOD\x03\0GET\x09\0PATH_INFO\x02\0/a\x0b\0SCRIPT_NAME\0\0",
        ];
        mutants(&seeds, COUNT, uwsgi);
    }

    #[test]
    fn bodies_of_all_kinds() {
        let seeds: [&[u8]; 3] = [
            b"1;a=b;c=\"d;\\\"\" ;e\r\nx\r\n0;last\r\nA: b\r\n\r\nGET",
            b"a\r\n0123456789\r\n00f \t;x\r\n",
            b"\x03abcGET",
        ];
        mutants(&seeds, COUNT, bodies);
    }

    #[test]
    fn proxy_headers() {
        let seeds: [&[u8]; 4] = [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET",
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb\x20\0\x08\x01\0\0\0\0\x21\0\0GET",
        ];
        mutants(&seeds, COUNT, proxy_header);
    }

    #[test]
    fn dates() {
        let seeds: [&[u8]; 3] =
            [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"];
        mutants(&seeds, COUNT, date);
    }

    #[test]
    fn paths() {
        mutants(&[b"/a/../b", b"/static/%2e%2e/%00", b"/.well-known/x//y%2fz", b"/a/./b/..."], COUNT, path);
    }
}
