//! The header that names a client to an upstream, in both versions.

use std::net::{IpAddr, SocketAddr};

use super::SIGNATURE;

/// The client, and where it has come in.
type Ends = (SocketAddr, SocketAddr);

/// Appends the header in version 1, a line; `None` when there is no client, or none that is known.
pub fn write_proxy_line(out: &mut Vec<u8>, ends: Option<Ends>) {
    let line = match ends.map(alike) {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some((client, here)) => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (client.ip(), here.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), here.port())
        }
    };
    out.extend_from_slice(line.as_bytes());
}

/// The same in version 2; where there is no client the connection is our own (LOCAL).
pub fn write_proxy_binary(out: &mut Vec<u8>, ends: Option<Ends>) {
    out.extend_from_slice(SIGNATURE);
    let Some((client, here)) = ends.map(alike) else {
        out.extend_from_slice(&[0x20, 0x00, 0, 0]);
        return;
    };
    out.extend_from_slice(if client.is_ipv4() { &[0x21, 0x11, 0, 12] } else { &[0x21, 0x21, 0, 36] });
    for end in [client, here] {
        match end.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&here.port().to_be_bytes());
}

/// Both in the same family, as a header has one only; without the zones of link-local addresses, which are nobody else's.
fn alike((client, here): Ends) -> Ends {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (client, here) = (plain(client), plain(here));
    let wide = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    if client.is_ipv4() == here.is_ipv4() { (client, here) } else { (wide(client), wide(here)) }
}

#[cfg(test)]
mod tests {
    use super::{super::parse_proxy_header, *};

    #[test]
    fn what_is_written_is_read() {
        for (client, here, line) in [
            ("192.0.2.1:56324", "198.51.100.1:443", "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"),
            ("[2001:db8::1]:1", "[::1]:80", "PROXY TCP6 2001:db8::1 ::1 1 80\r\n"),
            ("[::ffff:192.0.2.1]:1", "127.0.0.1:80", "PROXY TCP4 192.0.2.1 127.0.0.1 1 80\r\n"),
            ("192.0.2.1:0", "[::1]:80", "PROXY TCP6 ::ffff:192.0.2.1 ::1 0 80\r\n"),
        ] {
            let ends: Ends = (client.parse().unwrap(), here.parse().unwrap());
            let (mut text, mut binary) = (Vec::new(), Vec::new());
            write_proxy_line(&mut text, Some(ends));
            write_proxy_binary(&mut binary, Some(ends));
            assert_eq!(String::from_utf8_lossy(&text), line);
            let expected = SocketAddr::new(ends.0.ip().to_canonical(), ends.0.port());
            for header in [text, binary] {
                let read = parse_proxy_header(&header).unwrap().unwrap();
                assert_eq!((read.client, read.length), (Some(expected), header.len()), "{client}");
            }
        }
    }

    #[test]
    fn nobody_is_told_as_such() {
        let (mut text, mut binary) = (Vec::new(), Vec::new());
        write_proxy_line(&mut text, None);
        write_proxy_binary(&mut binary, None);
        assert_eq!((text.as_slice(), &binary[12..]), (&b"PROXY UNKNOWN\r\n"[..], &[0x20, 0, 0, 0][..]));
        for header in [text, binary] {
            assert_eq!(parse_proxy_header(&header).unwrap().unwrap().client, None);
        }
    }
}
