use super::*;

fn decode(framing: Framing, input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at, mut have) = (Vec::new(), 0, 0);
    while have < input.len() && !decoder.is_done() {
        have = (have + piece).min(input.len());
        loop {
            let decoded = decoder.decode(&input[at..have]).map_err(|refusal| refusal.status)?;
            data.extend_from_slice(&input[at..have][decoded.data]);
            at += decoded.consumed;
            if decoded.consumed == 0 || decoded.done {
                break;
            }
        }
    }
    Ok((data, at, decoder.is_done()))
}

#[test]
fn bodies_are_found_in_any_pieces() {
    for (framing, input, data, rest) in [
        (Framing::None, &b"GET"[..], &b""[..], 3),
        (Framing::Length(3), b"abcGET", b"abc", 3),
        (Framing::Chunked, b"3\r\nabc\r\n0\r\n\r\nGET", b"abc", 3),
        (Framing::Chunked, b"a\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n", b"0123456789x", 0),
        (Framing::Chunked, b"1;a=b;c=\"d;\\\"\r\n\"", b"", 99),
        (Framing::Chunked, b"1;a=b;c=\"d;\\\"\" ;e\r\nx\r\n0;last\r\n\r\n", b"x", 0),
        (Framing::Chunked, b"1;a = b\t; c\t= \"d\" ; e ;f\r\nx\r\n0\r\n\r\n", b"x", 0),
        (Framing::Chunked, b"1 ;a\r\nx\r\n0\r\nA: b\r\nContent-Length: 3\r\n\r\nabc", b"x", 3),
    ] {
        for piece in 1..=input.len() {
            let decoded = decode(framing, input, piece);
            if rest == 99 {
                assert_eq!(decoded, Err(400));
            } else {
                assert_eq!(
                    decoded,
                    Ok((data.to_vec(), input.len() - rest, true)),
                    "{:?}",
                    String::from_utf8_lossy(input)
                );
            }
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let (long_extension, many) = (format!("1;{}\r\n", "a".repeat(300)), format!("0\r\n{}\r\n", "A: b\r\n".repeat(33)));
    for (label, input) in [
        ("SMUG-CHUNK-HEX-PREFIX", &b"0x3\r\nabc\r\n"[..]),
        ("SMUG-CHUNK-LEADING-SP", b" 3\r\nabc\r\n"),
        ("SMUG-CHUNK-SIZE-TRAILING-OWS", b"3 \r\nabc\r\n"),
        ("SMUG-CHUNK-NEGATIVE", b"-3\r\nabc\r\n"),
        ("SMUG-CHUNK-UNDERSCORE", b"1_0\r\nabc\r\n"),
        ("MAL-CHUNK-SIZE-OVERFLOW", b"10000000000000000\r\n"),
        ("SMUG-CHUNK-LF-TERM", b"3\nabc\r\n"),
        ("SMUG-CHUNK-BARE-CR-TERM", b"3\rabc\r\n"),
        ("SMUG-CHUNK-SPILL", b"3\r\nabcd\r\n"),
        ("SMUG-CHUNK-DATA-LF", b"3\r\nabc\n0\r\n\r\n"),
        ("SMUG-CHUNK-BARE-SEMICOLON", b"3;\r\nabc\r\n"),
        ("a semicolon after a semicolon", b"3;a;;b\r\nabc\r\n"),
        ("a semicolon for a value", b"3;a=;b\r\nabc\r\n"),
        ("no value", b"3;a= \r\nabc\r\n"),
        ("two names", b"3;a b\r\nabc\r\n"),
        ("two values", b"3;a=b c\r\nabc\r\n"),
        ("a value behind a quoted one", b"3;a=\"b\"c\r\nabc\r\n"),
        ("a second equals sign", b"3;a=b=c\r\nabc\r\n"),
        ("white space behind a name", b"3;a \r\nabc\r\n"),
        ("white space behind a value", b"3;a=b\t\r\nabc\r\n"),
        ("white space behind a quoted value", b"3;a=\"b\" \r\nabc\r\n"),
        ("SMUG-CHUNK-EXT-LF", b"3;a\nabc\r\n"),
        ("SMUG-CHUNK-EXT-CTL", b"3;a\x00\r\nabc\r\n"),
        ("MAL-CHUNK-EXT-64K", long_extension.as_bytes()),
        ("SMUG-TRAILER-LF", b"0\r\nA: b\n\r\n"),
        ("SMUG-TRAILER-FOLD", b"0\r\n A: b\r\n\r\n"),
        ("EMPTY-SIZE", b"\r\nabc"),
    ] {
        assert_eq!(decode(Framing::Chunked, input, input.len()), Err(400), "{label}");
        assert_eq!(decode(Framing::Chunked, input, 1), Err(400), "{label}");
    }
    assert_eq!(decode(Framing::Chunked, many.as_bytes(), 7), Err(431));
}

#[test]
fn extensions_are_counted_in_each_chunk() {
    let of = |length: usize| format!("1{};a\r\nx\r\n", " ".repeat(length));
    for (chunks, expected) in [
        (of(200) + &of(200) + "0\r\n\r\n", Ok(true)),
        (of(250) + "0\r\n\r\n", Ok(true)),
        (of(260) + "0\r\n\r\n", Err(400)),
        (of(250).repeat(70) + "0\r\n\r\n", Err(400)),
    ] {
        for piece in [1, chunks.len()] {
            assert_eq!(decode(Framing::Chunked, chunks.as_bytes(), piece).map(|(_, _, done)| done), expected);
        }
    }
}
