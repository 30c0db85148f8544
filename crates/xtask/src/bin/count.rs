//! Does one thing many times, for `cargo xtask counts`, which counts the instructions: `count CELL TIMES`.

use std::{hint::black_box, time::Duration};

use http::{
    BodyDecoder, Framing, Limits, ReceivedHead, RequestHead, parse_request, parse_response, write_chunk_head,
    write_content_length, write_field, write_status_line,
};
use policy::{Admission, Dispatch, Stage, Wish, WorkerId};

/// What a browser sends.
const REQUEST: &[u8] = b"GET /shop/items/4711?page=2&sort=price HTTP/1.1\r\nHost: shop.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example.org/shop/items\r\nConnection: keep-alive\r\n\
    Cookie: session=3a9f3c0e5d1b4f7a8c6e2d0b9a8f7e6d; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n";

/// What an application answers.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1234\r\nCache-Control: private, max-age=0\r\nSet-Cookie: session=3a9f3c0e5d1b4f7a8c6e2d0b; Path=/; HttpOnly\r\n\
    Vary: Cookie, Accept-Encoding\r\nX-Frame-Options: DENY\r\n\r\n";

const CHUNK: &[u8] = b"400\r\n0123456789abcdef0123456789abcdef\r\n";

fn main() {
    let mut words = std::env::args().skip(1);
    let cell = words.next().unwrap_or_default();
    let times = words.next().and_then(|times| times.parse::<u32>().ok()).expect("a cell and a number");
    let (mut request, mut response, mut out) = (RequestHead::default(), ReceivedHead::default(), Vec::new());
    let limits = Limits::default();
    let mut dispatch = dispatch(cell.strip_prefix("dispatch-").and_then(|nodes| nodes.parse().ok()).unwrap_or(0));
    for _ in 0..times {
        let is_fine = match cell.as_str() {
            "parse-request" => parse_request(black_box(REQUEST), &limits, &mut request).is_ok(),
            "parse-response" => parse_response(black_box(RESPONSE), &limits, false, &mut response).is_ok(),
            "write-head" => write_head(&mut out),
            "decode-chunk" => BodyDecoder::new(Framing::Chunked).decode(black_box(CHUNK)).is_ok(),
            _ => one_request(&mut dispatch).is_some(),
        };
        assert!(black_box(is_fine), "{cell} is not what it should be");
    }
}

fn write_head(out: &mut Vec<u8>) -> bool {
    out.clear();
    write_status_line(out, black_box(200), b"");
    for (name, value) in [
        (&b"Date"[..], &b"Sun, 06 Nov 1994 08:49:37 GMT"[..]),
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Cache-Control", b"private, max-age=0"),
        (b"X-Request-Id", b"0123456789abcdef"),
    ] {
        write_field(out, black_box(name), black_box(value));
    }
    write_content_length(out, black_box(1234));
    write_chunk_head(out, black_box(4096));
    !black_box(&out).is_empty()
}

/// So many nodes of two workers, which have nothing to do.
fn dispatch(nodes: u32) -> Dispatch<()> {
    let mut dispatch = Dispatch::new(1000, 4);
    for _ in 0..nodes {
        let node = dispatch.add_node();
        dispatch.add_worker(node, 16);
        dispatch.add_worker(node, 16);
    }
    dispatch
}

/// From its coming to its end.
fn one_request(dispatch: &mut Dispatch<()>) -> Option<WorkerId> {
    let Admission::Go(worker, _) = black_box(dispatch.admit(Wish::default(), || ())) else { return None };
    dispatch.start(worker, Duration::from_micros(20));
    dispatch.end(worker, Stage::Started, Duration::from_micros(200));
    Some(worker)
}
