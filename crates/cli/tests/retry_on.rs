//! What is tried again on another upstream because its operator says so, and what is not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, Running, Upstream, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ILL: &str = "HTTP/1.1 503 Ill\r\nContent-Length: 3\r\n\r\nill";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

/// The first gets all requests, the second those that the first does not answer.
fn project([first, second]: [&Upstream; 2], keys: &str) -> Project {
    let (first, second) = (first.url(), second.url());
    let upstreams = format!("upstream = [\"{first}\", {{ url = \"{second}\", backup = true }}]");
    Project::new(TIERCE, "", &format!("{upstreams}\nhealth.every = \"1h\"\n{keys}"))
}

/// Starts it, and waits until a probe of each has passed: one that has not been probed yet is nobody to try.
fn up(project: &Project) -> Running<'_> {
    let running = project.up(&[]);
    wait_for("both upstreams", || {
        running.ps()["items"].as_array().unwrap().iter().all(|upstream| upstream["state"] == "ready")
    });
    running
}

fn failed(running: &Running<'_>, request: &str, first: &Upstream, answer: &str) -> String {
    let mut client = running.client();
    client.send(request).unwrap();
    first.accept().answer(answer);
    let response = client.response().unwrap();
    format!("{} {}", response.status, response.text())
}

#[test]
fn a_status_that_is_named_is_not_the_answer() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let project = project([&first, &second], "retry_on = [\"503\"]");
    let running = up(&project);
    let mut client = running.client();
    client.send(GET).unwrap();
    let mut ill = first.accept();
    ill.answer(ILL);
    let mut well = second.accept();
    assert!(well.answer(OK).starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(client.response().unwrap().text(), "ok");
    // The connection on which it was whole stays clean.
    client.send(GET).unwrap();
    ill.answer(OK);
    assert_eq!(client.response().unwrap().text(), "ok");
    // What may not run twice does not, and what is not named is an answer.
    client.send(POST).unwrap();
    ill.answer(ILL);
    assert_eq!(ill.take(3).unwrap(), b"abc");
    assert_eq!(client.response().unwrap().text(), "ill");
    client.send(GET).unwrap();
    ill.answer("HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad");
    assert_eq!(client.response().unwrap().text(), "bad");
    // The last answer is passed on.
    client.send(GET).unwrap();
    ill.answer(ILL);
    well.answer("HTTP/1.1 503 Ill\r\nContent-Length: 4\r\n\r\nlast");
    assert_eq!(client.response().unwrap().text(), "last");
}

#[test]
fn nothing_is_tried_again_that_was_taken_unless_it_is_said() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let project = project([&first, &second], "");
    let running = up(&project);
    assert_eq!(failed(&running, GET, &first, ILL), "503 ill");
    let closed = failed(&running, GET, &first, "");
    assert!(closed.starts_with("502 ") && closed.contains("connection_terminated"), "{closed}");
}

#[test]
fn a_connection_that_is_closed_before_its_answer() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let project = project([&first, &second], "retry_on = \"closed\"");
    let running = up(&project);
    for broken in ["", "HTTP/1.1 200 OK\r\nContent-"] {
        let mut client = running.client();
        client.send(GET).unwrap();
        first.accept().answer(broken);
        second.accept().answer(OK);
        assert_eq!(client.response().unwrap().text(), "ok", "{broken:?}");
    }
    let closed = failed(&running, POST, &first, "");
    assert!(closed.starts_with("502 "), "{closed}");
    // What has begun at the client cannot begin again.
    let mut client = running.client();
    client.send(GET).unwrap();
    first.accept().answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok");
    assert!(client.response().is_err());
}

#[test]
fn an_upstream_that_does_not_answer_in_time() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let project = project([&first, &second], "retry_on = [\"timeout\"]\nlimits.time = \"100ms\"");
    let running = up(&project);
    let mut client = running.client();
    client.send(GET).unwrap();
    let mut silent = first.accept();
    silent.head().unwrap();
    second.accept().answer(OK);
    assert_eq!(client.response().unwrap().text(), "ok");
    assert!(silent.has_ended(), "nobody waits for its answer any more");
    client.send(POST).unwrap();
    let mut silent = first.accept();
    silent.head().unwrap();
    assert_eq!(client.response().unwrap().status, 504);
}

#[test]
fn words_of_others_are_explained() {
    let project =
        Project::new(TIERCE, "", "upstream = \"http://127.0.0.1:9\"\nretry_on = [\"http_503\", \"5xx\", \"x\"]\n");
    let check = project.run(&["check"]);
    assert_eq!(check.code, 78);
    for part in ["found \"http_503\"", "write the status alone: \"503\"", "\"502\", \"503\", \"504\"]", "found \"x\""] {
        assert!(check.err.contains(part), "{part}: {}", check.err);
    }
}
