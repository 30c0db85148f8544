//! Clients that misbehave, named by what they do: each ends in one way, and costs nobody else anything.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RUNS: &str = include_str!("apps/runs.py");

fn project() -> Project {
    Project::new(TIERCE, RUNS, "workers = 1\nlimits = { body = '1MB' }")
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "json"])
}

fn begun(project: &Project) -> usize {
    project.read("runs.txt").lines().count()
}

/// The log says how it ended, its slot is free, and others are served.
fn ended(running: &Running<'_>, ending: &str) {
    let line = format!("\"tierce.ending\":\"{ending}\"");
    wait_for(&line, || running.out().contains(&line));
    running.wait_until_idle();
    assert_eq!(running.client().get("/").unwrap().status, 200);
}

fn sends_and_leaves(running: &Running<'_>, bytes: impl AsRef<[u8]>) {
    let mut client = running.client();
    client.send(bytes).unwrap();
    drop(client);
}

#[test]
fn stalls_in_the_head() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    let response = client.response().unwrap();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    assert_eq!(client.rest().unwrap(), b"");
    ended(&running, "client_timed_out");
}

#[test]
fn leaves_in_the_body() {
    for (framing, part) in [
        ("Content-Length: 10", "12345".to_owned()),
        ("Content-Length: 900000", "x".repeat(200_000)),
        ("Transfer-Encoding: chunked", "5\r\n123".to_owned()),
        ("Transfer-Encoding: chunked", "5\r\n12345\r\n".to_owned()),
        ("Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\n".to_owned()),
    ] {
        let project = project();
        let running = up(&project);
        sends_and_leaves(&running, format!("POST /run/1 HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}"));
        ended(&running, "client_closed");
        // The application reads the body first; a part of it must never look like all of it.
        assert_eq!(begun(&project), 0, "{framing}");
    }
}

/// A client whose connection is reset, not only ended, when it is dropped.
fn impatient(running: &Running<'_>) -> Client {
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.answer_arrived().unwrap();
    client
}

fn post(client: &mut Client, id: u32) {
    client.send(format!("POST /run/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
}

#[test]
fn leaves_before_the_answer() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"0.3\" }");
    let running = up(&project);
    let mut client = impatient(&running);
    post(&mut client, 1);
    wait_for("it to have begun", || begun(&project) == 1);
    drop(client);
    ended(&running, "client_closed");
    assert_eq!(begun(&project), 1, "nobody runs it again");
}

#[test]
fn leaves_before_its_turn() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nthreads = 1\nenv = { WAIT = \"3\" }");
    let running = up(&project);
    let mut waiting: Vec<_> = (0..40).map(|_| impatient(&running)).collect();
    running.wait_until_idle();
    let mut first = running.client();
    post(&mut first, 1);
    wait_for("it to have begun", || begun(&project) == 1);
    // More than a worker's window holds: some wait there, the others in the queue.
    for (client, id) in waiting.iter_mut().zip(2..) {
        post(client, id);
    }
    wait_for("all to wait", || {
        let ps = running.ps();
        ps["apps"][0]["queued"].as_u64().unwrap() + ps["items"][0]["in_flight"].as_u64().unwrap() == 41
    });
    drop(waiting);
    assert_eq!(first.response().unwrap().status, 200);
    ended(&running, "client_closed");
    assert_eq!(begun(&project), 1, "what nobody waits for is not begun");
}

#[test]
fn leaves_without_a_word_or_in_the_head() {
    let project = project();
    let running = up(&project);
    drop(running.client());
    sends_and_leaves(&running, "GET / HT");
    running.wait_until_idle();
    assert_eq!(running.client().get("/").unwrap().status, 200);
    assert!(!running.err().contains("panicked"), "{}", running.err());
}

#[test]
fn sends_byte_by_byte() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    let request = "POST /run/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]).unwrap();
    }
    let response = client.response().unwrap();
    assert_eq!(response.status, 200);
    assert!(response.text().ends_with(" 3"), "three bytes of body: {}", response.text());
}

#[test]
fn sends_more_ahead_than_is_read_ahead() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let requests: String = (0..3000).map(|id| format!("GET /{id} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests).unwrap();
    for id in 0..3000 {
        let response = client.response().unwrap();
        assert!(response.text().starts_with(&format!("/{id} ")), "in order: {}", response.text());
    }
}

#[test]
fn sends_ahead_and_leaves() {
    let project = project();
    let running = up(&project);
    let one = |id| format!("POST /run/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    sends_and_leaves(&running, (0..50).map(one).collect::<String>());
    running.wait_until_idle();
    let ids = project.read("runs.txt");
    let ids: std::collections::BTreeSet<_> = ids.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ids.len(), begun(&project), "none ran twice");
    assert_eq!(running.client().get("/").unwrap().status, 200);
}

#[test]
fn sends_rubbish_behind_a_request() {
    let project = project();
    let running = up(&project);
    let mut client: Client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01rubbish\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    let refused = client.response().unwrap();
    assert_eq!((refused.status, refused.field("connection")), (400, Some("close")));
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn keeps_many_connections_open() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut clients: Vec<_> = (0..500).map(|_| running.client()).collect();
    for client in clients.iter_mut().rev() {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
}
