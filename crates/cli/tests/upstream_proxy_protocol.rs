//! The PROXY protocol on the way to other servers, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::net::UnixStream;

use testkit::{Caller, Client, Identity, Project, TLS13, Upstream, certificate};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn project(upstream: &Upstream, version: &str, keys: &str) -> Project {
    let table = format!("{{ url = '{}', proxy_protocol = '{version}' }}", upstream.url());
    Project::new(TIERCE, "", &format!("upstream = [{table}]\nhealth.every = '1h'\n{keys}"))
}

fn port(client: &mut Client) -> u16 {
    client.stream().local_addr().unwrap().port()
}

#[test]
fn each_connection_names_its_client_and_is_for_no_other() {
    let upstream = Upstream::new();
    let project = project(&upstream, "v1", "");
    let running = project.up(&[]);
    let mut probe = upstream.accept();
    assert_eq!(probe.take(15).unwrap(), b"PROXY UNKNOWN\r\n");
    assert!(probe.has_ended());
    let (mut one, mut other) = (running.client(), running.client());
    let mut callers = Vec::new();
    for client in [&mut one, &mut other] {
        client.send(GET).unwrap();
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", port(client), project.port);
        let mut caller = upstream.accept();
        assert_eq!(String::from_utf8(caller.take(expected.len()).unwrap()).unwrap(), expected);
        assert!(caller.answer(OK).starts_with("GET / HTTP/1.1\r\nHost: a\r\n"));
        assert_eq!(client.response().unwrap().status, 200);
        callers.push(caller);
    }
    // Both are idle now; each goes on with its own, whichever was used last.
    for (client, caller) in [(&mut one, 0), (&mut other, 1)] {
        client.send(GET).unwrap();
        assert!(callers[caller].answer(OK).starts_with("GET / "));
        assert_eq!(client.response().unwrap().status, 200);
    }
}

#[test]
fn whom_a_trusted_proxy_names_is_named_and_who_has_no_address_is_not() {
    let upstream = Upstream::new();
    let keys = "listen = ['unix:web.sock']\ntrusted_proxies = ['unix']";
    let project = project(&upstream, "v2", keys);
    let _running = project.up(&[]);
    let local = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20, 0, 0, 0]].concat();
    let mut probe = upstream.accept();
    assert_eq!(probe.take(16).unwrap(), local);
    assert!(probe.has_ended());
    let socket = UnixStream::connect(project.path().join("web.sock")).unwrap();
    let mut client = Client::over(socket);
    client.send(GET).unwrap();
    let mut caller = upstream.accept();
    assert_eq!(caller.take(16).unwrap(), local);
    caller.answer(OK);
    assert_eq!(client.response().unwrap().status, 200);
    // The same connection from the proxy, another client behind it.
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    let expected = [&local[..12], &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(caller.take(28).unwrap(), expected);
    caller.answer(OK);
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn the_header_comes_before_the_handshake() {
    let (upstream, made) = (Upstream::new(), certificate(&["127.0.0.1"]));
    let way = "ca = 'ca.pem', proxy_protocol = 'v1'";
    let keys = format!("upstream = [{{ url = 'https://127.0.0.1:{}', {way} }}]\nhealth.every = '1h'", upstream.port);
    let project = Project::new(TIERCE, "", &keys);
    project.write("ca.pem", &made.certificate);
    let running = project.up(&[]);
    let server = Identity::new(&made, &[&TLS13], &[]);
    let over = |length: usize| {
        let mut stream = upstream.accept_any();
        let mut header = vec![0; length];
        std::io::Read::read_exact(&mut stream, &mut header).unwrap();
        (Caller::over(server.over(stream, b"").unwrap()), String::from_utf8(header).unwrap())
    };
    let (mut probe, header) = over(15);
    assert_eq!(header, "PROXY UNKNOWN\r\n");
    assert!(probe.has_ended());
    let mut client = running.client();
    client.send(GET).unwrap();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", port(&mut client), project.port);
    let (mut caller, header) = over(expected.len());
    assert_eq!(header, expected);
    caller.answer(OK);
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn one_that_speaks_uwsgi_is_told_before_the_packet() {
    let upstream = Upstream::new();
    let table = format!("{{ url = 'uwsgi://127.0.0.1:{}', proxy_protocol = 'v1' }}", upstream.port);
    let project =
        Project::new(TIERCE, "", &format!("upstream = [{table}]\nhealth.every = '1h'\nhealth.path = '/well'"));
    let running = project.up(&[]);
    let next = |header: &str| {
        let mut caller = Caller::over(upstream.accept_any());
        assert_eq!(caller.take(header.len()).unwrap(), header.as_bytes());
        let start = caller.take(4).unwrap();
        let packet = caller.take(usize::from(u16::from_le_bytes([start[1], start[2]]))).unwrap();
        caller.send(OK).unwrap();
        String::from_utf8_lossy(&packet).into_owned()
    };
    assert!(next("PROXY UNKNOWN\r\n").contains("/well"));
    let mut client = running.client();
    client.send(GET).unwrap();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", port(&mut client), project.port);
    assert!(next(&expected).contains("REQUEST_METHOD"));
    assert_eq!(client.response().unwrap().status, 200);
}
