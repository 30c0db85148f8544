use super::*;

fn parse(text: &str, to_head: bool) -> Result<Option<(ReceivedHead, usize)>, Refusal> {
    let mut head = ReceivedHead::default();
    let parsed = parse_response(text.as_bytes(), &Limits::default(), to_head, &mut head)?;
    Ok(parsed.map(|length| (head, length)))
}

#[test]
fn the_end_of_a_body_follows_from_its_head() {
    use ReceivedBody::{Framed, UntilClose};
    let chunked = Framed(Framing::Chunked);
    let (none, three) = (Framed(Framing::None), Framed(Framing::Length(3)));
    for (head, to_head, body, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, three, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, none, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false, chunked, true),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", false, chunked, false),
        ("HTTP/1.1 200 OK\r\n\r\n", false, UntilClose, false),
        ("HTTP/1.1 200 OK\r\n\r\n", true, none, true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, three, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\n", false, three, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, close\r\n\r\n", false, three, false),
        ("HTTP/1.1 204 \r\nContent-Length: 3\r\n\r\n", false, none, true),
        ("HTTP/1.1 304\r\nContent-Length: 3\r\n\r\n", false, none, true),
        ("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", false, none, true),
    ] {
        let (parsed, length) = parse(head, to_head).unwrap().unwrap();
        assert_eq!((parsed.body, parsed.keep_alive, length), (body, keep_alive, head.len()), "{head}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 3\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 \x01\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "hello",
    ] {
        assert!(parse(text, false).is_err(), "{text:?}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(101));
    let long = format!("HTTP/1.1 200 OK\r\n{}", format!("A: {}\r\n", "b".repeat(10_000)).repeat(4));
    let open = format!("HTTP/1.1 200 {}", "b".repeat(40_000));
    for text in [many, long, open] {
        assert!(parse(&text, false).is_err());
    }
}

#[test]
fn heads_are_found_in_any_pieces() {
    let head = "HTTP/1.1 404 Not Found\r\nDate: x\r\nConnection: A-b, c_d\r\na-B: 1\r\nC: 2\r\nC_D: 3\r\nContent-Length: 3\r\n\r\n";
    for length in 0..head.len() {
        assert!(parse(&head[..length], false).unwrap().is_none(), "{length}");
    }
    let (parsed, length) = parse(&format!("{head}abc"), false).unwrap().unwrap();
    assert_eq!((length, parsed.status, parsed.reason.of(head.as_bytes())), (head.len(), 404, &b"Not Found"[..]));
    let passes = |name: &str| {
        parsed
            .fields
            .iter()
            .any(|field| field.kind != FieldKind::HopByHop && field.name.of(head.as_bytes()) == name.as_bytes())
    };
    assert_eq!((passes("a-B"), passes("C_D"), passes("C"), parsed.has_date), (false, false, true, true));
}
