use super::*;

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, block].concat()
}

fn v4(rest: &[u8]) -> Vec<u8> {
    binary(0x21, 0x11, &[&[192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb], rest].concat())
}

fn v6(address: Ipv6Addr) -> Vec<u8> {
    binary(0x21, 0x21, &[&address.octets()[..], &[0; 16], &[0, 80, 1, 187]].concat())
}

fn good() -> Vec<(Vec<u8>, Option<&'static str>, Option<Scheme>)> {
    let line = |text: &str| text.as_bytes().to_vec();
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_MAX - 16));
    vec![
        (line("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"), Some("192.0.2.1:4711"), None),
        (line("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), Some("[2001:db8::1]:0"), None),
        (line("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), Some("192.0.2.1:1"), None),
        (line("PROXY UNKNOWN\r\n"), None, None),
        (line("PROXY UNKNOWN whatever it says\r\n"), None, None),
        (line(&longest), None, None),
        (v4(b""), Some("192.0.2.1:4711"), None),
        (v4(&[0x20, 0, 5, 1, 0, 0, 0, 0]), Some("192.0.2.1:4711"), Some(Scheme::Https)),
        (v4(&[1, 0, 1, 9, 0x20, 0, 5, 0, 0, 0, 0, 0]), Some("192.0.2.1:4711"), Some(Scheme::Http)),
        (v4(&[4, 0, 0]), Some("192.0.2.1:4711"), None),
        (v6("2001:db8::2".parse().unwrap()), Some("[2001:db8::2]:80"), None),
        (v6("::ffff:192.0.2.9".parse().unwrap()), Some("192.0.2.9:80"), None),
        (binary(0x21, 0x31, &[0; 216]), None, None),
        (binary(0x21, 0x00, &[]), None, None),
        (binary(0x20, 0x00, &[]), None, None),
        // What a local header holds means nothing.
        (binary(0x20, 0x11, &[1, 2, 3]), None, None),
        (v4(&[[1, 0x0f, 0xe1].as_slice(), &[0; PROXY_HEADER_MAX - 28 - 3]].concat()), Some("192.0.2.1:4711"), None),
    ]
}

#[test]
fn a_header_is_read_however_it_is_cut_and_nothing_behind_it() {
    for (header, client, scheme) in good() {
        for cut in 0..header.len() {
            assert_eq!(parse_proxy_header(&header[..cut]), Ok(None), "{}", header[..cut].escape_ascii());
        }
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n", b"\n", b"\0", b"PROXY "] {
            let input = [&header[..], behind].concat();
            let client = client.map(|client| client.parse().unwrap());
            let expected = ProxyHeader { length: header.len(), client, scheme };
            assert_eq!(parse_proxy_header(&input), Ok(Some(expected)), "{}", input.escape_ascii());
        }
    }
}

#[test]
fn anything_else_is_refused() {
    let line = |text: &str| text.as_bytes().to_vec();
    for header in [
        line("GET / HTTP/1.1\r\n"),
        line("POST"),
        line("\x16\x03\x01"),
        line("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        line("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        line("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n"),
        line("PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n"),
        line("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n"),
        line("PROXY TCP4 ::1 ::1 1 2\r\n"),
        line("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"),
        line("PROXY TCP6 ::1%lo ::1 1 2\r\n"),
        line("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        line("PROXY UNKNOWNX\r\n"),
        line("PROXY \r\n"),
        line(&format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_MAX - 15))),
        line(&format!("PROXY UNKNOWN {}", "f".repeat(LINE_MAX))),
        SIGNATURE[..4].iter().chain(b"GET").copied().collect(),
        binary(0x11, 0x11, &[0; 12]),
        binary(0x22, 0x11, &[0; 12]),
        binary(0x21, 0x11, &[0; 11]),
        binary(0x21, 0x21, &[0; 35]),
        binary(0x21, 0x31, &[0; 215]),
        binary(0x21, 0x12, &[0; 12]),
        binary(0x21, 0x10, &[0; 12]),
        binary(0x21, 0x41, &[0; 12]),
        v4(&[1]),
        v4(&[1, 0]),
        v4(&[1, 0, 2, 9]),
        v4(&[0x20, 0, 0]),
        v4(&[0; PROXY_HEADER_MAX - 27]),
    ] {
        assert!(parse_proxy_header(&header).is_err(), "{}", header.escape_ascii());
    }
}

proptest::proptest! {
    /// Whatever comes and however it is cut: once it is refused or whole, more bytes change nothing.
    #[test]
    fn more_bytes_never_change_the_answer(
        which in 0..17_usize,
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte in proptest::prelude::any::<u8>(),
        behind in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let mut input = good().swap_remove(which).0;
        let at = at.index(input.len());
        input[at] = byte;
        input.extend(behind);
        let whole = parse_proxy_header(&input);
        for cut in 0..input.len() {
            match parse_proxy_header(&input[..cut]) {
                Ok(None) => {}
                Ok(Some(header)) => {
                    proptest::prop_assert!(header.length <= cut);
                    proptest::prop_assert_eq!(Ok(Some(header)), whole);
                }
                Err(_) => proptest::prop_assert!(whole.is_err()),
            }
        }
    }
}
