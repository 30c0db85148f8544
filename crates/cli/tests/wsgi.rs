//! PEP 3333 as applications rely on it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RULES: &str = r#"
import os, sys

CLOSED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "closed.txt")

class Body:
    def __init__(self, name, blocks):
        self.name, self.blocks = name, iter(blocks)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.blocks)
    def close(self):
        with open(CLOSED, "a") as file:
            file.write(self.name + "\n")

def failing(after):
    for n in range(after):
        yield b"block"
    raise ValueError("in the middle")

def endless():
    while True:
        yield b"x" * 65536

def app(environ, start_response):
    path = environ["PATH_INFO"]
    ok = lambda *headers: start_response("200 OK", list(headers))
    if path == "/late":
        def body():
            ok(("X-Late", "yes"))
            yield b"late"
        return Body("late", body())
    if path == "/write":
        write = ok()
        write(b"written ")
        return Body("write", [b"returned"])
    if path == "/replaced":
        ok()
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("500 Mine", [("X-Replaced", "yes")], sys.exc_info())
        return Body("replaced", [b"replaced"])
    if path == "/twice":
        ok()
        ok()
    if path == "/raise":
        raise ValueError("before anything")
    if path == "/raise-first":
        ok(("Content-Length", "10"))
        return Body("raise-first", failing(0))
    if path == "/raise-later":
        ok(("Content-Length", "10"))
        return Body("raise-later", failing(1))
    if path == "/short":
        ok(("Content-Length", "10"))
        return Body("short", [b"12345"])
    if path == "/long":
        ok(("Content-Length", "3"))
        return Body("long", [b"123", b"45"])
    if path == "/split":
        ok(("X-Evil", "a\r\nSet-Cookie: b"))
        return [b""]
    if path == "/text":
        ok()
        return ["text"]
    if path == "/nothing":
        return [b"no start_response"]
    if path == "/exit":
        sys.exit("an application must not end the worker")
    if path == "/endless":
        ok()
        return Body("endless", endless())
    if path == "/lines":
        lines = [environ["wsgi.input"].readline(), environ["wsgi.input"].read(2), *environ["wsgi.input"]]
        ok()
        return [repr(lines).encode()]
    if path == "/headers":
        ok(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "caf\u00e9"), ("Connection", "x"), ("Date", "now"))
        return [b"", b"ok"]
    ok()
    return [b"ok"]
"#;

fn closed(project: &Project, name: &str) -> usize {
    project.read("closed.txt").lines().filter(|line| *line == name).count()
}

#[test]
fn the_rules_of_pep_3333() {
    let project = Project::new(TIERCE, RULES, "workers = 1");
    let running = project.up(&["--access-log", "off"]);
    for (path, status, body) in [
        ("/", 200, "ok"),
        ("/late", 200, "late"),
        ("/write", 200, "written returned"),
        ("/replaced", 500, "replaced"),
        ("/long", 200, "123"),
        ("/twice", 500, "app_exception"),
        ("/raise", 500, "app_exception"),
        ("/split", 500, "app_exception"),
        ("/text", 500, "app_exception"),
        ("/nothing", 500, "app_exception"),
        ("/exit", 500, "app_exception"),
        ("/raise-first", 500, "app_exception"),
    ] {
        let response = running.client().get(path).unwrap();
        assert_eq!(response.status, status, "{path}: {}", response.text());
        assert!(response.text().contains(body), "{path}: {}", response.text());
    }
    for (path, begun) in [("/raise-later", &b"block"[..]), ("/short", b"12345")] {
        let mut client = running.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let head = client.head().unwrap();
        if head.status == 200 {
            // The head has gone: the client sees that the rest is missing.
            let rest = client.rest();
            assert!(rest.is_err() || rest.unwrap() == begun, "{path}");
        } else {
            assert_eq!(head.status, 502, "{path}");
        }
    }
    for name in ["late", "write", "replaced", "long", "raise-first", "raise-later", "short"] {
        wait_for(name, || 0 < closed(&project, name));
        assert_eq!(closed(&project, name), 1, "{name}");
    }
    wait_for("the tracebacks", || running.out().contains("ValueError: in the middle"));
}

#[test]
fn close_is_called_when_the_client_has_gone() {
    let project = Project::new(TIERCE, RULES, "workers = 1");
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    drop(client);
    wait_for("close()", || closed(&project, "endless") == 1);
    wait_for("the ending", || running.out().contains("\"tierce.ending\":\"client_closed\""));
    wait_for("the slot", || running.ps()["items"][0]["in_flight"] == 0);
}

#[test]
fn fields_and_input() {
    let project = Project::new(TIERCE, RULES, "workers = 1");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let response = client.get("/headers").unwrap();
    let cookies: Vec<_> =
        response.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!((response.field("connection"), response.field("date")), (None, Some("now")));
    assert_eq!(response.field("x-latin"), Some("caf\u{fffd}"), "one byte, which is no UTF-8");
    let response = client.post("/lines", b"one\ntwo\nthree\nfour").unwrap();
    assert_eq!(response.text(), "[b'one\\n', b'tw', b'o\\n', b'three\\n', b'four']");
}

#[test]
fn threads_started_at_import_do_not_break_the_workers() {
    let app = format!(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n{RULES}"
    );
    let project = Project::new(TIERCE, &app, "workers = 2");
    let running = project.up(&["--access-log", "off"]);
    assert!(running.err().contains("each worker imports it anew"), "{}", running.err());
    assert_eq!(running.client().get("/").unwrap().text(), "ok");
    let before = running.workers();
    testkit::signal(before[0], "KILL");
    wait_for("a new worker", || {
        let now = running.workers();
        !now.contains(&before[0]) && !now.contains(&0) && now.len() == 2
    });
    assert_eq!(running.client().get("/").unwrap().text(), "ok");
}
