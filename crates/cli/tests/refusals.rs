//! What could be read in two ways, or is too much, is refused; nothing behind it on the connection is answered.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RUNS: &str = include_str!("apps/runs.py");

fn project() -> Project {
    Project::new(TIERCE, RUNS, "workers = 1\nlimits = { body = '1MB' }")
}

fn refused(running: &Running<'_>, label: &str, request: &[u8], status: u16) {
    let mut client: Client = running.client();
    client.send(request).unwrap();
    let response = client.response().unwrap();
    assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{label}");
    assert_eq!(client.rest().unwrap(), b"", "{label}: nothing more is answered");
}

/// Bytes that would be a request of their own if the framing before them were read in another way.
const SMUGGLED: &str = "POST /run/666 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let project = project();
    let running = project.up(&["--access-log", "json"]);
    for (label, fields) in [
        ("both framings", "Content-Length: 4\r\nTransfer-Encoding: chunked"),
        ("both framings, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 4"),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 40"),
        ("two lengths in one field", "Content-Length: 0, 40"),
        ("a length with a sign", "Content-Length: +0"),
        ("a negative length", "Content-Length: -1"),
        ("a hexadecimal length", "Content-Length: 0x0"),
        ("an empty length", "Content-Length: "),
        ("a length with a space", "Content-Length: 0 0"),
        ("a length that does not fit", "Content-Length: 18446744073709551616"),
        ("a length before a colon with a space", "Content-Length : 0"),
        ("a folded length", "Content-Length:\r\n 0"),
        ("a coding that hides", "Transfer-Encoding: xchunked"),
        ("a coding in quotes", "Transfer-Encoding: \"chunked\""),
        ("a coding that is not the last", "Transfer-Encoding: chunked, identity"),
        ("a coding twice", "Transfer-Encoding: chunked, chunked"),
        ("a coding in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("a coding with a control character", "Transfer-Encoding: \x0bchunked"),
        ("a coding behind a bare carriage return", "A: b\rTransfer-Encoding: chunked"),
        ("a coding behind a bare line feed", "A: b\nTransfer-Encoding: chunked"),
        ("a field without a name", ": x"),
        ("a field without a colon", "Content-Length 0"),
        ("a zero byte in a field", "A: b\0c"),
        ("a space before the first field", " A: b"),
        ("two hosts", "Host: b"),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{SMUGGLED}");
        let mut client = running.client();
        client.send(request).unwrap();
        let response = client.response().unwrap_or_else(|error| panic!("{label}: {error}"));
        // A coding that is not known is 501 (RFC 9112 §6.1); the rest is no HTTP.
        let expected = if response.status == 501 && fields.starts_with("Transfer") { 501 } else { 400 };
        assert_eq!((response.status, response.field("connection")), (expected, Some("close")), "{label}");
        assert_eq!(client.rest().unwrap(), b"", "{label}: nothing more is answered");
    }
    assert_eq!(running.client().get("/").unwrap().status, 200);
    wait_for("the log", || running.out().contains("\"http.response.status_code\":200"));
    assert_eq!(project.read("runs.txt"), "", "what was smuggled never ran");
    assert!(!running.out().contains("/run/666"), "nor was it logged as a request");
}

#[test]
fn chunks_that_could_be_read_in_two_ways() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    for (label, body) in [
        ("no number", "zz\r\n"),
        ("a sign", "+1\r\na\r\n0\r\n\r\n"),
        ("a prefix", "0x1\r\na\r\n0\r\n\r\n"),
        ("an empty size", "\r\na\r\n0\r\n\r\n"),
        ("a size that does not fit", "10000000000000001\r\na\r\n0\r\n\r\n"),
        ("a bare line feed behind the size", "1\na\r\n0\r\n\r\n"),
        ("a bare line feed in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"),
        ("more data than the size says", "1\r\nab\r\n0\r\n\r\n"),
        ("a bare line feed behind the data", "1\r\na\n0\r\n\r\n"),
        ("a trailer that is none", "1\r\na\r\n0\r\nno colon\r\n\r\n"),
    ] {
        let request = format!("POST /run/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}");
        refused(&running, label, request.as_bytes(), 400);
        assert_eq!(project.read("runs.txt"), "", "{label}: the application never had the whole body");
    }
}

#[test]
fn heads_that_are_wrong_or_too_large() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    for (label, request, status) in [
        ("bare line feeds", "GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("a folded field", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n".to_owned(), 400),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("another version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("an unknown expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n".to_owned(), 417),
        ("a long target", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9_000)), 414),
        ("a long head", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(200)), 431),
        ("a long body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n".to_owned(), 413),
        ("a climbing path", "GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00".to_owned(), 400),
    ] {
        refused(&running, label, request.as_bytes(), status);
    }
    // No answer to HEAD has content (RFC 9110 §9.3.2), be it a refusal.
    for request in ["HEAD / HTTP/1.1\r\n\r\n", "HEAD /../ HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nHEAD / HTTP/3.0\r\n\r\n"] {
        let mut client = running.client();
        client.send(request).unwrap();
        let head = client.head().unwrap();
        assert!(matches!(head.status, 400 | 505), "{request}: {}", head.status);
        assert_eq!(client.rest().unwrap(), b"", "{request}");
    }
    let chunks = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{0:x}\r\n{1}\r\n",
        2_000_000,
        "x".repeat(1_100_000)
    );
    let mut client = running.client();
    client.send(chunks).unwrap_or_default();
    assert_eq!(client.response().unwrap().status, 413, "a chunked body that is too long");
}

#[test]
fn what_is_refused_is_found_in_the_log() {
    let project = project();
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n").unwrap();
    let response = client.response().unwrap();
    let id = response.field("x-request-id").unwrap_or_else(|| panic!("{response:?}"));
    assert!(response.text().contains(&format!("request id: {id}")), "{}", response.text());
    wait_for("its line in the log", || {
        let out = running.out();
        out.lines().any(|line| line.contains(id) && line.contains("http_protocol_error"))
    });
}
