use http::{Limits, parse_request};
use proptest::prelude::*;

use super::*;

const PAGE: Facts = Facts { status: 200, length: None };
const HTML: &str = "Content-Type: text/html\r\n";
const ALL: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";

/// The fields that a response with these has for a client that sends those.
fn changed(fields: &str, asked: &str, facts: Facts) -> String {
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{asked}\r\n").into_bytes();
    let mut head = RequestHead::default();
    parse_request(&input, &Limits::default(), &mut head).unwrap().unwrap();
    match judge(fields.as_bytes(), &head, &input, facts) {
        None => fields.to_owned(),
        Some(change) => {
            let mut out = Vec::new();
            write_fields(&mut out, fields.as_bytes(), change);
            String::from_utf8(out).unwrap()
        }
    }
}

fn is_compressed(fields: &str, facts: Facts) -> bool {
    changed(fields, ALL, facts).contains("Content-Encoding: zstd\r\n")
}

#[test]
fn types_that_gain() {
    for kind in [
        "text/html; charset=utf-8",
        "TEXT/CSS",
        "text/x-unknown",
        "application/json",
        "application/json;charset=utf-8",
        "application/problem+json",
        "application/javascript",
        "image/svg+xml",
        "application/wasm",
        "font/ttf",
        "application/x-ndjson",
    ] {
        assert!(is_compressed(&format!("content-type:{kind}\r\n"), PAGE), "{kind}");
    }
    for kind in [
        "",
        "text",
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "image/png",
        "image/jpeg",
        "video/mp4",
        "audio/mpeg",
        "font/woff2",
        "application/zip",
        "application/gzip",
        "application/pdf",
        "application/octet-stream",
        "multipart/form-data; boundary=text/html",
    ] {
        let fields = format!("Content-Type: {kind}\r\nETag: \"a\"\r\n");
        assert_eq!(changed(&fields, ALL, PAGE), fields);
    }
    assert!(!is_compressed("X: text/html\r\n", PAGE), "a type that nobody has named");
}

#[test]
fn files_and_responses_agree_on_what_gains() {
    for kind in crate::files::kinds() {
        assert_eq!(is_compressible(kind.name.as_bytes()), kind.compresses, "{}", kind.name);
    }
}

#[test]
fn statuses_lengths_and_fields_that_forbid_it() {
    for (status, expected) in [
        (200, true),
        (201, true),
        (203, true),
        (404, true),
        (410, true),
        (500, true),
        (204, false),
        (205, false),
        (206, false),
        (226, false),
        (301, false),
        (304, false),
    ] {
        assert_eq!(is_compressed(HTML, Facts { status, length: None }), expected, "{status}");
    }
    for (length, expected) in [(0, false), (1023, false), (1024, true), (u64::MAX, true)] {
        assert_eq!(is_compressed(HTML, Facts { length: Some(length), ..PAGE }), expected, "{length}");
    }
    for (field, expected) in [
        ("Content-Encoding: gzip", false),
        ("content-encoding: identity", false),
        ("Content-Range: bytes 0-1/2", false),
        ("Cache-Control: no-transform", false),
        ("cache-control: public, No-Transform", false),
        ("Cache-Control: max-age=5", true),
        ("Cache-Control: x=no-transform-not", true),
        ("Set-Cookie: a=b", true),
    ] {
        for fields in [format!("{field}\r\n{HTML}"), format!("{HTML}{field}\r\n")] {
            assert_eq!(is_compressed(&fields, PAGE), expected, "{fields}");
            assert_eq!(changed(&fields, "", PAGE) != fields, expected, "{fields}");
        }
    }
}

#[test]
fn fields_say_what_is_sent() {
    for (fields, accept, expected) in [
        ("", ALL, "Content-Encoding: zstd\r\nVary: Accept-Encoding\r\n"),
        ("", "Accept-Encoding: br, gzip\r\n", "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"),
        ("", "Accept-Encoding: gzip;q=0.5, br\r\n", "Content-Encoding: br\r\nVary: Accept-Encoding\r\n"),
        ("", "Accept-Encoding: gzip;q=0, identity\r\n", "Vary: Accept-Encoding\r\n"),
        ("", "", "Vary: Accept-Encoding\r\n"),
        ("Vary: Cookie\r\n", "", "Vary: Cookie, Accept-Encoding\r\n"),
        ("Vary: Cookie\r\nvary: Origin\r\n", "", "Vary: Cookie, Accept-Encoding\r\nvary: Origin\r\n"),
        ("Vary: Cookie\r\nVary: accept-encoding\r\n", "", "Vary: Cookie\r\nVary: accept-encoding\r\n"),
        ("Vary: *\r\n", "", "Vary: *\r\n"),
        ("Vary: *\r\n", "Accept-Encoding: gzip\r\n", "Vary: *\r\nContent-Encoding: gzip\r\n"),
        (
            "ETag: \"a\"\r\nAccept-Ranges: bytes\r\n",
            "",
            "ETag: \"a\"\r\nAccept-Ranges: bytes\r\nVary: Accept-Encoding\r\n",
        ),
        (
            "ETag: \"a\"\r\nAccept-Ranges: bytes\r\nContent-MD5: a\r\nDigest: a\r\nContent-Digest: a\r\nRepr-Digest: a\r\nX: y\r\n",
            "Accept-Encoding: gzip\r\n",
            "ETag: W/\"a\"\r\nX: y\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n",
        ),
        (
            "ETag: W/\"a\"\r\n",
            "Accept-Encoding: gzip\r\n",
            "ETag: W/\"a\"\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n",
        ),
    ] {
        assert_eq!(changed(&format!("{HTML}{fields}"), accept, PAGE), format!("{HTML}{expected}"), "{fields}{accept}");
    }
}

#[test]
fn a_304_has_the_tag_that_the_client_knows() {
    const TAG: &str = "ETag: \"a\"\r\n";
    let facts = Facts { status: 304, length: None };
    for asked in ["If-None-Match: W/\"a\"\r\n", "If-None-Match: \"b\", W/\"a\"\r\n"] {
        assert_eq!(changed(TAG, asked, facts), "ETag: W/\"a\"\r\nVary: Accept-Encoding\r\n");
    }
    for asked in ["", ALL, "If-None-Match: \"a\"\r\n", "If-None-Match: W/\"b\"\r\n", "If-None-Match: *\r\n"] {
        assert_eq!(changed(TAG, asked, facts), TAG, "{asked}");
    }
}

fn a_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Content-Type: text/html\r\n",
        "Content-Type: image/png\r\n",
        "Content-Encoding: gzip\r\n",
        "Content-Range: bytes 0-1/2\r\n",
        "Cache-Control: no-transform\r\n",
        "Cache-Control: private\r\n",
        "Vary: *\r\n",
        "Vary: Cookie\r\n",
        "vary: accept-encoding\r\n",
        "ETag: \"a\"\r\n",
        "ETag: W/\"a\"\r\n",
        "Accept-Ranges: bytes\r\n",
        "Digest: a\r\n",
        "Set-Cookie: a=b\r\n",
    ])
}

fn has(fields: &str, line: &str) -> bool {
    fields.to_ascii_lowercase().lines().any(|other| other == line)
}

fn varies(fields: &str) -> bool {
    fields.to_ascii_lowercase().lines().any(|line| {
        line.strip_prefix("vary: ")
            .is_some_and(|value| value.split(", ").any(|name| name == "*" || name == "accept-encoding"))
    })
}

proptest! {
    /// Whatever a response says, and whoever asks.
    #[test]
    fn what_is_said_is_true(
        fields in prop::collection::vec(a_field(), 0..6),
        status in prop::sample::select(vec![200_u16, 203, 204, 206, 302, 304, 404, 416, 503]),
        length in prop::option::of(0_u64..4096),
        accept in prop::sample::select(vec!["", "gzip", "br;q=1, *;q=0", "zstd, gzip;q=0.1", "*", "identity", "gzip;q=0"]),
    ) {
        let fields = fields.concat();
        let facts = Facts { status, length };
        let asked = if accept.is_empty() { String::new() } else { format!("Accept-Encoding: {accept}\r\n") };
        let (with, without) = (changed(&fields, &asked, facts), changed(&fields, "", facts));
        let compressed = with.matches("Content-Encoding").count() > fields.matches("Content-Encoding").count();
        // A cache that has one of the two knows whether it may give it to the other.
        prop_assert_eq!(varies(&with), varies(&without));
        prop_assert!(!without.contains("Content-Encoding") || fields.contains("Content-Encoding"));
        if compressed {
            prop_assert_eq!(with.matches("Content-Encoding").count(), 1);
            prop_assert!(varies(&with));
            prop_assert!(!matches!(status, 204..=206 | 300..=399 | 416) || status == 416 && !fields.contains("Content-Range"));
            prop_assert!(length.is_none_or(|length| 1024 <= length));
            prop_assert!(!fields.contains("Content-Range") && !fields.contains("no-transform"));
            prop_assert!(!matches!(accept, "" | "identity" | "gzip;q=0"));
            for lost in ["etag: \"a\"", "accept-ranges: bytes", "digest: a"] {
                prop_assert!(!has(&with, lost));
            }
        } else {
            for line in fields.lines().filter(|line| !line.to_ascii_lowercase().starts_with("vary")) {
                prop_assert!(with.contains(line));
            }
        }
    }
}
