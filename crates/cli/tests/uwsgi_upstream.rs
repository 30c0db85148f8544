//! Servers that speak uwsgi in an application's place, byte by byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, thread::spawn};

use testkit::{Caller, Client, Project, Response, Upstream, ask, field, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// One that is probed once, and so has no other connections than those of requests.
fn project(upstream: &Upstream, keys: &str) -> Project {
    let url = upstream.url().replace("http:", "uwsgi:");
    Project::new(TIERCE, "", &format!("upstream = [{url:?}]\nhealth.every = \"1h\"\ncores = 1\n{keys}"))
}

/// The variables of a packet; none comes twice.
fn packet(caller: &mut Caller) -> BTreeMap<String, String> {
    let header = caller.take(4).unwrap();
    assert_eq!((header[0], header[3]), (0, 0), "modifiers");
    let block = caller.take(usize::from(u16::from_le_bytes([header[1], header[2]]))).unwrap();
    let mut rest = block.as_slice();
    let mut text = || {
        let (size, after) = rest.split_at(2);
        let (text, after) = after.split_at(usize::from(u16::from_le_bytes([size[0], size[1]])));
        rest = after;
        (String::from_utf8_lossy(text).into_owned(), rest.is_empty())
    };
    let mut variables = BTreeMap::new();
    loop {
        let (name, _) = text();
        let (value, is_last) = text();
        assert!(variables.insert(name.clone(), value).is_none(), "{name} comes twice");
        if is_last {
            return variables;
        }
    }
}

fn values(variables: &BTreeMap<String, String>, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| variables.get(*name).map_or("-", |value| value).to_owned()).collect()
}

fn says(response: &Response, status: u16, cause: &str) {
    assert_eq!((response.status, response.text().contains(cause)), (status, true), "{}", response.text());
}

#[test]
fn it_is_told_what_nginx_tells() {
    let upstream = Upstream::new();
    let project = project(&upstream, "");
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    client
        .send(
            "POST /a%20b/%e4?c=%20 HTTP/1.1\r\nHost: Shop.example:81\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\
             Cookie: a=1\r\nX-List: a\r\ncookie: b=2\r\nx-list: b\r\nX_List: c\r\nProxy: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\
             Forwarded: for=6.6.6.6\r\nConnection: foo\r\nFoo: 1\r\nUpgrade: h2c\r\nTE: trailers\r\n\r\nabc",
        )
        .unwrap();
    let mut caller = upstream.accept();
    let mut variables = packet(&mut caller);
    assert_eq!(caller.take(3).unwrap(), b"abc");
    caller.send(OK).unwrap();
    drop(caller);
    let response = client.response().unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(variables.remove("HTTP_X_REQUEST_ID").as_deref(), response.field("x-request-id"));
    assert!(variables.remove("REMOTE_PORT").unwrap().parse::<u16>().is_ok());
    assert!(variables.remove("HTTP_TRACEPARENT").is_some());
    let expected = [
        ("CONTENT_LENGTH", "3"),
        ("CONTENT_TYPE", "text/plain"),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("HTTP_HOST", "Shop.example:81"),
        ("HTTP_X_LIST", "a, b"),
        ("PATH_INFO", "/a b/\u{fffd}"),
        ("QUERY_STRING", "c=%20"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_SCHEME", "http"),
        ("REQUEST_URI", "/a%20b/%e4?c=%20"),
        ("SCRIPT_NAME", ""),
        ("SERVER_NAME", "Shop.example"),
        ("SERVER_PORT", "81"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ];
    assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    wait_for("its line", || running.out().contains(&format!("\"tierce.node\":\"127.0.0.1:{}\"", upstream.port)));
    // In HTTP/1.0, without a host.
    let mut old = running.client();
    old.send("GET http://[::1]?x HTTP/1.0\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    let variables = packet(&mut caller);
    let names =
        ["REQUEST_URI", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "CONTENT_TYPE"];
    assert_eq!(values(&variables, &names), ["/?x", "/", "x", "[::1]", "80", "HTTP/1.0", ""]);
    caller.send("HTTP/1.0 200 OK\r\n\r\nold").unwrap();
    drop(caller);
    assert_eq!(old.response().unwrap().text(), "old");
}

#[test]
fn routes_and_trusted_proxies_have_their_say() {
    let upstream = Upstream::new();
    let keys = "trusted_proxies = [\"127.0.0.1\"]\n[[route]]\npath = \"/shop\"\nstrip_prefix = true\n\
                set_request_header = { X-Set = \"1\", Content-Type = \"a/b\" }\nremove_request_header = [\"Cookie\", \"traceparent\"]\n\
                [[route]]\npath = \"/old\"\nrewrite = \"/new\"\n";
    let project = project(&upstream, keys);
    let running = project.up(&[]);
    let mut client = running.client();
    let mut ask = |target: &str| {
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nHost: a\r\nCookie: a\r\nX-Set: 2\r\nX-Forwarded-For: 192.0.2.7\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\r\n"
            ))
            .unwrap();
        let mut caller = upstream.accept();
        let variables = packet(&mut caller);
        caller.send(OK).unwrap();
        drop(caller);
        assert_eq!(client.response().unwrap().status, 200);
        variables
    };
    let variables = ask("/shop/a%20b?c");
    assert_eq!(values(&variables, &["REQUEST_URI", "SCRIPT_NAME", "PATH_INFO"]), ["/shop/a%20b?c", "/shop", "/a b"]);
    let names = ["HTTP_X_SET", "CONTENT_TYPE", "HTTP_COOKIE", "HTTP_TRACEPARENT"];
    assert_eq!(values(&variables, &names), ["1", "a/b", "-", "-"]);
    let names =
        ["REMOTE_ADDR", "REMOTE_PORT", "REQUEST_SCHEME", "HTTPS", "HTTP_HOST", "SERVER_PORT", "HTTP_X_FORWARDED_FOR"];
    assert_eq!(values(&variables, &names), ["192.0.2.7", "", "https", "on", "shop.example", "443", "192.0.2.7"]);
    let names = ["REQUEST_URI", "SCRIPT_NAME", "PATH_INFO", "HTTP_COOKIE"];
    assert_eq!(values(&ask("/old/%41?x"), &names), ["/new/%41?x", "", "/new/A", "a"]);
    assert_eq!(values(&ask("http://a/x?y"), &names[..3]), ["/x?y", "", "/x"]);
}

#[test]
fn responses_are_judged_as_those_in_http_and_their_connections_end() {
    let upstream = Upstream::new();
    let project = project(&upstream, "");
    let running = project.up(&[]);
    let mut client = running.client();
    for (response, status, text) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok and more", 200, "ok"),
        ("HTTP/1.0 404 NOT FOUND\r\n\r\ngone", 404, "gone"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("Status: 200 OK\r\n\r\nok", 502, "upstream_protocol_error"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 502, "upstream_protocol_error"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "upstream_protocol_error"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            502,
            "",
        ),
        ("HTTP/1.1 200 O", 502, "http_response_incomplete"),
        ("", 502, "connection_terminated"),
    ] {
        let offer = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";
        client.send(GET.replace("\r\n\r\n", &format!("\r\n{offer}"))).unwrap();
        let mut caller = upstream.accept();
        assert_eq!(values(&packet(&mut caller), &["HTTP_UPGRADE", "HTTP_CONNECTION"]), ["-", "-"]);
        caller.send(response).unwrap();
        if response.contains("Content-Length: 2\r\n") {
            assert!(caller.has_ended(), "it is closed by us when all of it is there: {response}");
        }
        drop(caller);
        says(&client.response().unwrap(), status, text);
    }
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    packet(&mut caller);
    caller.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("content-length"), Some("7"));
    assert!(caller.has_ended());
    client.send(GET).unwrap();
    let mut caller = upstream.accept();
    packet(&mut caller);
    caller.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nhal").unwrap();
    drop(caller);
    assert!(client.response().is_err(), "half a body is not a whole one");
}

#[test]
fn a_body_has_its_length_before_it_is_sent() {
    let upstream = Upstream::new();
    let project = project(&upstream, "");
    let running = project.up(&[]);
    let mut client = running.client();
    let answer = |client: &mut Client, caller: &mut Caller, body: &[u8]| {
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        assert_eq!(packet(caller)["CONTENT_LENGTH"], length);
        assert!(caller.take(body.len()).unwrap() == body);
        caller.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(client.response().unwrap().text(), "ok");
        assert!(caller.has_ended());
    };
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    // In pieces, with what follows.
    client.send(format!("{chunked}\r\n3;x=y\r\nab")).unwrap();
    client.send(format!("c\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n{GET}")).unwrap();
    answer(&mut client, &mut upstream.accept(), b"abcd");
    answer(&mut client, &mut upstream.accept(), b"");
    client.send(format!("{chunked}Expect: 100-continue\r\n\r\n")).unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.send("1\r\nx\r\n0\r\n\r\n").unwrap();
    answer(&mut client, &mut upstream.accept(), b"x");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    assert_eq!(client.head().unwrap().status, 100);
    client.send("abc").unwrap();
    answer(&mut client, &mut caller, b"abc");
    // As much as is kept, and a byte more.
    let full = vec![b'f'; 64 * 1024];
    for part in [&b"10000\r\n"[..], &full, b"\r\n"] {
        client
            .send(if part.len() == 7 { [chunked.as_bytes(), b"\r\n", part].concat() } else { part.to_vec() })
            .unwrap();
    }
    client.send("0\r\n\r\n").unwrap();
    answer(&mut client, &mut upstream.accept(), &full);
    client.send([chunked.as_bytes(), b"\r\n10001\r\n", &full, b"f\r\n0\r\n\r\n"].concat()).unwrap();
    let refused = client.response().unwrap();
    assert_eq!((refused.status, refused.field("connection")), (411, Some("close")));
    // It has gone nowhere; one of known length may be as long as it likes.
    let mut client = running.client();
    let long = vec![b'l'; 1_000_000];
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", long.len())).unwrap();
    let mut caller = upstream.accept();
    client.send(&long).unwrap();
    answer(&mut client, &mut caller, &long);
}

#[test]
fn a_head_that_is_too_large_for_a_packet_is_refused_and_nothing_of_it_sent() {
    let upstream = Upstream::new();
    let project = project(&upstream, "traceparent = \"pass\"");
    let with = |length: usize| {
        let url = upstream.url().replace("http:", "uwsgi:");
        let route = format!("[[route]]\nset_request_header = {{ X-Long = \"{}\" }}", "l".repeat(length));
        let keys = format!("upstream = [{url:?}]\nhealth.every = \"1h\"\ntraceparent = \"pass\"\n{route}");
        project.write("tierce.toml", &project.config(&keys));
    };
    with(1);
    let running = project.up(&[]);
    let mut client = running.client();
    let ask = |client: &mut Client| {
        client.send(GET).unwrap();
        let mut caller = upstream.accept();
        let variables = packet(&mut caller);
        caller.send(OK).unwrap();
        drop(caller);
        assert_eq!(client.response().unwrap().status, 200);
        variables.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
    };
    let size = ask(&mut client);
    let room = 0xffff - size + 1;
    with(room);
    project.ok(&["reload"]);
    assert_eq!(ask(&mut client), 0xffff);
    for more in [1, 0x1_0000] {
        with(room + more);
        project.ok(&["reload"]);
        client.send(GET).unwrap();
        let refused = client.response().unwrap();
        assert_eq!((refused.status, refused.field("connection")), (431, Some("close")), "{}", refused.text());
        client = running.client();
    }
    with(room);
    project.ok(&["reload"]);
    // The next connection that anything comes on is that of a request that fits.
    assert_eq!(ask(&mut client), 0xffff);
}

#[test]
fn a_path_tells_how_it_is() {
    let upstream = Upstream::new();
    let url = upstream.url().replace("http:", "uwsgi:");
    let keys = format!("upstream = [{url:?}]\nhealth = {{ path = \"/well?x\", every = \"50ms\" }}");
    let project = Project::new(TIERCE, "", &keys);
    let running = project.up(&[]);
    let probe = |status: u16| {
        let mut caller = upstream.accept();
        let variables = packet(&mut caller);
        caller.send(format!("HTTP/1.1 {status} X\r\n\r\n")).unwrap();
        let names = ["REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING", "HTTP_HOST"];
        let host = format!("127.0.0.1:{}", upstream.port);
        assert_eq!(values(&variables, &names), ["GET", "/well?x", "/well", "x", &host]);
    };
    let state = || running.ps()["items"][0]["state"].as_str().unwrap().to_owned();
    probe(503);
    assert_eq!(state(), "starting");
    probe(200);
    wait_for("it to be ready", || state() == "ready");
}

#[test]
fn a_whole_application_can_be_behind_it() {
    let behind = Project::new(TIERCE, GATEWAY, "");
    let port = free_port();
    let listen = format!("listen = [\"uwsgi://127.0.0.1:{port}\", \"uwsgi:app.sock\"]\nworkers = 1");
    behind.write("tierce.toml", &behind.config(&listen));
    let _behind = behind.up(&[]);
    let socket = format!("uwsgi:{}/app.sock", behind.path().display());
    for url in [format!("uwsgi://127.0.0.1:{port}"), socket] {
        let keys = format!("upstream = [{url:?}]\n[[route]]\npath = \"/shop\"\nstrip_prefix = true\n");
        let front = Project::new(TIERCE, "", &keys);
        let running = front.up(&[]);
        let mut client = running.client();
        client
            .send("GET /shop/a%20b?c HTTP/1.1\r\nHost: shop.example:81\r\nX-A: b\r\nCookie: a\r\nCookie: b\r\n\r\n")
            .unwrap();
        let environ: serde_json::Value = serde_json::from_slice(&client.response().unwrap().body).unwrap();
        for (name, value) in [
            ("SCRIPT_NAME", "/shop"),
            ("PATH_INFO", "/a b"),
            ("QUERY_STRING", "c"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("HTTP_HOST", "shop.example:81"),
            ("HTTP_X_A", "b"),
            ("HTTP_COOKIE", "a; b"),
            ("wsgi.url_scheme", "http"),
        ] {
            assert_eq!(environ[name], value, "{name}: {environ}");
        }
        running.wait_until_idle();
    }
}

#[test]
fn closes_on_what_does_not_fit_into_its_buffer() {
    let (small, large) = (Upstream::new(), Upstream::new());
    let urls = [&small, &large].map(|upstream| upstream.url().replace("http:", "uwsgi:"));
    let project = Project::new(TIERCE, "", &format!("upstream = {urls:?}\nhealth.every = \"1h\"\ncores = 1"));
    let running = project.up(&[]);
    wait_for("both to be ready", || {
        running.ps()["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready")
    });
    for (upstream, room) in [(small, 4096), (large, 0xffff)] {
        spawn(move || {
            loop {
                let mut caller = upstream.accept();
                let size: usize = packet(&mut caller).iter().map(|(name, value)| name.len() + value.len() + 4).sum();
                if size <= room {
                    caller.send(format!("HTTP/1.1 200 OK\r\nX-Room: {room}\r\n\r\n")).unwrap();
                }
            }
        });
    }
    let mut client = running.client();
    let mut rooms = |length: usize| {
        let fields = format!("X-Long: {}\r\n", "l".repeat(length));
        (0..40)
            .map(|_| ask(&mut client, "GET", "/", &fields))
            .map(|response| match response.status {
                502 => "none".to_owned(),
                _ => field(&response, "x-room").to_owned(),
            })
            .collect::<Vec<_>>()
    };
    let long = rooms(5000);
    assert!(10 < long.iter().filter(|room| *room == "none").count(), "it goes on to get requests: {long:?}");
    assert!(rooms(10).contains(&"4096".to_owned()), "also those that fit");
    assert!(!running.err().contains("gets no requests"), "{}", running.err());
    wait_for("the reason", || running.err().contains("uWSGI needs `buffer-size = 65535`"));
}
