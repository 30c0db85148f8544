//! Files as responses (PEP 3333, "Optional Platform-Specific File Handling"): they are sent without being read in Python.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::PathBuf};

use testkit::{Client, Project, Response, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/files.py");
const MIB: usize = 1 << 20;

/// A project with a file of so many bytes.
fn project(size: usize, keys: &str) -> (Project, Vec<u8>) {
    let project = Project::new(TIERCE, APP, &format!("workers = 1\n{keys}"));
    let content: Vec<u8> = (0..size).map(|at| u8::try_from((at ^ at >> 8 ^ at >> 16) & 0xff).unwrap()).collect();
    fs::write(project.path().join("big.bin"), &content).unwrap();
    (project, content)
}

fn ask(client: &mut Client, path: &str) -> Response {
    client.get(path).unwrap()
}

/// How often this was noted; every `close` is.
fn notes(project: &Project, wanted: &str) -> usize {
    project.read("notes.txt").lines().filter(|line| *line == wanted).count()
}

fn closed_once(project: &Project, name: &str, at: &str) {
    let wanted = format!("{name} closed at {at}");
    wait_for(&wanted, || 0 < notes(project, &wanted));
    let all = project.read("notes.txt");
    assert_eq!(all.lines().filter(|line| line.starts_with(&format!("{name} closed"))).count(), 1, "{all}");
}

/// Those that a process has open, but for those by which a worker watches its own threads: one each, for as long as it lives.
fn descriptors(pid: u32) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let watches = |link: &PathBuf| link.starts_with("/proc") && link.ends_with("syscall");
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).filter(|link| !watches(link)).collect()
}

#[test]
fn a_file_is_sent_whole_and_closed_once() {
    let (project, content) = project(50 * MIB, "");
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    let response = ask(&mut client, "/whole");
    assert_eq!(response.field("content-length"), Some("52428800"));
    assert!(response.body == content, "{} bytes", response.body.len());
    closed_once(&project, "whole", "0");
    wait_for("its size in the log", || running.out().contains("\"http.response.body.size\":52428800"));
    // The connection serves more.
    assert_eq!(ask(&mut client, "/ok").text(), "ok");
}

#[test]
fn position_and_content_length_are_kept_to() {
    let (project, content) = project(2 * MIB, "");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (path, range, at) in [
        ("/offset", 1_000_000..2 * MIB, "1000000"),
        ("/whole?1", 0..1, "0"),
        ("/whole-2?1500000", 0..1_500_000, "0"),
        ("/whole-3?0", 0..0, "0"),
        ("/end", 0..0, "2097152"),
        ("/wrapped?wrapped", 0..2 * MIB, "2097152"),
    ] {
        let response = ask(&mut client, path);
        assert_eq!(response.status, 200, "{path}");
        assert!(response.body == content[range], "{path}: {} bytes", response.body.len());
        closed_once(&project, path.trim_start_matches('/').split('?').next().unwrap(), at);
    }
    // More is announced than there is: nothing has gone yet, so that the client can be told.
    let response = ask(&mut client, "/long?2097153");
    assert_eq!(response.status, 502);
    assert!(response.text().contains("http_response_incomplete"), "{}", response.text());
    // What was written comes first; with a length it is followed by the file as such, otherwise in chunks.
    let expected = [b"before", &content[..]].concat();
    for (path, length, at) in [("/written?2097158", Some("2097158"), "0"), ("/chunks?written", None, "2097152")] {
        let response = ask(&mut client, path);
        assert_eq!(response.field("content-length"), length, "{path}");
        assert!(response.body == expected, "{path}: {} bytes", response.body.len());
        closed_once(&project, path.trim_start_matches('/').split('?').next().unwrap(), at);
    }
    assert_eq!(ask(&mut client, "/early?no-start").status, 500);
    closed_once(&project, "early", "0");
}

#[test]
fn where_no_body_belongs_none_is_sent() {
    let (project, _) = project(MIB, "");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (method, path, status, length) in [
        ("HEAD", "/head", 200, Some("1048576")),
        ("HEAD", "/head-of?10", 200, Some("10")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let head = client.head().unwrap();
        assert_eq!((head.status, head.field("content-length")), (status, length), "{method} {path}");
        closed_once(&project, path.trim_start_matches('/').split('?').next().unwrap(), "0");
    }
    assert_eq!(ask(&mut client, "/ok").text(), "ok");
    client.send("GET /old HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().body.len(), MIB);
}

#[test]
fn what_is_no_plain_file_is_read() {
    let (project, _) = project(1, "");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (path, body) in [
        ("/bytes", "in memory".to_owned()),
        ("/pipe", "from a pipe\n".to_owned()),
        ("/packed", "unpacked".to_owned()),
        ("/buffered", "x".repeat(10_000 - 13)),
        ("/named", "named ".repeat(999)),
        (
            "/changed",
            APP.chars()
                .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
                .collect(),
        ),
    ] {
        let response = ask(&mut client, path);
        assert_eq!((response.status, response.text()), (200, body), "{path}");
    }
    assert!(ask(&mut client, "/made-up").text().starts_with("Name:"));
    for (path, reason) in [("/text", "TypeError: 'str' object"), ("/unreadable", "UnsupportedOperation: ")] {
        assert_eq!(ask(&mut client, path).status, 500, "{path}");
        wait_for(reason, || running.out().contains(reason));
    }
}

#[test]
fn a_slow_reader_keeps_its_connection_and_nothing_else() {
    let (project, content) = project(50 * MIB, "threads = 1");
    let running = project.up(&["--access-log", "off"]);
    let mut slow = running.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    closed_once(&project, "slow", "0");
    for _ in 0..3 {
        assert_eq!(ask(&mut running.client(), "/ok").text(), "ok");
    }
    assert_eq!(ask(&mut running.client(), "/second").body.len(), content.len());
    running.wait_until_idle();
    // Nor does the file need the worker that has opened it, or its name.
    project.ok(&["restart"]);
    fs::remove_file(project.path().join("big.bin")).unwrap();
    assert!(slow.take(content.len()).unwrap() == content);
}

#[test]
fn a_file_that_shrinks_breaks_the_response_off_and_one_that_grows_does_not_matter() {
    let (project, content) = project(50 * MIB, "");
    let running = project.up(&["--access-log", "json"]);
    let grown = ask(&mut running.client(), "/grows");
    assert!(grown.body == content, "{} bytes", grown.body.len());
    closed_once(&project, "grows", "0");
    let mut client = running.client();
    client.send("GET /shrinks HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("content-length"), Some("52428804"));
    closed_once(&project, "shrinks", "0");
    wait_for("the file to be short", || fs::metadata(project.path().join("big.bin")).unwrap().len() == 0);
    let rest = client.rest();
    assert!(rest.as_ref().is_err() || rest.unwrap().len() < content.len());
    wait_for("the ending", || running.out().contains("\"tierce.ending\":\"http_response_incomplete\""));
}

#[test]
fn no_descriptor_is_left_behind() {
    let (project, content) = project(100_000, "");
    let running = project.up(&["--access-log", "json"]);
    let worker = running.workers()[0];
    let mut client = running.client();
    assert!(ask(&mut client, "/first").body == content);
    // A thread of its own opens the log, for the first line.
    wait_for("the log", || project.path().join(".tierce/log/tierce.log").exists());
    let all = || [running.pid(), worker].map(|pid| descriptors(pid).len());
    // The answer was here before what it was made from was closed.
    let closed =
        || [running.pid(), worker].iter().all(|pid| descriptors(*pid).iter().all(|path| !path.ends_with("big.bin")));
    wait_for("the first file to be closed", closed);
    running.accepts();
    let before = all();
    // What was left of other questions may have gone meanwhile.
    let no_more = || all().iter().zip(before).all(|(now, before)| *now <= before);
    for _ in 0..1000 {
        assert_eq!(ask(&mut client, "/again").body.len(), content.len());
    }
    wait_for("the files to be closed", || closed() && no_more());
    // Clients that go in the middle.
    fs::write(project.path().join("big.bin"), vec![b'x'; 50 * MIB]).unwrap();
    for gone in 1..=20 {
        let mut client = running.client();
        client.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
        drop(client);
        wait_for("the ending", || running.out().matches("\"tierce.ending\":\"client_closed\"").count() == gone);
    }
    wait_for("the files to be closed", || closed() && no_more());
    assert_eq!(notes(&project, "gone closed at 0"), 20);
    running.wait_until_idle();
    assert_eq!(running.workers(), [worker], "the worker has not noticed");
}

fn hints(running: &Running<'_>, request: &str) -> Vec<Response> {
    let mut client = running.client();
    client.send(request).unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &Response| last.status == 103) {
        seen.push(client.head().unwrap());
    }
    seen
}

#[test]
fn early_hints_arrive_before_the_response() {
    let (project, _) = project(1, "");
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    client.send("POST /hinted?wait HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let first = client.head().unwrap();
    let links = first.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let expected = [("link", "</style.css>; rel=preload; as=style"), ("link", "</a.js>; rel=preload")];
    assert_eq!((first.status, links.collect::<Vec<_>>()), (103, expected.to_vec()));
    assert_eq!(client.head().unwrap().field("x-second"), Some("caf\u{fffd}"), "one byte, which is no UTF-8");
    // The application waits for the body: the hints have not waited for the response.
    client.send("0\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("x-third"), Some("the head has not left"));
    let response = client.response().unwrap();
    assert_eq!((response.status, response.text().as_str(), response.field("link")), (200, "body", None));
    // What the application has kept is of no use in other requests.
    let kept = ask(&mut client, "/kept");
    assert!(kept.text().contains("this request has ended"), "{}", kept.text());

    let statuses = |request: &str| hints(&running, request).iter().map(|head| head.status).collect::<Vec<_>>();
    assert_eq!(statuses("HEAD /hinted HTTP/1.1\r\nHost: a\r\n\r\n"), [103, 103, 103, 200]);
    assert_eq!(statuses("GET /hinted HTTP/1.0\r\n\r\n"), [200]);
    assert_eq!(statuses("GET /many-hints HTTP/1.1\r\nHost: a\r\n\r\n"), [vec![103; 16], vec![200]].concat());
    let bad = ask(&mut client, "/bad-hint");
    assert_eq!((bad.status, bad.field("x-evil")), (500, None));
    wait_for("the reason", || running.out().contains("header Link cannot have the value"));
}
