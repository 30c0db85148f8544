//! Who gets which answer: early ones, ones that nobody has asked for, interim ones, and requests behind requests.

use std::{io::Write, net::TcpStream};

use testkit::{Upstream, wait_for};

use super::{SMUGGLED, project, server::Server, talk};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// The upstream answers before it has read the body, which is a request: it never becomes one, at either end.
#[test]
fn early_answers_with_a_body_in_flight() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let running = project.up(&["--access-log", "off"]);
    let long = SMUGGLED.repeat(10_000);
    for framing in
        [format!("Content-Length: {}\r\n\r\n", long.len()), "Transfer-Encoding: chunked\r\n\r\n8000\r\n".to_owned()]
    {
        let mut client = running.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}{}", &SMUGGLED.repeat(100))).unwrap();
        let mut caller = upstream.accept();
        assert!(caller.answer(OK).starts_with("POST /a "), "{framing}");
        let response = client.response().unwrap();
        assert_eq!((response.status, response.field("connection")), (200, Some("close")), "{framing}");
        // What follows is read and thrown away, so that the client sees the answer and no reset.
        client.send(SMUGGLED.repeat(100)).unwrap();
        assert_eq!(client.rest().unwrap(), b"", "{framing}: there is one answer");
        // This connection has seen half a request and is not used again.
        while !caller.has_ended() {
            let _ = caller.take(1);
        }
        let mut next = running.client();
        next.send(GET).unwrap();
        assert!(upstream.accept().answer(OK).starts_with("GET / "), "{framing}");
        assert_eq!(next.response().unwrap().text(), "ok");
    }
}

/// A client that goes in the middle of its body takes the upstream's connection with it.
#[test]
fn a_body_that_breaks_off_is_not_filled_up_by_the_next_request() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let running = project.up(&["--access-log", "off"]);
    for begin in ["Content-Length: 100000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = running.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{begin}")).unwrap();
        let mut caller = upstream.accept();
        assert!(caller.head().unwrap().starts_with("POST /a "));
        let sent = if begin.starts_with('T') { "3\r\nabc\r\n" } else { "abc" };
        assert_eq!(caller.take(sent.len()).unwrap(), sent.as_bytes());
        drop(client);
        assert!(caller.has_ended(), "{begin}: nothing follows");
        let mut next = running.client();
        next.send(GET).unwrap();
        upstream.accept().answer(OK);
        assert_eq!(next.response().unwrap().text(), "ok", "{begin}");
    }
}

/// An answer that comes while nobody has asked is nobody's.
#[test]
fn an_idle_connection_that_speaks_is_not_used() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "cores = 1");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for before in [POISON, "HTTP/1.1 100 Continue\r\n\r\n", "\r\n", "x"] {
        client.send(GET).unwrap();
        let mut caller = upstream.accept();
        caller.answer(OK);
        assert_eq!(client.response().unwrap().text(), "ok");
        caller.send(before).unwrap();
        // The bytes have arrived before the next request is sent, on the loopback.
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut other = upstream.accept();
        assert!(other.answer(OK).starts_with("GET /next "), "{before:?}");
        assert_eq!(client.response().unwrap().text(), "ok", "{before:?}");
        assert!(caller.has_ended(), "{before:?}");
        // So that the next round begins with a new one.
        drop(other);
        let _ = running.client();
        client.send(GET).unwrap();
        upstream.accept().answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.response().unwrap().text(), "ok");
    }
}

#[test]
fn what_stands_behind_an_answer_is_nobodys() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let running = project.up(&["--access-log", "off"]);
    for (label, method, response, status) in [
        ("behind a length", "GET", format!("{OK}{POISON}"), 200),
        (
            "behind chunks",
            "GET",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{POISON}"),
            200,
        ),
        (
            "the body of an answer to HEAD",
            "HEAD",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len()),
            200,
        ),
        (
            "the body of a 204",
            "GET",
            format!("HTTP/1.1 204 No\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len()),
            204,
        ),
        (
            "the chunks of a 304",
            "GET",
            format!("HTTP/1.1 304 Not\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n{POISON}"),
            304,
        ),
        (
            "the body of a 205",
            "GET",
            format!("HTTP/1.1 205 Reset\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len()),
            205,
        ),
        (
            "behind trailers",
            "GET",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n{POISON}"
            ),
            200,
        ),
    ] {
        let mut client = running.client();
        client.send(format!("{method} /a HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let mut caller = upstream.accept();
        caller.answer(&response);
        let head = client.head().unwrap();
        assert_eq!(
            (head.status, head.field("transfer-encoding").is_some()),
            (status, label.ends_with("chunks") || label.ends_with("trailers")),
            "{label}"
        );
        if head.field("transfer-encoding").is_some() {
            assert_eq!((client.chunk().unwrap(), client.chunk().unwrap()), (b"ok".to_vec(), vec![]), "{label}");
        } else if method == "GET" && status == 200 {
            assert_eq!(client.take(2).unwrap(), b"ok", "{label}");
        }
        assert!(caller.has_ended(), "{label}: it is not used again");
        client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(
            upstream
                .accept()
                .answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmine")
                .starts_with("GET /b ")
        );
        assert_eq!(client.response().unwrap().text(), "mine", "{label}");
    }
}

#[test]
fn interim_answers_are_for_whom_they_are_for_and_few() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let running = project.up(&["--access-log", "off"]);
    let early = "HTTP/1.1 103 Early\r\nLink: <a>\r\nContent-Length: 9\r\nConnection: x\r\nX: 1\r\n\r\n";
    let mut old = running.client();
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    upstream.accept().answer(&format!("{early}HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    assert_eq!(old.response().unwrap().text(), "ok", "HTTP/1.0 knows none");
    let mut client = running.client();
    client.send(GET).unwrap();
    upstream.accept().answer(&format!("HTTP/1.1 100 Continue\r\n\r\n{early}{OK}"));
    let hints = client.head().unwrap();
    assert_eq!(
        (hints.status, hints.fields),
        (103, vec![("link".to_owned(), "<a>".to_owned())]),
        "nobody has waited for 100"
    );
    assert_eq!(client.response().unwrap().text(), "ok");
    let mut other = running.client();
    other.send(GET).unwrap();
    let mut caller = upstream.accept();
    caller.answer(&early.repeat(17));
    let last = std::iter::repeat_with(|| other.response().unwrap()).find(|response| response.status != 103).unwrap();
    assert_eq!((last.status, caller.has_ended()), (502, true));
}

/// Whatever a client wants to switch to, its bytes are requests as long as nobody has answered 101.
#[test]
fn bytes_behind_an_upgrade_are_no_tunnel() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let running = project.up(&["--access-log", "off"]);
    for upgrade in ["x", "h2c", "TLS/1.0"] {
        let mut client = running.client();
        client
            .send(format!("GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"))
            .unwrap();
        let mut caller = upstream.accept();
        let head = caller.head().unwrap();
        assert!(head.starts_with("GET /a ") && !head.to_lowercase().contains("upgrade"), "{head}");
        caller.send(OK).unwrap();
        assert_eq!(client.response().unwrap().text(), "ok");
        assert!(
            caller.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nb").starts_with("GET /b ")
        );
        assert_eq!(client.response().unwrap().text(), "b");
    }
}

/// One at a time: the second request is not looked at before the first has its answer.
#[test]
fn pipelined_requests_wait_for_their_turn() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET /c HTTP/1.1\nHost: a\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    assert!(caller.answer(OK).starts_with("GET /a "));
    assert_eq!(client.response().unwrap().text(), "ok");
    assert!(caller.answer(OK).starts_with("POST /b "));
    assert_eq!(caller.take(1).unwrap(), b"x");
    assert_eq!((client.response().unwrap().status, client.response().unwrap().status), (200, 400));
    assert_eq!(client.rest().unwrap(), b"");
    // Behind the last request of a connection there is none.
    let server = Server::new();
    let project = super::project(&server.url(), "");
    let _running = project.up(&["--access-log", "off"]);
    for last in ["GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /a HTTP/1.0\r\n\r\n"] {
        let responses = talk(project.port, format!("{last}{SMUGGLED}").as_bytes()).unwrap();
        assert_eq!((responses.len(), server.taken().len()), (1, 1), "{last}");
    }
}

/// A client that sends and does not read is bounded by its own buffers.
#[test]
fn a_client_that_only_writes_stands_still() {
    let upstream = Upstream::new();
    let project = project(&upstream.url(), "");
    let body = "x".repeat(1 << 20);
    upstream.answer_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).leak());
    let running = project.up(&["--access-log", "off"]);
    let mut stream = TcpStream::connect(("127.0.0.1", project.port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let text = GET.repeat(1000);
    let (mut sent, mut rounds) = (0, 0);
    wait_for("it to be stopped", || {
        let before = sent;
        while let Ok(count) = stream.write(text.as_bytes()) {
            sent += count;
        }
        rounds = if sent == before { rounds + 1 } else { 0 };
        20 <= rounds
    });
    assert!(sent < 64 << 20, "{sent} bytes were taken in");
    assert_eq!(running.client().get("/other").unwrap().body.len(), body.len(), "others are served");
}
