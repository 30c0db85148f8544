//! Other servers in an application's place, written byte for byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, Response, Upstream, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

/// One that is probed once, and so has no other connections than those of requests.
fn project(upstreams: &[&Upstream], keys: &str) -> Project {
    let urls: Vec<_> = upstreams.iter().map(|upstream| upstream.url()).collect();
    Project::new(TIERCE, "", &format!("upstream = {urls:?}\nhealth.every = \"1h\"\n{keys}"))
}

/// A trace that requests are sent with, so that what is passed on is known to the byte.
const TRACE: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

fn says(response: &Response, status: u16, cause: &str) {
    assert_eq!((response.status, response.text().contains(cause)), (status, true), "{}", response.text());
}

#[test]
fn what_passes_is_written_anew() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    client
        .send(format!(
            "POST /a%20b?c HTTP/1.1\r\nhost: Shop.example\r\nAccept: */*\r\n{TRACE}X-Forwarded-For: 6.6.6.6\r\n\
             Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\na_b: 1\r\nConnection: foo\r\n\
             Foo: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nProxy: x\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        ))
        .unwrap();
    let mut caller = upstream.accept();
    let head = caller.head().unwrap();
    let id = head.split("X-Request-Id: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    assert_eq!(
        head,
        format!(
            "POST /a%20b?c HTTP/1.1\r\nHost: Shop.example\r\nAccept: */*\r\na_b: 1\r\nX-Forwarded-For: 127.0.0.1\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: Shop.example\r\nX-Request-Id: {id}\r\n\
             {TRACE}Transfer-Encoding: chunked\r\n\r\n"
        )
    );
    assert_eq!(caller.take(13).unwrap(), b"3\r\nabc\r\n0\r\n\r\n");
    caller
        .send(
            "HTTP/1.1 201 Made\r\nSet-Cookie: a\r\nset-cookie: b\r\nConnection: close, bar\r\nBar: 1\r\nKeep-Alive: x\r\n\
             Date: now\r\nX-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: 1\r\n\r\n",
        )
        .unwrap();
    let response = client.response().unwrap();
    let fields: Vec<_> = response.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("date", "now"),
            ("transfer-encoding", "chunked"),
            ("x-request-id", &id)
        ]
    );
    assert_eq!((response.status, response.body.as_slice()), (201, &b"x"[..]));
    assert!(caller.has_ended(), "it has said that this was its last response");
    wait_for("its line", || running.out().contains(&format!("\"tierce.node\":\"127.0.0.1:{}\"", upstream.port)));
}

#[test]
fn proxies_that_are_trusted_are_continued() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "trusted_proxies = [\"127.0.0.1\"]");
    let running = project.up(&[]);
    let mut client = running.client();
    client
        .send(format!(
            "GET http://a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
             Forwarded: for=192.0.2.1\r\nX-Request-Id: named\r\n{TRACE}\r\n",
        ))
        .unwrap();
    let mut caller = upstream.accept();
    assert_eq!(
        caller.answer(OK),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n\
             Forwarded: for=192.0.2.1, for=127.0.0.1\r\nX-Forwarded-Host: a\r\nX-Request-Id: named\r\n{TRACE}\r\n"
        )
    );
    assert_eq!(client.response().unwrap().text(), "ok");
    // Who names the client only in the other form names it all the same.
    client.send("GET /?a HTTP/1.1\r\nHost: a\r\nForwarded: for=192.0.2.1;proto=https\r\n\r\n").unwrap();
    let head = caller.answer(OK);
    for part in ["GET /?a ", "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n", "X-Forwarded-Proto: https\r\n"] {
        assert!(head.contains(part), "{head}");
    }
}

#[test]
fn framing_that_could_be_read_in_two_ways_is_a_502_and_its_connection_is_not_used_again() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let mut client = running.client();
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        client.send(GET).unwrap();
        let mut caller = upstream.accept();
        caller.answer(response);
        says(&client.response().unwrap(), 502, "upstream_protocol_error");
        assert!(caller.has_ended(), "{response}");
    }
    // Behind a head that has gone to the client only breaking off is left.
    client.send(GET).unwrap();
    upstream.accept().answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokx\r\n0\r\n\r\n");
    assert!(client.response().is_err());
    assert!(running.err().contains("a response was refused: "), "{}", running.err());
}

#[test]
fn connections_are_used_again_while_they_are_clean() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let mut client = running.client();
    client.send(GET).unwrap();
    let mut caller = upstream.accept();
    for response in [
        OK,
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        // The bytes behind it are no response of anybody.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ] {
        caller.answer(response);
        if response.contains("103") {
            assert_eq!(client.response().unwrap().field("link"), Some("<a>"));
        }
        let got = client.response().unwrap();
        assert!(response.contains(&got.status.to_string()) && got.text() != "poison", "{got:?}");
        client.send(GET).unwrap();
    }
    assert!(caller.has_ended());
    upstream.accept().answer(OK);
    assert_eq!(client.response().unwrap().text(), "ok");
    // HEAD has no body, whatever is said, and bytes that come nevertheless poison nothing.
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    caller.answer(OK);
    assert_eq!(client.head().unwrap().field("content-length"), Some("2"));
    assert!(caller.has_ended());
}

#[test]
fn a_kept_connection_that_ends_is_replaced_for_what_may_be_sent_twice() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let mut client = running.client();
    client.send(GET).unwrap();
    let mut caller = upstream.accept();
    caller.answer(OK);
    client.response().unwrap();
    // One that was closed while it was idle is not used, whatever the method is.
    drop(caller);
    client.send(POST).unwrap();
    let mut caller = upstream.accept();
    caller.answer(OK);
    assert_eq!(client.response().unwrap().status, 200);
    // This one has the request and ends.
    caller.take(3).unwrap();
    client.send(GET).unwrap();
    caller.head().unwrap();
    drop(caller);
    let mut caller = upstream.accept();
    caller.answer(OK);
    assert_eq!(client.response().unwrap().status, 200);
    client.send(POST).unwrap();
    caller.head().unwrap();
    drop(caller);
    says(&client.response().unwrap(), 502, "connection_terminated");
    // And so does a new one, where there is no doubt that it was sent.
    client.send(GET).unwrap();
    let mut caller = upstream.accept();
    assert!(caller.head().unwrap().starts_with("GET / "), "the POST was not sent again");
    drop(caller);
    says(&client.response().unwrap(), 502, "connection_terminated");
}

#[test]
fn a_response_that_breaks_off_is_seen_as_such() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&["--access-log", "json"]);
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ] {
        let mut client = running.client();
        client.send(GET).unwrap();
        let mut caller = upstream.accept();
        caller.answer(response);
        drop(caller);
        assert!(client.response().is_err(), "{response}");
    }
    wait_for("how they ended", || running.out().matches("\"http_response_incomplete\"").count() == 2);
    let mut client = running.client();
    client.send(GET).unwrap();
    upstream.accept().answer("HTTP/1.1 200 OK\r\nContent-");
    says(&client.response().unwrap(), 502, "http_response_incomplete");
    // The end of the connection is an end where nothing else is said; the client's framing tells it so.
    client.send(GET).unwrap();
    upstream.accept().answer("HTTP/1.0 200 OK\r\n\r\nall of it");
    let response = client.response().unwrap();
    assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("all of it", Some("chunked")));
}

#[test]
fn bodies_wait_for_whom_they_are_for() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let mut client = running.client();
    let expects = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    client.send(expects).unwrap();
    let mut caller = upstream.accept();
    assert!(caller.answer("HTTP/1.1 100 Continue\r\n\r\n").contains("Expect: 100-continue\r\n"));
    assert_eq!(client.head().unwrap().status, 100);
    client.send("abc").unwrap();
    assert_eq!(caller.take(3).unwrap(), b"abc");
    caller.send(OK).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    // A refusal instead is passed on, and the connections are not used again, as nobody knows what follows on them.
    client.send(expects).unwrap();
    caller.answer("HTTP/1.1 413 Too Long\r\nContent-Length: 0\r\n\r\n");
    let refused = client.response().unwrap();
    assert_eq!((refused.status, refused.field("connection")), (413, Some("close")));
    assert!(caller.has_ended());
    // An answer before the end of the body, from one that reads on.
    let mut client = running.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").unwrap();
    let mut caller = upstream.accept();
    caller.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n");
    assert_eq!((client.head().unwrap().status, client.chunk().unwrap()), (200, b"A".to_vec()));
    assert_eq!(caller.take(6).unwrap(), b"1\r\na\r\n");
    client.send("1\r\nb\r\n0\r\n\r\n").unwrap();
    assert_eq!(caller.take(11).unwrap(), b"1\r\nb\r\n0\r\n\r\n");
    caller.send("1\r\nB\r\n0\r\n\r\n").unwrap();
    assert_eq!((client.chunk().unwrap(), client.chunk().unwrap()), (b"B".to_vec(), Vec::new()));
}

#[test]
fn one_that_takes_no_connections_is_passed_over() {
    let (gone, there) = (Upstream::new(), Upstream::new());
    let project = project(&[&gone, &there], "");
    let running = project.up(&[]);
    wait_for("both to be ready", || {
        running.ps()["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready")
    });
    let port = gone.port;
    drop(gone);
    there.answer_all(OK);
    let mut client = running.client();
    for _ in 0..30 {
        client.send(POST).unwrap();
        assert_eq!(client.response().unwrap().status, 200);
    }
    let ejected = format!("127.0.0.1:{port} gets no requests for 1s: connections have failed one after the other");
    wait_for("its ejection", || running.err().contains(&ejected));
    assert_eq!(running.ps()["items"][1]["state"], "ready");
}

#[test]
fn the_last_one_is_not_ejected() {
    let gone = Upstream::new();
    let project = project(&[&gone], "");
    let running = project.up(&[]);
    wait_for("it to be ready", || running.ps()["items"][0]["state"] == "ready");
    let port = gone.port;
    drop(gone);
    let mut client = running.client();
    for _ in 0..20 {
        client.send(GET).unwrap();
        says(&client.response().unwrap(), 502, "connection_refused");
    }
    Upstream::at(port).answer_all(OK);
    client.send(GET).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn requests_wait_for_one_that_is_well() {
    let port = free_port();
    let keys = format!("upstream = [\"http://127.0.0.1:{port}\"]\nlimits.queue = \"300ms\"");
    let project = Project::new(TIERCE, "", &keys);
    let running = project.up(&[]);
    let mut client = running.client();
    client.send(GET).unwrap();
    let response = client.response().unwrap();
    says(&response, 503, "destination_unavailable");
    assert_eq!(response.field("retry-after"), Some("1"));
    Upstream::at(port).answer_all(OK);
    wait_for("it to be found", || running.ps()["items"][0]["state"] == "ready");
    client.send(GET).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    wait_for("word of it", || running.err().contains(&format!("127.0.0.1:{port} is ready")));
}

#[test]
fn a_path_tells_how_it_is() {
    let upstream = Upstream::new();
    let keys =
        format!("upstream = [{:?}]\nhealth = {{ path = \"/well\", every = \"50ms\", fail = 2 }}", upstream.url());
    let project = Project::new(TIERCE, "", &keys);
    let running = project.up(&[]);
    let probe = |status: u16| {
        let head = upstream.accept().answer(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        assert!(head.starts_with("GET /well HTTP/1.1\r\n"), "{head}");
    };
    let state = || running.ps()["items"][0]["state"].as_str().unwrap().to_owned();
    probe(500);
    assert_eq!(state(), "starting");
    probe(302);
    wait_for("it to be ready", || state() == "ready");
    (0..2).for_each(|_| probe(404));
    wait_for("it to be unhealthy", || state() == "unhealthy");
    wait_for("the reason", || running.err().contains("gets no requests: GET /well: status 404"));
    (0..2).for_each(|_| probe(200));
    wait_for("it to be ready", || state() == "ready");
}

#[test]
fn a_reload_takes_other_upstreams_and_keeps_the_rest() {
    let [one, other] = [(); 2].map(|()| Upstream::new());
    let (port, urls) = (one.port, [one.url(), other.url()]);
    one.answer_all(OK);
    other.answer_all("HTTP/1.1 202 Other\r\nContent-Length: 0\r\n\r\n");
    let keys = |url: &str| format!("upstream = [{url:?}]\nhealth.every = \"1h\"");
    let project = Project::new(TIERCE, "", &keys(&urls[0]));
    let running = project.up(&[]);
    let mut client = running.client();
    client.send(GET).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    project.write("tierce.toml", &project.config(&keys(&urls[1])));
    let said = project.ok(&["reload"]);
    let expected = format!("1 new ({}), 1 gone ({})", &urls[1][7..], &urls[0][7..]);
    assert!(said.err.contains(&expected), "{} {}", said.out, said.err);
    client.send(GET).unwrap();
    assert_eq!(client.response().unwrap().status, 202);
    wait_for("only the other", || running.ps()["items"].as_array().unwrap().len() == 1);
    project.write("tierce.toml", "upstream = 5");
    let finished = project.run(&["reload"]);
    assert_eq!((finished.code, finished.err.contains("nothing was changed")), (78, true), "{}", finished.err);
    assert_eq!(project.run(&["scale", "web=2"]).code, 2);
    assert!(!running.ps().to_string().contains(&port.to_string()));
}

#[test]
fn a_whole_application_can_be_behind_it() {
    let app = "def app(environ, start_response):\n    body = environ['wsgi.input'].read()\n    start_response('200 OK', \
               [('X-Client', environ['REMOTE_ADDR'])])\n    return [body, body]\n";
    let behind = Project::new(TIERCE, app, "listen = [\"unix:app.sock\"]\ntrusted_proxies = [\"unix\"]\nworkers = 1");
    let _behind = behind.up(&[]);
    let front = Project::new(TIERCE, "", "");
    let bind = format!("127.0.0.1:{}", front.port);
    let socket = format!("unix:{}/app.sock", behind.path().display());
    front.write("tierce.toml", "");
    let running = front.start(front.command(&["edge", "-b", &bind, "--upstream", &socket, "--cores", "1"]));
    let mut client = running.client();
    for length in [0, 3, 70_000, 3_000_000] {
        let body: Vec<_> = (0..length).map(|at| (at % 251) as u8).collect();
        let response = client.post("/", &body).unwrap();
        assert_eq!((response.status, response.field("x-client")), (200, Some("127.0.0.1")));
        assert!(response.body == [&body[..], &body[..]].concat(), "{length}");
    }
    running.wait_until_idle();
}
