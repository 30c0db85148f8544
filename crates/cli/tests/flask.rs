//! Flask, unchanged: what its applications use besides answering with text.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Project, Response, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/flask_shop.py");

fn project() -> Project {
    Project::new(TIERCE, APP, "workers = 2")
}

fn ask(client: &mut Client, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}Content-Length: {length}\r\n\r\n");
    client.send(head + body).unwrap();
    client.response().unwrap()
}

#[test]
fn answers_of_all_kinds() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (path, status, body) in [
        ("/text/a%2Fb%20%C3%A9?q=1", 200, "a/b \u{e9} http://shop.example/text/a/b%20\u{e9}?q=1"),
        ("/stream-out", 200, "/stream-out 0\n/stream-out 1\n/stream-out 2\n"),
        ("/file", 200, APP),
    ] {
        let response = ask(&mut client, "GET", path, "", "");
        assert_eq!((response.status, response.text().as_str()), (status, body), "{path}");
    }
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/teapot", 418),
        ("GET", "/broken", 500),
        ("GET", "/moved", 302),
        ("GET", "/json", 405),
        ("OPTIONS", "/json", 200),
    ] {
        assert_eq!(ask(&mut client, method, path, "", "").status, status, "{method} {path}");
    }
    assert_eq!(ask(&mut client, "GET", "/moved", "", "").field("location"), Some("/visits"));
    wait_for("the traceback", || running.out().contains("ValueError: broken on purpose"));
    let etag = ask(&mut client, "GET", "/file", "", "").field("etag").unwrap().to_owned();
    let fresh = ask(&mut client, "GET", "/file", &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    let part = ask(&mut client, "GET", "/file", "Range: bytes=0-2\r\n", "");
    assert_eq!((part.status, part.text().as_str()), (206, "\"\"\""));
}

#[test]
fn bodies_of_all_kinds() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let json = "Content-Type: application/json\r\n";
    let answer = ask(&mut client, "POST", "/json", json, r#"{"name": "caf\u00e9"}"#);
    assert_eq!(answer.text().trim(), r#"{"got":{"name":"caf\u00e9"}}"#);
    assert_eq!(ask(&mut client, "POST", "/json", json, "{").status, 400);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(ask(&mut client, "POST", "/form", form, "name=Ada+L.").text(), "Ada L. 0");
    let part = "--b\r\nContent-Disposition: form-data; name=";
    let body = format!(
        "{part}\"name\"\r\n\r\nAda\r\n{part}\"file\"; filename=\"f\"\r\n\r\n{}\r\n--b--\r\n",
        "z".repeat(900_000)
    );
    let multipart = "Content-Type: multipart/form-data; boundary=b\r\n";
    assert_eq!(ask(&mut client, "POST", "/form", multipart, &body).text(), "Ada 900000");
    assert_eq!(ask(&mut client, "POST", "/stream-in", "", &"y".repeat(2_000_000)).text(), "2000000");
    // A chunked body has no length that the application could know: it reads to its end.
    client.send("POST /stream-in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..100 {
        client.send(format!("2710\r\n{}\r\n", "c".repeat(10_000))).unwrap();
    }
    client.send("0\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().text(), "1000000");
}

#[test]
fn sessions_and_hooks_work_in_every_worker() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let mut cookie = String::new();
    for visit in 1..=6 {
        let response = ask(&mut client, "GET", "/visits", &cookie, "");
        assert_eq!(response.text(), visit.to_string());
        cookie = format!("Cookie: {}\r\n", response.field("set-cookie").unwrap().split(';').next().unwrap());
    }
    ask(&mut client, "GET", "/broken", "", "");
    let notes = || project.read("notes.txt");
    wait_for("the end of each request to be noted", || notes().lines().count() == 7);
    assert_eq!(notes().lines().filter(|line| *line == "/visits NoneType").count(), 6);
    assert!(notes().contains("/broken ValueError"), "{}", notes());
}

#[test]
fn a_generator_ends_when_its_client_has_gone() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert!(65_536 <= client.chunk().unwrap().len());
    drop(client);
    wait_for("the generator to end", || project.read("notes.txt").contains("generator closed"));
    running.wait_until_idle();
}
