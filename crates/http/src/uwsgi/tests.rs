use proptest::prelude::*;

use super::*;

const USUAL: [(&str, &str); 4] =
    [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a%20b?x=1"), ("PATH_INFO", "/a b"), ("SERVER_PROTOCOL", "HTTP/1.1")];

fn packet<'a>(modifiers: (u8, u8), variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for text in variables.into_iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    let [low, high] = u16::try_from(block.len()).unwrap().to_le_bytes();
    [vec![modifiers.0, low, high, modifiers.1], block].concat()
}

/// The usual variables and these.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<u8> {
    packet((0, 0), USUAL.iter().chain(more).copied())
}

fn parse(buffer: &mut [u8]) -> Result<Option<(usize, RequestHead)>, Refusal> {
    let mut head = RequestHead::default();
    parse_uwsgi(buffer, &Limits::default(), &mut head).map(|length| length.map(|length| (length, head)))
}

/// A head that must be there, and the buffer that its spans point into.
fn read(mut buffer: Vec<u8>) -> (RequestHead, Vec<u8>) {
    let (_, head) = parse(&mut buffer).unwrap().unwrap();
    (head, buffer)
}

fn fields((head, buffer): &(RequestHead, Vec<u8>), kinds: &[FieldKind]) -> Vec<(String, String)> {
    let text = |span: Span| String::from_utf8_lossy(span.of(buffer)).into_owned();
    let wanted = head.fields.iter().filter(|field| kinds.contains(&field.kind));
    wanted.map(|field| (text(field.name), text(field.value))).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_packet_becomes_a_head() {
    let mut buffer = with(&[
        ("QUERY_STRING", "x=1"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "3"),
        ("HTTPS", "on"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "4711"),
        ("REMOTE_USER", ""),
        ("SSL_CLIENT_CERT", "a\n\tb"),
        ("HTTP_HOST", "example.org"),
        ("HTTP_X_ONE", " one "),
        ("HTTP_CONTENT_LENGTH", "3"),
        ("HTTP_CONTENT_TYPE", "text/plain"),
        ("HTTP_X_FORWARDED_FOR", "192.0.2.9"),
        ("HTTP_PROXY", "evil"),
        ("HTTP_EXPECT", "100-continue"),
    ]);
    buffer.extend_from_slice(b"abc");
    let (length, head) = parse(&mut buffer).unwrap().unwrap();
    assert_eq!(&buffer[length..], b"abc");
    let of = |span: Span| std::str::from_utf8(span.of(&buffer)).unwrap();
    assert_eq!((of(head.method), of(head.target), of(head.query)), ("GET", "/a%20b?x=1", "x=1"));
    assert_eq!(
        (head.version, head.framing, head.host.map(of)),
        (Version::Http11, Framing::Length(3), Some("example.org"))
    );
    assert_eq!((head.keep_alive, head.expects_continue, head.answer_version()), (false, false, Version::Http10));
    let gateway = head.gateway.unwrap();
    assert_eq!((of(gateway.client), of(gateway.client_port), gateway.scheme), ("192.0.2.7", "4711", Scheme::Https));
    let whole = (head, buffer.clone());
    use FieldKind::{ContentLength, Expect, Forwarding, Host, Other, Proxy, Variable};
    assert_eq!(fields(&whole, &[Other]), owned(&[("X-ONE", "one"), ("CONTENT-TYPE", "text/plain")]));
    assert_eq!(fields(&whole, &[Forwarding]), owned(&[("X-FORWARDED-FOR", "192.0.2.9")]));
    assert_eq!(fields(&whole, &[Host, Proxy, Expect, ContentLength]).len(), 3);
    let variables = [
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("QUERY_STRING", "x=1"),
        ("HTTPS", "on"),
        ("SSL_CLIENT_CERT", "a\n\tb"),
        ("PATH_INFO", "/a b"),
    ];
    assert_eq!(fields(&whole, &[Variable]), owned(&variables));
}

#[test]
fn the_path_is_what_follows_the_mount() {
    // modifier1, REQUEST_URI, SCRIPT_NAME, PATH_INFO as it comes, and both as they reach the application.
    for (modifier1, uri, script, info, expected) in [
        (0, "/shop/a", "/shop", "/shop/a", ("/shop", "/a")),
        (0, "/shop/a", "/shop/", "/shop/a", ("/shop", "/a")),
        (0, "/shop/a", "/", "/shop/a", ("", "/shop/a")),
        (0, "/shop", "/shop", "/shop", ("/shop", "")),
        (0, "/shop/a", "/shop", "/a", ("/shop", "/a")),
        (0, "/shop/shop/a", "/shop", "/shop/a", ("/shop", "/shop/a")),
        (0, "/shop/shop/a", "/shop", "/shop/shop/a", ("/shop", "/shop/a")),
        (0, "/sh%6fp//a%20b", "/shop", "/shop/a b", ("/shop", "/a b")),
        (0, "/shopping", "/shop", "/shopping", ("/shop", "/shopping")),
        (30, "/x", "/shop", "/shop/a", ("/shop", "/a")),
        (30, "/shop/shop/a", "/shop", "/shop/a", ("/shop", "/a")),
        (0, "/%2e%41%25", "", "/.A%", ("", "/.A%")),
    ] {
        let given = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", uri), ("SCRIPT_NAME", script), ("PATH_INFO", info)];
        let found = fields(&read(packet((modifier1, 0), given)), &[FieldKind::Variable]);
        let value = |name| found.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
        assert_eq!((value("SCRIPT_NAME"), value("PATH_INFO")), expected, "{uri} {script} {info}");
    }
    let given = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/shop/a%20b?x"), ("SCRIPT_NAME", "/shop")];
    let (head, buffer) = read(packet((0, 0), given));
    assert_eq!(head.path.of(&buffer), b"/a%20b");
}

#[test]
fn the_last_of_two_counts_and_fields_are_kept() {
    let twice = read(with(&[
        ("REMOTE_ADDR", "192.0.2.1"),
        ("REMOTE_ADDR", "192.0.2.2"),
        ("HTTP_HOST", "a"),
        ("HTTP_HOST", "b"),
        ("CONTENT_LENGTH", ""),
        ("CONTENT_LENGTH", "5"),
        ("CONTENT_LENGTH", "5"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_COOKIE", "b=2"),
    ]));
    assert_eq!(twice.0.gateway.unwrap().client.of(&twice.1), b"192.0.2.2");
    assert_eq!((twice.0.host.unwrap().of(&twice.1), twice.0.framing), (&b"b"[..], Framing::Length(5)));
    assert_eq!(fields(&twice, &[FieldKind::Other]), owned(&[("COOKIE", "a=1"), ("COOKIE", "b=2")]));
}

#[test]
fn the_body_is_as_long_as_the_gateway_says() {
    let chunked = ("HTTP_TRANSFER_ENCODING", "chunked");
    for (given, expected) in [
        (&[][..], Framing::None),
        (&[("CONTENT_LENGTH", "")], Framing::None),
        (&[("HTTP_CONTENT_LENGTH", "7")], Framing::None),
        (&[("CONTENT_LENGTH", "0"), chunked], Framing::Length(0)),
        (&[("CONTENT_LENGTH", "7"), chunked], Framing::Length(7)),
        (&[chunked], Framing::Chunked),
    ] {
        assert_eq!(read(with(given)).0.framing, expected, "{given:?}");
    }
}

#[test]
fn schemes() {
    for (given, expected) in [
        (("HTTPS", "on"), Scheme::Https),
        (("HTTPS", "1"), Scheme::Https),
        (("HTTPS", "off"), Scheme::Http),
        (("HTTPS", ""), Scheme::Http),
        (("REQUEST_SCHEME", "https"), Scheme::Https),
        (("REQUEST_SCHEME", "http"), Scheme::Http),
        (("UWSGI_SCHEME", "https"), Scheme::Https),
        (("HTTP_X_FORWARDED_PROTO", "https"), Scheme::Http),
    ] {
        assert_eq!(read(with(&[given])).0.gateway.unwrap().scheme, expected, "{given:?}");
    }
}

#[test]
fn what_is_refused() {
    let [method, uri] = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/")];
    let long = "x".repeat(9_000);
    let longer = "x".repeat(17_000);
    let names: Vec<_> = (0..101).map(|n| format!("HTTP_X{n}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let own: Vec<_> = names.iter().map(|name| (&name[5..], "")).collect();
    let cut = |buffer: Vec<u8>, less: u8| {
        let mut buffer = buffer;
        buffer[1] -= less;
        buffer
    };
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        ("perl", packet((5, 0), USUAL), 400),
        ("ping", vec![100], 400),
        ("modifier2", packet((0, 1), USUAL), 400),
        ("empty", vec![0, 0, 0, 0], 400),
        ("a value longer than the block", cut(with(&[]), 1), 400),
        ("a name without a value", cut(packet((0, 0), [("A", "")]), 2), 400),
        ("half a length", vec![0, 1, 0, 0, 1], 400),
        ("no method", packet((0, 0), [uri]), 400),
        ("no target", packet((0, 0), [method]), 400),
        ("method", packet((0, 0), [("REQUEST_METHOD", "G T"), uri]), 400),
        ("long method", packet((0, 0), [("REQUEST_METHOD", &long[..33]), uri]), 501),
        ("connect", packet((0, 0), [("REQUEST_METHOD", "CONNECT"), uri]), 405),
        ("target", packet((0, 0), [method, ("REQUEST_URI", "/a b")]), 400),
        ("target form", packet((0, 0), [method, ("REQUEST_URI", "a")]), 400),
        ("long target", packet((0, 0), [method, ("REQUEST_URI", &format!("/{long}"))]), 414),
        ("path form", packet((0, 0), [method, uri, ("PATH_INFO", "a")]), 400),
        ("path NUL", packet((0, 0), [method, uri, ("PATH_INFO", "/\0")]), 400),
        ("path climbs", packet((0, 0), [method, uri, ("PATH_INFO", "/a/../../b")]), 400),
        ("script form", packet((0, 0), [method, uri, ("SCRIPT_NAME", "shop")]), 400),
        ("length", with(&[("CONTENT_LENGTH", "x")]), 400),
        ("lengths", with(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")]), 400),
        ("coding", with(&[("HTTP_TRANSFER_ENCODING", "gzip")]), 400),
        ("coding before chunked", with(&[("HTTP_TRANSFER_ENCODING", "gzip, chunked")]), 501),
        ("host", with(&[("HTTP_HOST", "a/b")]), 400),
        ("field name", with(&[("HTTP_A B", "x")]), 400),
        ("no field name", with(&[("HTTP_", "x")]), 400),
        ("field value", with(&[("HTTP_A", "a\r\nb: c")]), 400),
        ("type", with(&[("CONTENT_TYPE", "a\nb")]), 400),
        ("no name", with(&[("", "x")]), 400),
        ("server's name", with(&[("wsgi.input", "x")]), 400),
        ("named by Connection", with(&[("HTTP_CONNECTION", "Cookie")]), 400),
        ("long field", with(&[("HTTP_A", &longer)]), 431),
        ("long fields", with(&[("HTTP_A", &long), ("HTTP_B", &long), ("HTTP_C", &long), ("HTTP_D", &long)]), 431),
        ("many fields", with(&fields), 431),
        ("many variables", with(&own), 431),
    ];
    for (label, text, status) in cases {
        assert_eq!(parse(&mut text.clone()).map(|_| ()).map_err(|refusal| refusal.status), Err(*status), "{label}");
    }
}

#[test]
fn fields_that_connection_names_end_here() {
    let named = read(with(&[("HTTP_CONNECTION", "close, X-Secret"), ("HTTP_X_SECRET", "a")]));
    assert_eq!(fields(&named, &[FieldKind::HopByHop]), owned(&[("X-SECRET", "a")]));
}

#[test]
fn a_packet_in_pieces_is_the_same_packet() {
    let whole = with(&[("HTTP_HOST", "a_b")]);
    for end in 0..whole.len() {
        assert_eq!(parse(&mut whole[..end].to_vec()).map(|_| ()), Ok(()), "{end}");
        assert!(parse(&mut whole[..end].to_vec()).unwrap().is_none(), "{end}");
    }
    assert!(parse(&mut whole.clone()).unwrap().is_some());
}

proptest! {
    #[test]
    fn nothing_panics_and_no_span_leaves_the_packet(
        mut bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'/'), Just(b'_'), any::<u8>()], 0..300),
        usual in any::<bool>(),
        at in 0usize..300,
    ) {
        // Pairs that are whole, then anything; the size is what it has to be, or anything.
        let mut buffer = if usual { with(&[("SCRIPT_NAME", "/a"), ("HTTP_A_B", "c")]) } else { Vec::new() };
        if usual {
            let size = u16::try_from(buffer.len() - HEADER + bytes.len()).unwrap().to_le_bytes();
            buffer[1..3].copy_from_slice(&size);
            let last = buffer.len() - 1;
            buffer[at.min(last).max(3)] ^= bytes.first().copied().unwrap_or(0);
        }
        buffer.append(&mut bytes);
        if let Ok(Some((length, head))) = parse(&mut buffer) {
            prop_assert!(length <= buffer.len());
            for field in &head.fields {
                prop_assert!(field.value.end as usize <= length && field.name.end as usize <= length);
                let value = field.value.of(&buffer);
                prop_assert!(field.kind == FieldKind::Variable || !value.contains(&b'\n'));
            }
        }
    }
}
