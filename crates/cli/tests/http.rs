//! The edge as clients meet it, byte by byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = r#"
import time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body))), ("X-Method", environ["REQUEST_METHOD"])])
        return [body]
    if path == "/environ":
        text = repr(sorted((k, v) for k, v in environ.items() if isinstance(v, str))).encode()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text]
    if path == "/stream":
        def blocks():
            for n in range(3):
                yield b"block %d" % n
                time.sleep(0.02)
        start_response("200 OK", [])
        return blocks()
    if path == "/read-late":
        def blocks():
            yield b"[first]"
            yield environ["wsgi.input"].read()
        start_response("200 OK", [])
        return blocks()
    if path == "/processes":
        start_response("200 OK", [])
        return [repr(environ["wsgi.multiprocess"]).encode()]
    if path == "/ids":
        start_response("200 OK", [("x-request-id", "mine"), ("X-Served-By", "mine"), ("X-Other", "mine")])
        return [b"ok"]
    if path == "/two":
        start_response("200 OK", [])
        return [b"two ", b"blocks"]
    if path == "/write":
        start_response("200 OK", [])(b"written")
        return []
    if path == "/ignore":
        start_response("403 Forbidden", [("Content-Length", "2")])
        return [b"no"]
    if path == "/big":
        start_response("200 OK", [("Content-Length", str(8 << 20))])
        return (b"x" * 65536 for _ in range(128))
    if path == "/slow":
        time.sleep(5)
    if path == "/204":
        start_response("204 No Content", [("Content-Length", "5")])
        return [b""]
    if path.startswith("/205"):
        start_response("205 Reset Content", [("Content-Length", "4")] if path == "/205/length" else [])
        return [b"lost"] if path == "/205/length" else (b"lost" for _ in range(3))
    if path == "/304":
        start_response("304 Not Modified", [("ETag", '"x"')])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"#;

fn project() -> Project {
    Project::new(TIERCE, APP, "workers = 1\nlimits = { body = '1MB', time = '1s' }")
}

#[test]
fn bodies_in_any_framing_arrive_whole() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for length in [0, 1, 65_535, 65_536, 65_537, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let response = client.post("/echo", &body).unwrap();
        assert_eq!((response.status, response.body == body), (200, true), "{length} bytes");
    }
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for piece in ["5\r\nhello\r\n", "1;x=y\r\n \r\n", "5\r\nwo", "rld\r\n0\r\nTrailer: x\r\n\r\n"] {
        client.send(piece).unwrap();
    }
    assert_eq!(client.response().unwrap().text(), "hello world");
    let large = "x".repeat(300_000);
    client
        .send(format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
            300_000
        ))
        .unwrap();
    assert_eq!(client.response().unwrap().body.len(), 300_000);
}

#[test]
fn one_connection_serves_many_requests() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(one.repeat(20)).unwrap();
    for _ in 0..20 {
        assert_eq!(client.response().unwrap().text(), "ok");
    }
    client.send("\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let last = client.response().unwrap();
    assert_eq!((last.field("connection"), client.rest().unwrap()), (Some("close"), vec![]));
    let mut old = running.client();
    old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!(old.response().unwrap().field("connection"), Some("keep-alive"));
    old.send("GET /stream HTTP/1.0\r\n\r\n").unwrap();
    let streamed = old.response().unwrap();
    assert_eq!((streamed.text().as_str(), streamed.field("transfer-encoding")), ("block 0block 1block 2", None));
}

#[test]
fn responses_are_framed_by_status_and_method() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("transfer-encoding"), Some("chunked"));
    let chunks: Vec<_> =
        std::iter::from_fn(|| Some(client.chunk().unwrap()).filter(|chunk| !chunk.is_empty())).collect();
    assert_eq!(chunks, [b"block 0", b"block 1", b"block 2"]);
    for (method, path, status, length) in [
        ("HEAD", "/big", 200, Some("8388608")),
        ("HEAD", "/stream", 200, None),
        ("HEAD", "/two", 200, None),
        ("HEAD", "/write", 200, None),
        ("GET", "/204", 204, None),
        ("GET", "/205", 205, Some("0")),
        ("GET", "/205/length", 205, Some("0")),
        ("HEAD", "/205", 205, Some("0")),
        ("GET", "/304", 304, None),
        ("HEAD", "/", 200, Some("2")),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let head = client.head().unwrap();
        assert_eq!((head.status, head.field("transfer-encoding")), (status, None), "{method} {path}");
        assert_eq!(head.field("content-length"), length, "{method} {path}");
        assert!(head.field("date").is_some_and(|date| date.ends_with("GMT")));
    }
    // Nothing of those bodies is left on the connection.
    assert_eq!(client.get("/").unwrap().text(), "ok");
    assert_eq!(client.get("/big").unwrap().body.len(), 8 << 20);
}

#[test]
fn a_client_that_expects_100_is_told_when_the_application_reads() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let head =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.send(head("/echo")).unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello").unwrap();
    assert_eq!(client.response().unwrap().text(), "hello");
    // One that the application does not read gets its answer instead, and the connection ends.
    client.send(head("/ignore")).unwrap();
    let response = client.response().unwrap();
    assert_eq!((response.status, response.field("connection")), (403, Some("close")));
    // Once the final head has left, nothing but the response may follow (RFC 9110 §15.2).
    let mut client = running.client();
    client.send(head("/read-late")).unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"[first]");
    client.send("hello").unwrap();
    assert_eq!(client.chunk().unwrap(), b"hello");
    assert_eq!((client.chunk().unwrap(), client.rest().unwrap()), (vec![], vec![]));
}

#[test]
fn an_answer_before_the_end_of_the_body_arrives() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").unwrap();
    client.send(vec![b'x'; 100_000]).unwrap();
    let response = client.response().unwrap();
    assert_eq!((response.status, response.field("connection")), (403, Some("close")));
}

#[test]
fn a_client_cannot_speak_for_the_edge() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client
        .send(
            "GET /environ?a=%20b HTTP/1.1\r\nHost: test.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
             Proxy: evil\r\nX_Real_Name: evil\r\nX-Request-Id: evil\r\nConnection: X-Secret\r\nX-Secret: evil\r\n\
             Cookie: a=1\r\nCookie: b=2\r\nAccept: x\r\nAccept: y\r\n\r\n",
        )
        .unwrap();
    let response = client.response().unwrap();
    let text = response.text();
    assert!(!text.contains("evil") && !text.contains("6.6.6.6"), "{text}");
    for part in [
        "('HTTP_COOKIE', 'a=1; b=2')",
        "('HTTP_ACCEPT', 'x,y')",
        "('HTTP_HOST', 'test.example:81')",
        "('QUERY_STRING', 'a=%20b')",
        "('REMOTE_ADDR', '127.0.0.1')",
        "('REQUEST_METHOD', 'GET')",
        "('SERVER_PROTOCOL', 'HTTP/1.1')",
        "('wsgi.url_scheme', 'http')",
        &format!("('SERVER_PORT', '{}')", project.port),
        &format!("('HTTP_X_REQUEST_ID', '{}')", response.field("x-request-id").unwrap()),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn the_host_is_the_target_s_where_that_is_a_whole_url() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    for (request, host) in [
        ("GET http://b:81/environ HTTP/1.0\r\n\r\n", Some("b:81")),
        ("GET http://b:80/environ HTTP/1.1\r\nHost: B\r\nConnection: close\r\n\r\n", Some("b:80")),
        ("GET /environ HTTP/1.0\r\n\r\n", None),
    ] {
        let mut client = running.client();
        client.send(request).unwrap();
        let text = client.response().unwrap().text();
        let expected = host.map(|host| format!("('HTTP_HOST', '{host}')"));
        assert_eq!(text.contains("HTTP_HOST"), host.is_some(), "{request}: {text}");
        assert!(expected.is_none_or(|expected| text.contains(&expected)), "{request}: {text}");
    }
}

#[test]
fn an_application_cannot_hide_where_it_is_found() {
    let project = project();
    let running = project.up(&["--access-log", "json"]);
    let response = running.client().get("/ids").unwrap();
    let values = |name| response.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(values("x-served-by").collect::<Vec<_>>(), ["mine"], "nothing of ours is there unless it is exposed");
    assert_eq!((values("x-request-id").count(), response.field("x-other")), (1, Some("mine")));
    wait_for("its line in the log", || running.out().contains(response.field("x-request-id").unwrap()));
    drop(running);
    let exposed = Project::new(TIERCE, APP, "workers = 1\nexpose = true");
    let response = exposed.up(&["--access-log", "off"]).client().get("/ids").unwrap();
    let served: Vec<_> = response.fields.iter().filter(|(name, _)| name == "x-served-by").collect();
    assert!(matches!(&served[..], [(_, node)] if node.starts_with("web.1/")), "{served:?}");
}

#[test]
fn what_is_asked_of_the_server_is_not_asked_of_the_application() {
    let project = project();
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    let ask = |target: &str| format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([ask("http://a"), ask("*"), ask("/")].concat()).unwrap();
    assert_eq!(client.response().unwrap().field("content-length"), Some("0"), "it names no path");
    let server = client.response().unwrap();
    assert_eq!((server.status, server.field("content-length"), server.text().as_str()), (200, Some("0"), ""));
    assert!(server.field("allow").is_some_and(|methods| methods.contains("PATCH")), "{server:?}");
    let application = client.response().unwrap();
    assert_eq!((application.text().as_str(), application.field("allow")), ("ok", None));
    wait_for("its line in the log", || running.out().contains(server.field("x-request-id").unwrap()));
}

#[test]
fn an_application_of_one_worker_is_told_that_there_may_be_more() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    assert_eq!(running.client().get("/processes").unwrap().text(), "True");
}

#[test]
fn an_application_that_does_not_answer_is_not_waited_for_for_ever() {
    let project = project();
    let running = project.up(&["--access-log", "json"]);
    let response = running.client().get("/slow").unwrap();
    assert_eq!(response.status, 504);
    assert!(response.text().contains("http_response_timeout"), "{}", response.text());
    wait_for("the ending in the log", || running.out().contains("\"tierce.ending\":\"http_response_timeout\""));
    assert_eq!(running.client().get("/").unwrap().status, 200);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.end().unwrap();
    assert_eq!(client.response().unwrap().text(), "block 0block 1block 2");
}
