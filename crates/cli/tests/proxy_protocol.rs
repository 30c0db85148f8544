//! The PROXY protocol: for whom a proxy that passes bytes through speaks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use testkit::{Client, Project, Running, Trust, certificate, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Version 2: `command`, family, addresses and what else is told.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, block].concat()
}

fn v4(rest: &[u8]) -> Vec<u8> {
    binary(0x21, 0x11, &[&[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb], rest].concat())
}

fn project(keys: &str) -> Project {
    Project::new(TIERCE, GATEWAY, &format!("workers = 1\nproxy_protocol = true\n{keys}"))
}

fn ask(running: &Running<'_>, header: &[u8]) -> Value {
    let mut client = running.client();
    client.send(header).unwrap();
    client.send(REQUEST).unwrap();
    serde_json::from_slice(&client.response().unwrap().body).unwrap()
}

fn is_refused(running: &Running<'_>, bytes: &[u8]) -> bool {
    let mut client = running.client();
    // It may have been closed already.
    let _ = client.send(bytes);
    client.rest().unwrap_or_default().is_empty()
}

#[test]
fn a_trusted_proxy_names_the_client() {
    let project = project("trusted_proxies = ['127.0.0.1']");
    let running = project.up(&["--access-log", "json"]);
    let line = b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec();
    for (header, address, port, scheme) in [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 82 443\r\n".to_vec(), "192.0.2.1", Some("82"), "http"),
        (line, "2001:db8::1", Some("4711"), "http"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", None, "http"),
        (v4(b""), "192.0.2.7", Some("4711"), "http"),
        (v4(&[0x20, 0, 5, 1, 0, 0, 0, 0]), "192.0.2.7", Some("4711"), "https"),
        (binary(0x20, 0, b""), "127.0.0.1", None, "http"),
    ] {
        let told = ask(&running, &header);
        assert_eq!([&told["REMOTE_ADDR"], &told["wsgi.url_scheme"]], [address, scheme], "{}", header.escape_ascii());
        if let Some(port) = port {
            assert_eq!(told["REMOTE_PORT"], port);
        }
    }
    wait_for("the client in the log", || running.out().contains("\"client.address\":\"2001:db8::1\""));
    // Whom it names is not trusted in its turn.
    let mut client = running.client();
    client.send(v4(b"")).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n").unwrap();
    let told: Value = serde_json::from_slice(&client.response().unwrap().body).unwrap();
    assert_eq!(told["REMOTE_ADDR"], "192.0.2.7");
}

#[test]
fn a_header_may_come_in_pieces() {
    let project = project("trusted_proxies = ['127.0.0.1']");
    let running = project.up(&["--access-log", "off"]);
    for header in [b"PROXY TCP4 192.0.2.7 127.0.0.1 82 443\r\n".to_vec(), v4(&[4, 0, 2, 0, 0])] {
        let mut client = running.client();
        for byte in [&header[..], REQUEST].concat() {
            client.send([byte]).unwrap();
        }
        assert!(client.response().unwrap().text().contains("192.0.2.7"));
    }
}

#[test]
fn without_a_header_nobody_is_served() {
    let project = project("trusted_proxies = ['127.0.0.1']");
    let running = project.up(&["--access-log", "off"]);
    for bytes in [REQUEST, b"PROXY TCP4 a b 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05hello"] {
        assert!(is_refused(&running, bytes), "{}", bytes.escape_ascii());
    }
    wait_for("the reason", || running.err().contains("it is not a header of the PROXY protocol"));
    // Nor with the beginning of one, for ever.
    assert!(is_refused(&running, b"PROXY TCP4 192.0.2.1"));
    assert_eq!(ask(&running, &v4(b""))["REMOTE_ADDR"], "192.0.2.7");
}

#[test]
fn who_is_not_trusted_is_not_served() {
    let project = project("trusted_proxies = ['10.0.0.0/8']");
    let running = project.up(&["--access-log", "off"]);
    assert!(is_refused(&running, &[&v4(b"")[..], REQUEST].concat()));
    wait_for("the reason", || running.err().contains("from 127.0.0.1 was refused: it is not among `trusted_proxies`"));
}

#[test]
fn the_header_comes_before_tls() {
    let port = free_port();
    let keys = format!(
        "trusted_proxies = ['127.0.0.1']\nlisten = ['https://127.0.0.1:{port}']\n\
         tls = {{ certificate = 'a.pem', key = 'a.key' }}"
    );
    let (project, made) = (project(&keys), certificate(&["a.example"]));
    project.write("a.pem", &made.certificate);
    project.write("a.key", &made.key);
    let _running = project.up(&["--access-log", "off"]);
    for pieces in [1, 5, 100] {
        let mut plain = Client::connect(port).unwrap();
        v4(b"").chunks(pieces).for_each(|piece| plain.send(piece).unwrap());
        let mut client = Trust::new(&[&made.certificate]).over(plain.into_stream(), "a.example").unwrap();
        let told: Value = serde_json::from_slice(&client.get("/").unwrap().body).unwrap();
        assert_eq!([&told["REMOTE_ADDR"], &told["wsgi.url_scheme"]], ["192.0.2.7", "https"]);
    }
}
