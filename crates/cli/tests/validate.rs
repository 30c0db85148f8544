//! wsgiref's validator between the server and an application that does everything: neither side breaks a rule.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/validated.py");

#[test]
fn the_validator_has_nothing_to_say() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let read = r"[b'on', b'e\n', b'two\n', b'three', b'']";
    let lines = r"[b'one\n', b'two\n', b'three']";
    for (request, status, expected) in [
        ("GET /caf%C3%A9?a=b HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/caf\u{e9}"),
        ("GET /write HTTP/1.1\r\nHost: a\r\n\r\n", 200, "written returned"),
        ("GET /generator HTTP/1.1\r\nHost: a\r\n\r\n", 200, "block 0\nblock 1\nblock 2\n"),
        ("GET /file HTTP/1.1\r\nHost: a\r\n\r\n", 200, APP),
        ("GET /length HTTP/1.1\r\nHost: a\r\n\r\n", 200, "12345"),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 204, ""),
        ("GET /unchanged HTTP/1.1\r\nHost: a\r\n\r\n", 304, ""),
        ("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n", 500, ""),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/"),
        ("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\none\ntwo\nthree", 200, read),
        ("POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\none\ntwo\nthree", 200, lines),
        (
            "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\n8\r\nwo\nthree\r\n0\r\n\r\n",
            200,
            read,
        ),
        (
            "POST /lines HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\n8\r\nwo\nthree\r\n0\r\n\r\n",
            200,
            lines,
        ),
        ("PUT /ignored HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, "/ignored"),
    ] {
        client.send(request).unwrap();
        let response = client.response().unwrap();
        assert_eq!(response.status, status, "{request}{}", running.out());
        if status == 200 {
            assert_eq!(response.text(), expected, "{request}");
        }
    }
    // On a connection of its own, which ends with the response when the length of that is not known in time.
    let mut old = running.client();
    old.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!(old.response().unwrap().text(), "/");
    for path in ["/", "/write", "/generator", "/file", "/length"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(client.head().unwrap().status, 200, "HEAD {path}: {}", running.out());
    }
    running.wait_until_idle();
    // What is printed is read in order, so that nothing of the requests before is still on its way.
    assert_eq!(client.get("/last").unwrap().status, 200);
    wait_for("the last words", || running.out().matches("also noted\n").count() == 6);
    let told = running.out();
    assert!(told.contains("ValueError: broken on purpose"), "what goes wrong is in the log: {told}");
    for complaint in ["AssertionError", "WSGIWarning", "close() not called"] {
        assert!(!told.contains(complaint), "{told}");
    }
}
