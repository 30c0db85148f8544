use proptest::prelude::*;

use super::*;
use crate::{FieldKind, Framing};

fn parse(text: &[u8]) -> Result<Option<(usize, RequestHead)>, u16> {
    let mut head = RequestHead::default();
    let parsed = parse_request(text, &Limits::default(), &mut head).map_err(|refusal| refusal.status)?;
    Ok(parsed.map(|length| (length, head)))
}

fn get(rest: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes()
}

#[test]
fn a_head_is_split_into_its_parts() {
    let text = b"\r\nPOST /a%20b?x=1?y HTTP/1.1\r\nHost: example.org:80\r\nContent-Length: 005\r\nX-A:  b c \r\nY:\r\n\r\nabcde";
    let (length, head) = parse(text).unwrap().unwrap();
    assert_eq!(length, text.len() - 5);
    let of = |span: Span| std::str::from_utf8(span.of(text)).unwrap();
    assert_eq!(
        (of(head.method), of(head.target), of(head.path), of(head.query)),
        ("POST", "/a%20b?x=1?y", "/a%20b", "x=1?y")
    );
    assert_eq!((head.version, head.framing, head.keep_alive), (Version::Http11, Framing::Length(5), true));
    assert_eq!(head.host.map(of), Some("example.org:80"));
    let fields: Vec<_> = head.fields.iter().map(|field| (of(field.name), of(field.value), field.kind)).collect();
    assert_eq!(
        fields,
        [
            ("Host", "example.org:80", FieldKind::Host),
            ("Content-Length", "005", FieldKind::ContentLength),
            ("X-A", "b c", FieldKind::Other),
            ("Y", "", FieldKind::Other),
        ]
    );
}

#[test]
fn persistence_and_expectation_follow_version_and_fields() {
    for (text, keep_alive, expects) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, false),
        ("GET / HTTP/1.7\r\nHost: a\r\n\r\n", true, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n", false, false),
        ("GET / HTTP/1.0\r\n\r\n", false, false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n", true, true),
        ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", true, false),
        ("PUT / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", false, false),
    ] {
        let (_, head) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.keep_alive, head.expects_continue), (keep_alive, expects), "{text}");
    }
}

#[test]
fn fields_are_sorted() {
    let text = get(
        "Connection: x-mine\r\nX-Mine: 1\r\nX_Under: 1\r\nProxy: 1\r\nX-Forwarded-For: 1\r\nForwarded: 1\r\nTE: x\r\n",
    );
    let (_, head) = parse(&text).unwrap().unwrap();
    let kinds: Vec<_> = head.fields[2..].iter().map(|field| field.kind).collect();
    use FieldKind::{Forwarding, HopByHop, Proxy, Underscore};
    assert_eq!(kinds, [HopByHop, Underscore, Proxy, Forwarding, Forwarding, HopByHop]);
}

#[test]
fn connection_names_what_ends_here() {
    let text =
        get("Connection: a, b_c ,, TRACESTATE\r\nA: 1\r\nB_C: 1\r\ntracestate: 1\r\nD_e: 1\r\nX-Request-Id: 1\r\n");
    let (_, head) = parse(&text).unwrap().unwrap();
    let kinds: Vec<_> = head.fields[2..].iter().map(|field| field.kind).collect();
    use FieldKind::{HopByHop, RequestId, Underscore};
    assert_eq!(kinds, [HopByHop, HopByHop, HopByHop, Underscore, RequestId]);
}

#[test]
fn targets() {
    for (target, path, query) in [
        ("/", "/", ""),
        ("//x", "//x", ""),
        ("/a/../b", "/a/../b", ""),
        ("/%2e%2E/", "", "400"),
        ("/a%2fb?%zz", "/a%2fb", "%zz"),
        ("http://a/x?y", "/x", "y"),
        ("HTTP://A", "", ""),
        ("http://b/", "", "400"),
        ("http://u@a/", "", "400"),
        ("/..", "", "400"),
        ("/a/../../b", "", "400"),
        ("/%", "", "400"),
        ("/%4", "", "400"),
        ("/%00", "", "400"),
        ("/%gg", "", "400"),
        ("/#a", "", "400"),
        ("/\\", "", "400"),
        ("/<", "", "400"),
        ("/\u{e9}", "", "400"),
        ("*", "", "400"),
        ("a", "", "400"),
        ("a:80", "", "400"),
        ("ftp://a/", "", "400"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        match parse(text.as_bytes()) {
            Ok(Some((_, head))) => {
                let got = (head.path.of(text.as_bytes()), head.query.of(text.as_bytes()));
                assert_eq!(got, (path.as_bytes(), query.as_bytes()), "{target}");
            }
            other => assert_eq!((other.map(|_| ()), query), (Err(400), "400"), "{target}"),
        }
    }
    for (line, expected) in [
        ("OPTIONS *", true),
        ("OPTIONS http://a", true),
        ("OPTIONS http://a/", false),
        ("OPTIONS http://a?", false),
        ("OPTIONS http://a?b", false),
        ("OPTIONS /", false),
        ("GET http://a", false),
    ] {
        let star = parse(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap().unwrap().1;
        assert_eq!(star.is_asterisk, expected, "{line}");
    }
}

#[test]
fn the_host_of_an_absolute_target_counts() {
    for (target, version, host, expected) in [
        ("http://b:81/", "1.0", "", Some("b:81")),
        ("http://b", "1.0", "Host:\r\n", Some("b")),
        ("http://b?x", "1.1", "Host: B\r\n", Some("b")),
        ("http://b:80/", "1.1", "Host: b\r\n", Some("b:80")),
        ("http://b/", "1.1", "Host: b:80\r\n", Some("b")),
        ("http://b:/", "1.1", "Host: b\r\n", Some("b:")),
        ("https://[::1]/", "1.1", "Host: [::1]:443\r\n", Some("[::1]")),
        ("https://b:80/", "1.1", "Host: b\r\n", None),
        ("http://b:443/", "1.1", "Host: b\r\n", None),
        ("http://b:81/", "1.1", "Host: b:80\r\n", None),
        ("http://b/", "1.1", "", None),
        ("http://b/", "1.0", "Host: a\r\n", None),
        ("/", "1.0", "", Some("")),
    ] {
        let text = format!("GET {target} HTTP/{version}\r\n{host}\r\n");
        let parsed = parse(text.as_bytes());
        let found = parsed.map(|parsed| {
            let (_, head) = parsed.unwrap();
            head.host.map_or("", |host| std::str::from_utf8(host.of(text.as_bytes())).unwrap()).to_owned()
        });
        assert_eq!(found, expected.map(str::to_owned).ok_or(400), "{text:?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000));
    let open_target = format!("GET /{}", "a".repeat(9000));
    let many = get(&"A: b\r\n".repeat(101));
    let big = get(&format!("A: {}\r\n", "b".repeat(17 * 1024)));
    let huge = get(&format!("A: {0}\r\nB: {0}\r\nC: {0}\r\n", "b".repeat(12 * 1024)));
    let cases: &[(&str, &[u8], u16)] = &[
        ("SMUG-CL-TE-BOTH", &get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("SMUG-DUPLICATE-CL", &get("Content-Length: 3\r\nContent-Length: 3\r\n"), 400),
        ("SMUG-CL-COMMA-SAME", &get("Content-Length: 3, 3\r\n"), 400),
        ("SMUG-CL-SIGN", &get("Content-Length: +3\r\n"), 400),
        ("SMUG-CL-HEX", &get("Content-Length: 0x3\r\n"), 400),
        ("SMUG-CL-EMPTY", &get("Content-Length:\r\n"), 400),
        ("SMUG-CL-SPACE", &get("Content-Length: 1 0\r\n"), 400),
        ("MAL-CL-OVERFLOW", &get("Content-Length: 9223372036854775808\r\n"), 400),
        ("SMUG-TE-TWICE", &get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("SMUG-TE-LIST", &get("Transfer-Encoding: chunked, chunked\r\n"), 400),
        ("SMUG-TE-IDENTITY", &get("Transfer-Encoding: identity\r\n"), 400),
        ("SMUG-TE-XCHUNKED", &get("Transfer-Encoding: xchunked\r\n"), 400),
        ("SMUG-TE-GZIP", &get("Transfer-Encoding: gzip, chunked\r\n"), 501),
        ("SMUG-TE-UNKNOWN", &get("Transfer-Encoding: foo;a=\"b\",\tCHUNKED\r\n"), 501),
        ("SMUG-TE-UNKNOWN-ALONE", &get("Transfer-Encoding: foo\r\n"), 400),
        ("SMUG-TE-GZIP-ALONE", &get("Transfer-Encoding: gzip\r\n"), 400),
        ("SMUG-TE-NOT-LAST", &get("Transfer-Encoding: chunked, gzip\r\n"), 400),
        ("SMUG-TE-TWICE-AND-ANOTHER", &get("Transfer-Encoding: chunked, gzip, chunked\r\n"), 400),
        ("SMUG-TE-EMPTY-ELEMENT", &get("Transfer-Encoding: , chunked\r\n"), 400),
        ("SMUG-TE-NO-TOKEN", &get("Transfer-Encoding: \"x\", chunked\r\n"), 400),
        ("SMUG-TE-EMPTY", &get("Transfer-Encoding:\r\n"), 400),
        ("SMUG-TE-HTTP10", b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("SMUG-TE-OBS-FOLD", &get("Transfer-Encoding:\r\n chunked\r\n"), 400),
        ("RFC9110-SP-BEFORE-COLON", &get("A : b\r\n"), 400),
        ("RFC9112-NO-COLON", &get("A\r\n"), 400),
        ("RFC9112-EMPTY-NAME", &get(": b\r\n"), 400),
        ("COMP-WHITESPACE-BEFORE-HEADERS", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("RFC9112-BARE-LF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
        ("RFC9112-BARE-LF-FIELD", &get("A: b\nC: d\r\n"), 400),
        ("RFC9112-BARE-CR", &get("A: b\rC: d\r\n"), 400),
        ("MAL-NUL-IN-VALUE", &get("A: b\0\r\n"), 400),
        ("MAL-CONTROL-CHARS", &get("A: b\x0b\r\n"), 400),
        ("COMP-MULTI-SP", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("COMP-REQUEST-LINE-TAB", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("COMP-SPACE-IN-TARGET", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("RFC9112-HTTP09", b"GET /\r\n\r\n", 400),
        ("RFC9112-VERSION", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("RFC9112-VERSION-CASE", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("MAL-H2-PREFACE", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("COMP-METHOD-CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("COMP-TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("COMP-METHOD-BYTE", b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("METHOD-LONG", &[&[b'A'; 33][..], b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat(), 501),
        ("TLS-HELLO", b"\x16\x03\x01\x02\x00", 400),
        ("HOST-MISSING", b"GET / HTTP/1.1\r\n\r\n", 400),
        ("HOST-TWICE", &get("Host: a\r\n"), 400),
        ("HOST-EMPTY", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("HOST-USERINFO", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("HOST-PATH", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("HOST-LIST", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("HOST-PORT", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("HOST-V6", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("COMP-EXPECT-UNKNOWN", &get("Expect: 200-ok\r\n"), 417),
        ("CONNECTION-NAMES-HOST", &get("Connection: Host\r\n"), 400),
        ("CONNECTION-NAMES-FORWARDING", &get("Connection: close, X-Forwarded-For\r\n"), 400),
        ("CONNECTION-NAMES-AUTHORIZATION", &get("Connection: authorization\r\n"), 400),
        ("MAL-LONG-URL", long_target.as_bytes(), 414),
        ("MAL-LONG-URL-OPEN", open_target.as_bytes(), 414),
        ("MAL-MANY-HEADERS", &many, 431),
        ("MAL-LONG-HEADER", &big, 431),
        ("MAL-LONG-HEAD", &huge, 431),
    ];
    for (label, text, status) in cases {
        assert_eq!(parse(text).map(|_| ()), Err(*status), "{label}");
    }
}

#[test]
fn a_head_request_is_known_before_it_is_understood() {
    for (text, expected) in [
        ("HEAD / HTTP/1.1\r\n\r\n", true),
        ("\r\nHEAD ", true),
        ("HEAD", false),
        ("HEADER / HTTP/1.1\r\n", false),
        ("head / HTTP/1.1\r\n", false),
        ("GET /?HEAD ", false),
    ] {
        assert_eq!(asks_for_head(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn hosts_that_are_valid() {
    for host in [
        "a",
        "a.b-c:8080",
        "127.0.0.1",
        "[::1]:80",
        "[::ffff:1.2.3.4]",
        "[2001:DB8::1]:65535",
        "xn--a",
        "a:",
        "a_b",
        "%c3%A9.org",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(matches!(parse(text.as_bytes()), Ok(Some(_))), "{host}");
    }
}

#[test]
fn hosts_that_are_not() {
    for host in [
        "%zz",
        "%",
        "a%4",
        "[1]",
        "[:::]",
        "[]",
        "[::1",
        "::1",
        "[::1]a",
        "[::1%25eth0]",
        "[v1.a]",
        "a]",
        "a[",
        ":80",
        "a:99999",
        "a:65536",
        "a:-1",
        "a:+1",
        "a:1:2",
        "a b",
        "a,b",
        "a/b",
        "u@a",
        "[::1]:x",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(parse(text.as_bytes()).map(|_| ()), Err(400), "{host}");
    }
}

#[test]
fn a_head_in_pieces_is_the_same_head() {
    let text = get("Content-Length: 3\r\nA: b\r\n");
    let mut scan = HeadScan::default();
    for end in 1..text.len() {
        assert!(!scan.may_be_complete(&text[..end], &Limits::default()), "{end}");
        assert!(matches!(parse(&text[..end]), Ok(None)), "{end}");
    }
    assert!(scan.may_be_complete(&text, &Limits::default()));
    assert!(matches!(parse(&text), Ok(Some(_))));
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_is_read_twice(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(b'/'), Just(b'%'), any::<u8>()], 0..200),
        valid_start in any::<bool>(),
    ) {
        let mut text = if valid_start { b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec() } else { Vec::new() };
        text.extend_from_slice(&bytes);
        if let Ok(Some((length, head))) = parse(&text) {
            prop_assert!(length <= text.len());
            prop_assert!(text[..length].ends_with(b"\r\n\r\n"));
            for field in &head.fields {
                prop_assert!(!field.value.of(&text).contains(&b'\n'));
            }
        }
    }
}
