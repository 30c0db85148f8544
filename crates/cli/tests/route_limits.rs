//! Bounds of a route: how many of its requests are with the application, how long they wait, how long responses are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    process::Stdio,
    sync::{Arc, mpsc},
    thread::spawn,
};

use testkit::{Client, Project, Response, Running, Upstream, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/held.py");

fn project(keys: &str) -> Project {
    Project::new(TIERCE, APP, &format!("workers = 1\n{keys}"))
}

fn asking(running: &Running<'_>, path: &str) -> Client {
    let mut client = running.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    client
}

fn notes(project: &Project) -> String {
    project.read("notes.txt").replace('\n', ", ")
}

fn says(response: &Response, status: u16, cause: &str) {
    assert_eq!((response.status, response.text().contains(cause)), (status, true), "{}", response.text());
}

/// Sends so many requests and waits until all but `waiting` of them have an answer; returns those that have one, and the others.
fn rush(running: &Running<'_>, path: &str, count: usize, waiting: usize) -> (Vec<Client>, Vec<Arc<Client>>) {
    let (tell, told) = mpsc::channel();
    let clients: Vec<_> = (0..count).map(|_| Arc::new(asking(running, path))).collect();
    for (number, client) in clients.iter().cloned().enumerate() {
        let tell = tell.clone();
        spawn(move || {
            let arrived = client.answer_arrived().is_ok();
            drop(client);
            // Nobody listens any more to those that wait for long.
            let _ = tell.send((number, arrived));
        });
    }
    let answered: Vec<_> = (waiting..count).map(|_| told.recv().unwrap()).collect();
    assert!(answered.iter().all(|(_, arrived)| *arrived));
    let mut clients: Vec<_> = clients.into_iter().map(Some).collect();
    let answered =
        answered.iter().map(|(number, _)| Arc::into_inner(clients[*number].take().unwrap()).unwrap()).collect();
    (answered, clients.into_iter().flatten().collect())
}

#[test]
fn a_slow_route_leaves_room_for_others() {
    let project = project("[[route]]\npath = \"/held\"\nlimits = { in_flight = 2, queue_length = 3 }");
    let running = project.up(&["--access-log", "off"]);
    let (refused, waiting) = rush(&running, "/held/1", 9, 5);
    for mut client in refused {
        let response = client.response().unwrap();
        says(&response, 503, "queue_full");
        assert_eq!(response.field("retry-after"), Some("1"));
    }
    wait_for("two to begin", || notes(&project).matches("begin").count() == 2);
    let mut client = running.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert_eq!(notes(&project).matches("begin").count(), 2, "the others wait");
    project.write("go", "");
    waiting.iter().for_each(|client| client.answer_arrived().unwrap());
    running.wait_until_idle();
    assert_eq!(notes(&project).matches("end").count(), 5);
}

#[test]
fn who_leaves_the_line_gives_its_place_up_and_who_leaves_the_application_does_not() {
    let project = project("[[route]]\npath = \"/held\"\nlimits = { in_flight = 1, queue_length = 1 }");
    let running = project.up(&["--access-log", "json"]);
    // With an unread answer before, dropping the connection resets it: then nobody can be there to read.
    let mut first = asking(&running, "/");
    first.send("GET /held/first HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    first.answer_arrived().unwrap();
    wait_for("it to begin", || notes(&project).contains("begin"));
    let (_, second) = rush(&running, "/held/second", 2, 1);
    second[0].end().unwrap();
    let left = "\"tierce.ending\":\"client_closed\",\"tierce.phase\":\"queue\"";
    wait_for("it to have left", || running.out().contains(left));
    let (_, third) = rush(&running, "/held/third", 2, 1);
    // Its work goes on, and keeps the place, until it has ended.
    drop(first);
    let gone = "\"tierce.ending\":\"client_closed\",\"tierce.phase\":\"await_head\"";
    wait_for("it to be gone", || running.out().contains(gone));
    let (refused, none) = rush(&running, "/held/fourth", 3, 0);
    assert_eq!((refused.len(), none.len()), (3, 0), "{}", notes(&project));
    assert_eq!(notes(&project).matches("begin").count(), 1, "{}", notes(&project));
    project.write("go", "");
    third[0].answer_arrived().unwrap();
    wait_for("both to end", || {
        notes(&project).contains("end /held/first") && notes(&project).contains("end /held/third")
    });
    assert!(!notes(&project).contains("second"), "{}", notes(&project));
}

#[test]
fn the_wait_is_bounded_by_the_route() {
    let project = project("[[route]]\npath = \"/held\"\nlimits = { in_flight = 1, queue = \"100ms\" }");
    let running = project.up(&["--access-log", "off"]);
    let mut first = asking(&running, "/held/1");
    wait_for("it to begin", || notes(&project).contains("begin"));
    says(&running.client().get("/held/2").unwrap(), 503, "queue_timeout");
    project.write("go", "");
    assert_eq!(first.response().unwrap().status, 200);
    assert!(!notes(&project).contains("/held/2"), "{}", notes(&project));
}

#[test]
fn a_reload_keeps_who_is_in_the_line() {
    let keys =
        "[[route]]\npath = \"/held\"\nlimits = { in_flight = 1, queue_length = 1 }\n[[route]]\npath = \"/new\"\n";
    let project = project(&format!("{keys}respond = 410"));
    let running = project.up(&["--access-log", "off"]);
    let mut first = asking(&running, "/held/1");
    wait_for("it to begin", || notes(&project).contains("begin"));
    let (_, second) = rush(&running, "/held/2", 2, 1);
    project.write("tierce.toml", &project.config(&format!("workers = 1\n{keys}respond = 451")));
    let mut reload = project.command(&["reload"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the new routes", || running.client().get("/new").unwrap().status == 451);
    let (mut refused, _) = rush(&running, "/held/3", 1, 0);
    says(&refused[0].response().unwrap(), 503, "queue_full");
    project.write("go", "");
    assert_eq!(first.response().unwrap().status, 200);
    second[0].answer_arrived().unwrap();
    assert!(reload.wait().unwrap().success());
}

#[test]
fn a_response_of_the_application_is_as_long_as_it_may_be() {
    let project =
        project("limits = { response = \"1kB\" }\n[[route]]\npath = \"/grows\"\nlimits = { response = \"2MB\" }");
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    assert_eq!(client.get("/fits").unwrap().body.len(), 1000);
    let refused = client.get("/announced").unwrap();
    says(&refused, 502, "response_too_large");
    assert_eq!(
        refused.field("proxy-status"),
        Some("tierce; error=http_response_body_size; details=\"response_too_large\"")
    );
    client.send("HEAD /announced HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200, "nothing of it is sent");
    let mut grows = asking(&running, "/grows");
    assert_eq!(grows.head().unwrap().status, 200);
    let mut length = 0;
    let broken = loop {
        match grows.chunk() {
            Ok(chunk) if chunk.is_empty() => break false,
            Ok(chunk) => length += chunk.len(),
            Err(_) => break true,
        }
    };
    assert!(broken && length <= 2_000_000, "{length}");
    wait_for("the log", || {
        running.out().contains("\"tierce.ending\":\"response_too_large\",\"tierce.phase\":\"send_body\"")
    });
    running.wait_until_idle();
    wait_for("all to be closed", || notes(&project).matches("closed").count() == 4);
}

#[test]
fn a_response_of_an_upstream_is_as_long_as_it_may_be() {
    let upstream = Upstream::new();
    let keys = format!("upstream = [\"{}\"]\nhealth.every = \"1h\"\nlimits = {{ response = \"10B\" }}", upstream.url());
    let project = Project::new(TIERCE, "", &keys);
    let running = project.up(&["--access-log", "json"]);
    let mut client = asking(&running, "/");
    upstream.accept().answer("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n");
    says(&client.response().unwrap(), 502, "response_too_large");
    for (response, whole) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\n0\r\n0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n01234567890", false),
    ] {
        let mut client = asking(&running, "/");
        let mut caller = upstream.accept();
        caller.answer(response);
        drop(caller);
        assert_eq!(client.response().is_ok(), whole, "{response}");
    }
    wait_for("the log", || running.out().matches("response_too_large").count() == 3);
}
