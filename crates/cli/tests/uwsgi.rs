//! A uwsgi listener as gateways meet it, byte by byte; those that misbehave are named by what they do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use testkit::{Client, Project, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");
const RUNS: &str = include_str!("apps/runs.py");

/// A project that listens for HTTP, and on another port for gateways.
fn project(app: &str) -> (Project, u16) {
    let project = Project::new(TIERCE, app, "workers = 1");
    let gateway = free_port();
    let listen = format!("listen = [\"127.0.0.1:{}\", \"uwsgi://127.0.0.1:{gateway}\"]", project.port);
    project.write("tierce.toml", &project.config(&format!("{listen}\nworkers = 1")));
    (project, gateway)
}

fn connect(port: u16) -> Client {
    Client::connect(port).unwrap()
}

fn packet(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual =
        [("REQUEST_METHOD", method), ("REQUEST_URI", path), ("PATH_INFO", path), ("SERVER_PROTOCOL", "HTTP/2.0")];
    let mut block = Vec::new();
    for text in usual.iter().chain(more).flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    let [low, high] = u16::try_from(block.len()).unwrap().to_le_bytes();
    [vec![0, low, high, 0], block].concat()
}

#[test]
fn an_answer_ends_with_its_connection() {
    let (project, port) = project(GATEWAY);
    let running = project.up(&["--access-log", "json"]);
    for (method, path, body, length) in [
        ("GET", "/stream", Some("block 999\n"), None),
        ("HEAD", "/stream", None, None),
        ("HEAD", "/large", None, Some("2")),
        ("GET", "/large", Some("ok"), Some("2")),
        ("GET", "/204", None, None),
        ("GET", "/304", None, None),
    ] {
        let mut client = connect(port);
        client.send(packet(method, path, &[])).unwrap();
        let head = client.head().unwrap();
        let framing = ["connection", "content-length", "transfer-encoding"].map(|name| head.field(name));
        assert_eq!(framing, [Some("close"), length, None], "{method} {path}");
        let rest = String::from_utf8(client.rest().unwrap()).unwrap();
        assert!(body.map_or(rest.is_empty(), |end| rest.ends_with(end)), "{method} {path}: {rest}");
    }
    wait_for("the client's protocol in the log", || running.out().contains("\"network.protocol.version\":\"2.0\""));
}

#[test]
fn sends_byte_by_byte_and_more_than_one_request() {
    let (project, port) = project(GATEWAY);
    let _running = project.up(&["--access-log", "off"]);
    let mut client = connect(port);
    for byte in packet("POST", "/echo", &[("CONTENT_LENGTH", "3")]).iter().chain(b"abc") {
        client.send([*byte]).unwrap();
    }
    // The protocol has no second request; what follows the body is not looked at.
    client.send(packet("GET", "/", &[])).unwrap();
    assert_eq!(client.response().unwrap().text(), "abc");
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn leaves_the_body_in_chunks() {
    let (project, port) = project(GATEWAY);
    let _running = project.up(&["--access-log", "off"]);
    let mut client = connect(port);
    client.send(packet("POST", "/echo", &[("HTTP_TRANSFER_ENCODING", "chunked")])).unwrap();
    client.send("5\r\nhello\r\n0\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().text(), "hello");
}

#[test]
fn sends_what_is_no_request() {
    let (project, port) = project(GATEWAY);
    let running = project.up(&["--access-log", "off"]);
    let mut cut = packet("GET", "/", &[]);
    cut[1] -= 1;
    let mut modifier2 = packet("GET", "/", &[]);
    modifier2[3] = 9;
    for (bytes, status, why) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], 400, "it looks like HTTP"),
        (&[100, 0, 0, 0], 400, "modifier1 is not 0"),
        (&modifier2, 400, "modifier2 is not 0"),
        (&cut, 400, "cut short"),
        (&[0, 0, 0, 0], 400, "no REQUEST_METHOD"),
        (&[0, 2, 0, 0, 255, 255], 400, "cut short"),
        (&packet("GET", "/", &[("HTTP_A", "a\r\nb")]), 400, "control character"),
        (&packet("GET", "/", &[("wsgi.input", "a")]), 400, "letters, digits"),
        (&packet("GET", "/../a", &[]), 400, "climbs"),
        (&packet("GET", "/", &[("HTTP_A", &"x".repeat(60_000))]), 431, "too long"),
        (&packet("BREW\t", "/", &[]), 400, "not a token"),
    ] {
        let mut client = connect(port);
        client.send(bytes).unwrap();
        let response = client.response().unwrap();
        assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{why}");
        assert_eq!(client.rest().unwrap(), b"", "{why}");
        wait_for(why, || running.err().contains(why));
    }
    let mut wrong = running.client();
    wrong.send(packet("GET", "/", &[])).unwrap();
    assert_eq!(wrong.response().unwrap().status, 400, "uwsgi is not spoken on the other port");
    assert_eq!(running.client().get("/echo").unwrap().status, 200);
    assert!(!running.err().contains("panicked"), "{}", running.err());
}

#[test]
fn leaves_in_the_packet_or_the_body() {
    let (project, port) = project(RUNS);
    let running = project.up(&["--access-log", "json"]);
    let whole = packet("POST", "/run/1", &[("CONTENT_LENGTH", "5")]);
    for bytes in [&whole[..2], &whole[..whole.len() - 1], &whole, &[&whole[..], b"1234"].concat()] {
        let mut client = connect(port);
        client.send(bytes).unwrap();
        drop(client);
    }
    wait_for("the endings", || running.out().matches("\"tierce.ending\":\"client_closed\"").count() == 4);
    running.wait_until_idle();
    assert_eq!(project.read("runs.txt"), "", "a part of a request never looks like all of it");
}

#[test]
fn has_no_say_where_a_route_has() {
    let (project, port) = project(GATEWAY);
    let routes = "[[route]]\npath = \"/old\"\nrewrite = \"/new\"\n[[route]]\npath = \"/cut\"\nstrip_prefix = true";
    let config = project.read("tierce.toml");
    project.write("tierce.toml", &format!("{config}\n{routes}\n"));
    let _running = project.up(&[]);
    for (uri, variables, expected) in [
        ("/old/a?b=c", [("PATH_INFO", "/old/a"), ("SCRIPT_NAME", "")], ["", "/new/a", "/new/a?b=c"]),
        ("/old", [("PATH_INFO", "/elsewhere"), ("SCRIPT_NAME", "")], ["", "/new", "/new"]),
        ("/shop/old/a", [("PATH_INFO", "/old/a"), ("SCRIPT_NAME", "/shop")], ["/shop", "/old/a", "/shop/old/a"]),
        ("/cut/a", [("PATH_INFO", "/cut/a"), ("SCRIPT_NAME", "")], ["/cut", "/a", "/cut/a"]),
        ("/other", [("PATH_INFO", "/else"), ("SCRIPT_NAME", "")], ["", "/else", "/other"]),
    ] {
        let mut client = connect(port);
        client.send(packet("GET", uri, &variables)).unwrap();
        let response = client.response().unwrap();
        let told: BTreeMap<String, String> = serde_json::from_slice(&response.body).unwrap();
        let got = ["SCRIPT_NAME", "PATH_INFO", "REQUEST_URI"].map(|name| told.get(name).map_or("", String::as_str));
        assert_eq!(got, expected, "{uri}");
    }
}
