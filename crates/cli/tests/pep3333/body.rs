//! "Buffering and Streaming", "Handling the Content-Length Header", and `close`.

use testkit::{Project, Running, wait_for};

use crate::{get, notes, project, up};

#[test]
fn each_block_has_left_before_the_next_is_asked_for() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send("GET /one_at_a_time HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"first", "while the application makes the next");
    project.write("gate", "");
    assert_eq!(client.chunk().unwrap(), b"second");
}

#[test]
fn an_answer_that_is_complete_waits_for_nothing_more() {
    for rule in ["complete_before_the_end", "complete_before_close", "complete_by_write"] {
        let project = project();
        let running = up(&project);
        // An application that is quick to end its answers may have them leave with the word that they have ended.
        assert_eq!(get(&mut running.client(), "slow_close", "").status, 200);
        let mut client = running.client();
        client.send(format!("GET /{rule} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        wait_for("it to begin", || notes(&project, "begun") == 1);
        project.write("begin", "");
        assert_eq!(client.response().unwrap().text(), "12345", "{rule}");
        assert_eq!(notes(&project, "at the end"), 0, "{rule}: the application still works on it");
        project.write("end", "");
        wait_for("its end", || notes(&project, "at the end") == 1);
    }
}

#[test]
fn no_more_is_asked_for_than_was_announced() {
    let project = project();
    let running = up(&project);
    let response = get(&mut running.client(), "announced", "");
    assert_eq!((response.status, response.text()), (200, "x".repeat(25)));
    wait_for("the end of the generator", || project.read("notes.txt").contains("asked"));
    assert_eq!(project.read("notes.txt"), "asked 3\n");
    let mut client = running.client();
    client.send("HEAD /announced HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("content-length"), Some("25"));
    wait_for("the end of the second", || project.read("notes.txt").lines().count() == 2);
    running.wait_until_idle();
}

#[test]
fn bodies_of_every_kind() {
    let project = project();
    project.write("file.txt", "line one\nline two\n");
    let running = up(&project);
    let mut client = running.client();
    let lines = Some("line one\nline two\n");
    for (kind, expected) in [
        ("list", Some("ab")),
        ("tuple", Some("ab")),
        ("one", Some("ab")),
        ("generator", Some("ab")),
        ("iterator", Some("ab")),
        ("set", Some("ab")),
        ("sequence", Some("old style")),
        ("attributes", Some("ab")),
        ("subclass", Some("ab")),
        ("nothing", Some("")),
        ("empty", Some("")),
        ("file", lines),
        ("wrapper", lines),
        ("None", None),
        ("text", None),
        ("texts", None),
        ("bytes", None),
        ("number", None),
        ("bytearray", None),
    ] {
        let response = get(&mut client, "kind", kind);
        match expected {
            Some(text) => assert_eq!((response.status, response.text().as_str()), (200, text), "{kind}"),
            None => assert_eq!(response.status, 500, "{kind}: {}", response.text()),
        }
        if ["one", "nothing", "empty", "subclass"].contains(&kind) {
            let length = expected.unwrap().len().to_string();
            assert_eq!(response.field("content-length"), Some(length.as_str()), "{kind}: the length is known");
        }
    }
    // What turns out to be no bytes behind the first block breaks the answer off.
    client.send("GET /kind?numbers HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert!(client.rest().map_or(true, |rest| !rest.ends_with(b"0\r\n\r\n")), "it does not look whole");
}

#[test]
fn bytes_are_bytes() {
    let project = project();
    let running = up(&project);
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n\n\r\r\n\0\x1a\xff\xfe0\r\n\r\n").collect();
    let mut client = running.client();
    assert_eq!(client.post("/echoed", &bytes).unwrap().body, bytes, "nothing is decoded, and no line end changed");
}

fn close_is_called(project: &Project, running: &Running<'_>, method: &str, path: &str) {
    let mut client = running.client();
    let before = notes(project, &format!("closed {path}"));
    client.send(format!("{method} /closed?{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).unwrap();
    let answer = client.rest().unwrap_or_default();
    running.wait_until_idle();
    let calls = notes(project, &format!("closed {path}")) - before;
    assert_eq!(calls, 1, "{method} {path}: {}", String::from_utf8_lossy(&answer));
}

#[test]
fn close_is_called_once_on_every_path() {
    let project = project();
    let running = up(&project);
    for path in [
        "end",
        "length",
        "204",
        "304",
        "nothing",
        "unstarted",
        "exception",
        "base-exception",
        "iter",
        "close",
        "both",
        "not-bytes",
        "list",
    ] {
        close_is_called(&project, &running, "GET", path);
        close_is_called(&project, &running, "HEAD", path);
    }
    let told = running.out();
    assert_eq!(told.matches("ValueError: close has failed").count(), 4, "also as a second error: {told}");
    assert!(told.contains("ValueError: in the middle of both"), "{told}");
    let response = get(&mut running.client(), "closed", "close");
    assert_eq!((response.status, response.text().as_str()), (200, "abc"), "what was sent before is whole");
}
