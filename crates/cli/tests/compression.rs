//! Responses that are compressed on their way: of an application, of files, of other servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod decoding; // what a client makes of a body

use decoding::{Decoder, decoded};
use testkit::{Client, Project, Response, Running, Upstream, ask, field, get, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");

/// What a browser accepts.
const ALL: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";

const APP: &str = r#"
import threading

from flask import Flask, Response, request

go = threading.Semaphore(0)
LINE = "a line of a page, and its number is {}\n"
PAGE = "".join(LINE.format(number) for number in range(2000))


flask = Flask(__name__)


@flask.route("/page")
def page():
    response = Response(PAGE, content_type=request.args.get("type", "text/html; charset=utf-8"))
    for name in request.args:
        if name != "type":
            response.headers[name] = request.args[name]
    return response


@flask.route("/tagged")
def tagged():
    response = Response(PAGE, content_type="application/json")
    response.add_etag()
    return response.make_conditional(request)


@flask.route("/short")
def short():
    return "short"


@flask.route("/stream")
def stream():
    def pieces():
        for number in range(3):
            yield f"piece {number}\n"
            go.acquire()
    return Response(pieces(), content_type=request.args.get("type", "text/plain"))


@flask.route("/go")
def release():
    go.release()
    return ""


@flask.route("/breaks")
def breaks():
    def pieces():
        yield PAGE
        raise RuntimeError("on purpose")
    return Response(pieces(), content_type="text/plain")


@flask.route("/cut")
def cut():
    return Response(iter([PAGE]), content_type="text/plain", headers={"Content-Length": str(len(PAGE) + 1)})


@flask.route("/file")
def file():
    import flask as f
    return f.send_file("big.txt", etag=False)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/many":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (LINE.format(number).encode() for number in range(2000))
    return flask(environ, start_response)
"#;

fn page() -> String {
    (0..2000).map(|number| format!("a line of a page, and its number is {number}\n")).collect()
}

fn project(keys: &str) -> Project {
    let project = Project::new(TIERCE, APP, &format!("workers = 1\n{keys}"));
    project.write("big.txt", &page().repeat(20));
    project
}

const KEYS: &str = "compress = true\nstatic = { \"/static\" = \"assets\" }";

/// The fields that describe the response, without those of the connection and of this one request.
fn described(response: &Response) -> Vec<(String, String)> {
    let but = ["date", "x-request-id", "content-length", "transfer-encoding", "connection"];
    response.fields.iter().filter(|(name, _)| !but.contains(&name.as_str())).cloned().collect()
}

/// That it came compressed so, and is that when it is decoded.
fn is_compressed(response: &Response, coding: &str, plain: &str) {
    assert_eq!((field(response, "content-encoding"), response.field("content-length")), (coding, None));
    assert!(field(response, "vary").contains("Accept-Encoding"), "{response:?}");
    assert!(response.body.len() < plain.len() / 2, "{coding}: {}", response.body.len());
    assert!(decoded(coding, &response.body) == plain.as_bytes(), "{coding}");
}

/// That it came as the application has made it.
fn is_plain(response: &Response, plain: &str) {
    assert_eq!(response.field("content-encoding"), None);
    assert!(response.body == plain.as_bytes(), "{} bytes", response.body.len());
}

#[test]
fn a_response_comes_in_the_coding_that_the_client_likes() {
    let project = project(KEYS);
    let running = project.up(&[]);
    let mut client = running.client();
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("br", "br"),
        ("zstd;q=0.5, br;q=0.8, gzip;q=0.7", "br"),
        ("zstd;q=0, *", "gzip"),
        ("GZIP", "gzip"),
    ] {
        for path in ["/page", "/many"] {
            let response = get(&mut client, path, &format!("Accept-Encoding: {accept}\r\n"));
            is_compressed(&response, coding, &page());
            assert_eq!(field(&response, "transfer-encoding"), "chunked", "{accept}");
        }
    }
    for accept in ["", "Accept-Encoding: identity\r\n", "Accept-Encoding: gzip;q=0, deflate\r\n"] {
        let response = get(&mut client, "/page", accept);
        is_plain(&response, &page());
        assert_eq!((field(&response, "vary"), field(&response, "content-length")), ("Accept-Encoding", "80890"));
    }
    client.send("GET /page HTTP/1.0\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n").unwrap();
    let response = client.response().unwrap();
    is_compressed(&response, "gzip", &page());
    assert_eq!((field(&response, "connection"), response.field("transfer-encoding")), ("close", None));
}

#[test]
fn what_would_not_gain_or_must_not_be_changed_is_left_alone() {
    let project = project(KEYS);
    let running = project.up(&[]);
    let mut client = running.client();
    for query in ["type=image/png", "Cache-Control=no-transform", "Content-Encoding=x", "type=text/event-stream"] {
        let response = get(&mut client, &format!("/page?{query}"), ALL);
        assert!(response.body == page().as_bytes() && response.field("vary").is_none(), "{query}");
        assert_eq!(field(&response, "content-length"), "80890", "{query}");
    }
    let response = get(&mut client, "/short", ALL);
    is_plain(&response, "short");
    assert_eq!(response.field("vary"), None, "it is not compressed for anybody");
    let response = get(&mut client, "/page?Vary=Cookie&Accept-Ranges=bytes&Digest=x&Set-Cookie=a", ALL);
    is_compressed(&response, "zstd", &page());
    assert_eq!((field(&response, "vary"), field(&response, "set-cookie")), ("Cookie, Accept-Encoding", "a"));
    assert!(response.field("accept-ranges").is_none() && response.field("digest").is_none());
}

#[test]
fn nothing_is_compressed_unless_it_is_wanted_and_routes_decide_for_themselves() {
    let other = project("");
    let running = other.up(&[]);
    let response = get(&mut running.client(), "/page", ALL);
    is_plain(&response, &page());
    assert_eq!(response.field("vary"), None);
    drop(running);
    let notice = "closed ".repeat(200);
    let on = project(&format!(
        "[[route]]\npath = \"/page\"\ncompress = true\n\
         [[route]]\npath = \"/closed\"\ncompress = true\nrespond = {{ status = 503, body = {notice:?} }}"
    ));
    let running = on.up(&[]);
    is_compressed(&get(&mut running.client(), "/page", ALL), "zstd", &page());
    is_plain(&get(&mut running.client(), "/many", ALL), &page());
    is_compressed(&get(&mut running.client(), "/closed", ALL), "zstd", &notice);
    drop(running);
    let off = project(
        "compress = true\n[[route]]\npath = \"/page\"\ncompress = false\n[[route]]\nset_header = { Vary = \"X\" }",
    );
    let running = off.up(&[]);
    is_plain(&get(&mut running.client(), "/page", ALL), &page());
    let response = get(&mut running.client(), "/many", ALL);
    is_compressed(&response, "zstd", &page());
    assert_eq!(field(&response, "vary"), "X, Accept-Encoding", "what a route says is added to");
}

#[test]
fn head_says_what_get_says_without_a_length() {
    let project = project(KEYS);
    project.write("assets/page.html", &page());
    let running = project.up(&[]);
    let mut client = running.client();
    for path in ["/page", "/page?type=image/png", "/tagged", "/short", "/static/page.html"] {
        for accept in ["", ALL, "Accept-Encoding: br\r\n"] {
            let head = ask(&mut client, "HEAD", path, accept);
            let response = get(&mut client, path, accept);
            assert_eq!(described(&head), described(&response), "{path} {accept}");
            assert_eq!(head.field("content-length"), response.field("content-length"), "{path} {accept}");
        }
    }
}

#[test]
fn a_tag_that_has_become_weak_is_known_again() {
    let project = project(KEYS);
    project.write("assets/page.html", &page());
    let running = project.up(&[]);
    let mut client = running.client();
    for path in ["/tagged", "/static/page.html"] {
        let plain = get(&mut client, path, "");
        let response = get(&mut client, path, ALL);
        is_compressed(&response, "zstd", &page());
        let (strong, weak) = (field(&plain, "etag").to_owned(), field(&response, "etag").to_owned());
        assert_eq!(weak, format!("W/{strong}"));
        for tag in [&strong, &weak] {
            let response = get(&mut client, path, &format!("{ALL}If-None-Match: {tag}\r\n"));
            assert_eq!((response.status, field(&response, "etag")), (304, tag.as_str()), "{path}");
        }
        assert_eq!(get(&mut client, path, &format!("{ALL}If-None-Match: W/\"x\"\r\n")).status, 200);
    }
}

#[test]
fn files_are_compressed_unless_somebody_has_done_so() {
    let project = project(KEYS);
    project.write("assets/a.css", &page());
    project.write("assets/b.css", &page());
    project.write("assets/b.css.gz", "done already");
    project.write("assets/pic.png", &page());
    project.write("assets/long.txt", &page().repeat(20));
    project.write("assets/huge.txt", &"0123456789".repeat(1_000_001));
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    for coding in ["gzip", "br", "zstd"] {
        let accept = format!("Accept-Encoding: {coding}\r\n");
        let response = get(&mut client, "/static/a.css", &accept);
        is_compressed(&response, coding, &page());
        assert_eq!((field(&response, "vary"), response.field("accept-ranges")), ("Accept-Encoding", None));
        is_compressed(&get(&mut client, "/static/long.txt", &accept), coding, &page().repeat(20));
    }
    let response = get(&mut client, "/static/b.css", ALL);
    assert_eq!((field(&response, "content-encoding"), response.text().as_str()), ("gzip", "done already"));
    is_compressed(&get(&mut client, "/static/b.css", "Accept-Encoding: zstd\r\n"), "zstd", &page());
    let response = get(&mut client, "/static/a.css", &format!("{ALL}Range: bytes=2-5\r\n"));
    assert_eq!((response.status, response.text().as_str()), (206, "line"));
    assert_eq!((response.field("content-encoding"), field(&response, "content-length")), (None, "4"));
    is_plain(&get(&mut client, "/static/pic.png", ALL), &page());
    assert_eq!(field(&get(&mut client, "/static/huge.txt", ALL), "content-length"), "10000010");
    let response = get(&mut client, "/file", ALL);
    is_compressed(&response, "zstd", &page().repeat(20));
    let count = response.body.len().to_string();
    wait_for("what was sent in the log", || running.out().contains(&count));
}

/// Reads chunks until that has arrived.
fn arrives(client: &mut Client, decoder: &mut Decoder, expected: &str) {
    while decoder.text() != expected {
        let chunk = client.chunk().unwrap();
        assert!(!chunk.is_empty(), "it has ended with {:?}", decoder.text());
        decoder.push(&chunk);
        assert!(expected.starts_with(&decoder.text()), "{:?}", decoder.text());
    }
}

#[test]
fn what_the_application_sends_arrives_at_once() {
    let project = project(KEYS);
    let running = project.up(&[]);
    for coding in ["gzip", "br", "zstd"] {
        let mut client = running.client();
        client.send(format!("GET /stream HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n")).unwrap();
        assert_eq!(field(&client.head().unwrap(), "content-encoding"), coding);
        let mut decoder = Decoder::new(coding);
        let mut expected = String::new();
        for number in 0..3 {
            expected.push_str(&format!("piece {number}\n"));
            arrives(&mut client, &mut decoder, &expected);
            assert_eq!(running.client().get("/go").unwrap().status, 200);
        }
        while !decoder.has_ended() {
            decoder.push(&client.chunk().unwrap());
        }
        assert!(client.chunk().unwrap().is_empty());
    }
}

#[test]
fn a_response_that_breaks_off_never_looks_whole() {
    let project = project(KEYS);
    let running = project.up(&[]);
    for path in ["/breaks", "/cut"] {
        for coding in ["gzip", "br", "zstd"] {
            let mut client = running.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n")).unwrap();
            assert_eq!(field(&client.head().unwrap(), "content-encoding"), coding);
            let mut decoder = Decoder::new(coding);
            while let Ok(chunk) = client.chunk() {
                assert!(!chunk.is_empty(), "{path} {coding}: it looks whole");
                decoder.push(&chunk);
            }
            assert!(!decoder.has_ended(), "{path} {coding}");
        }
    }
    is_compressed(&get(&mut running.client(), "/page", ALL), "zstd", &page());
}

/// The head of an upstream's response, which ends where the framing says.
fn served(upstream: &Upstream, running: &Running<'_>, asked: &str, response: &str) -> Response {
    let mut client = running.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{asked}\r\n")).unwrap();
    upstream.accept().answer(response);
    client.response().unwrap()
}

fn behind(upstream: &Upstream) -> Project {
    let url = upstream.url();
    Project::new(TIERCE, "", &format!("compress = true\nupstream = [{url:?}]\nhealth.every = \"1h\""))
}

#[test]
fn so_do_those_of_upstreams() {
    let upstream = Upstream::new();
    let project = behind(&upstream);
    let running = project.up(&[]);
    let page = page();
    let length = page.len();
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    let half = length / 2;
    for framed in [
        format!("Content-Length: {length}\r\n\r\n{page}"),
        format!("\r\n{page}"),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{half:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            &page[..half],
            length - half,
            &page[half..]
        ),
    ] {
        for coding in ["gzip", "br", "zstd"] {
            let accept = format!("Accept-Encoding: {coding}\r\n");
            let response = served(&upstream, &running, &accept, &format!("{html}ETag: \"a\"\r\n{framed}"));
            is_compressed(&response, coding, &page);
            assert_eq!(field(&response, "etag"), "W/\"a\"");
        }
        let response = served(&upstream, &running, "", &format!("{html}{framed}"));
        is_plain(&response, &page);
        assert_eq!(field(&response, "vary"), "Accept-Encoding");
        let response = served(&upstream, &running, ALL, &format!("{html}Content-Encoding: x\r\n{framed}"));
        assert!(field(&response, "content-encoding") == "x" && response.body == page.as_bytes());
        let response = served(&upstream, &running, ALL, &format!("{html}Cache-Control: no-transform\r\n{framed}"));
        is_plain(&response, &page);
    }
    let mut client = running.client();
    client.send(format!("HEAD / HTTP/1.1\r\nHost: a\r\n{ALL}\r\n")).unwrap();
    upstream.accept().answer(&format!("{html}Content-Length: {length}\r\n\r\n"));
    let head = client.head().unwrap();
    assert_eq!((field(&head, "content-encoding"), head.field("content-length")), ("zstd", None));
}

#[test]
fn pieces_of_an_upstream_arrive_at_once_and_what_breaks_off_never_looks_whole() {
    let upstream = Upstream::new();
    let project = behind(&upstream);
    let running = project.up(&[]);
    for (coding, framing) in
        [("gzip", "Transfer-Encoding: chunked"), ("br", "Content-Length: 5000"), ("zstd", "Content-Length: 5000")]
    {
        let mut client = running.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n")).unwrap();
        let mut caller = upstream.accept();
        caller.answer(&format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n"));
        assert_eq!(field(&client.head().unwrap(), "content-encoding"), coding);
        let mut decoder = Decoder::new(coding);
        let mut expected = String::new();
        for piece in ["one\n", "two\n"] {
            expected.push_str(piece);
            caller.send(if framing.starts_with('T') { format!("4\r\n{piece}\r\n") } else { piece.to_owned() }).unwrap();
            arrives(&mut client, &mut decoder, &expected);
        }
        drop(caller);
        assert!(client.chunk().is_err() && !decoder.has_ended(), "{coding}");
    }
}

#[test]
fn a_long_download_comes_in_pieces_and_others_are_served_meanwhile() {
    let project = Project::new(
        TIERCE,
        r#"
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/":
        return [b"quick"]
    line = bytes(range(32, 127)) * 700
    return (line for _ in range(300))
"#,
        "workers = 1\ncores = 1\ncompress = true",
    );
    let running = project.up(&[]);
    let mut slow = running.client();
    slow.send("GET /long HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").unwrap();
    assert_eq!(field(&slow.head().unwrap(), "content-encoding"), "gzip");
    let mut decoder = Decoder::new("gzip");
    let mut quick = running.client();
    let mut total = 0;
    loop {
        let chunk = slow.chunk().unwrap();
        assert!(chunk.len() <= 256 * 1024, "{}", chunk.len());
        if chunk.is_empty() {
            break;
        }
        decoder.push(&chunk);
        total += decoder.take();
        assert_eq!(quick.get("/").unwrap().text(), "quick");
    }
    assert!(decoder.has_ended());
    assert_eq!(total, 300 * 700 * 95);
}
