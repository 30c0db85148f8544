//! What can be watched from outside: metrics, readiness, nodes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod prometheus; // a reader that is strict

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use testkit::{Client, Project, Response, Upstream, free_port, wait_for};

use self::prometheus::Page;

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = r#"
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise ValueError("no")
    if path == "/crash":
        os._exit(3)
    if path == "/wait":
        while not os.path.exists("go"):
            time.sleep(0.01)
    if path == "/stuck":
        time.sleep(60)
    start_response("404 Not Found" if path == "/404" else "200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

fn ask(port: u16, path: &str) -> Response {
    let mut client = Client::connect(port).unwrap();
    let response = client.get(path).unwrap();
    assert_eq!(response.field("connection"), Some("close"));
    assert!(client.rest().unwrap().is_empty());
    response
}

fn metrics(port: u16) -> Page {
    let response = ask(port, "/metrics");
    let expected = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!((response.status, response.field("content-type")), (200, expected));
    Page::read(&response.text())
}

fn project(keys: &str) -> (Project, u16) {
    let port = free_port();
    (Project::new(TIERCE, APP, &format!("app = 'app:app'\nadmin = '127.0.0.1:{port}'\n{keys}")), port)
}

const DURATION: &str = "http_server_request_duration_seconds_count";

#[test]
fn counts_add_up() {
    let (project, admin) = project("workers = 1\nnodes = 2\ncores = 2");
    let running = project.up(&["--access-log", "json"]);
    for path in ["/", "/404", "/raise"].repeat(20) {
        running.client().get(path).unwrap();
    }
    let mut client = running.client();
    client.post("/", b"12345").unwrap();
    client.send("BREW / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    client.send("what?\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().status, 400);
    // The line of a request is written when it has been counted.
    wait_for("all to be logged", || running.out().lines().filter(|line| line.contains("tierce.ending")).count() == 63);
    running.wait_until_idle();
    let page = metrics(admin);
    for (labels, expected) in [
        (&[][..], 63.0),
        (&[("tierce_ending", "served")], 42.0),
        (&[("tierce_ending", "app_exception"), ("http_response_status_class", "5xx")], 20.0),
        (&[("tierce_ending", "http_protocol_error"), ("http_request_method", "_OTHER")], 1.0),
        (&[("http_response_status_class", "4xx")], 21.0),
        (&[("http_request_method", "POST"), ("tierce_ending", "served")], 1.0),
        (&[("http_request_method", "_OTHER"), ("http_response_status_class", "2xx")], 1.0),
        (&[("service", "web")], 62.0),
        (&[("service", "tierce"), ("tierce_ending", "http_protocol_error")], 1.0),
    ] {
        assert_eq!(page.sum(DURATION, labels), expected, "{labels:?}");
    }
    for (name, expected) in [
        ("http_server_active_requests", 0.0),
        ("tierce_queue_wait_seconds_count", 62.0),
        ("tierce_queue_depth", 0.0),
        ("tierce_connections_accepted_total", 61.0),
        ("tierce_request_body_bytes_total", 5.0),
        ("tierce_node_ready", 2.0),
        ("tierce_node_requests_total", 62.0),
        ("tierce_worker_requests_total", 62.0),
        ("tierce_worker_in_flight", 0.0),
        ("tierce_worker_ends_total", 0.0),
    ] {
        assert_eq!(page.sum(name, &[]), expected, "{name}");
    }
    assert!(1_000_000.0 < page.sum("tierce_worker_resident_memory_bytes", &[]));
}

#[test]
fn requests_count_for_the_service_that_they_have_asked_also_when_it_has_gone() {
    let upstream = Upstream::new();
    let api = format!("[[route]]\npath = '/api'\nupstream = [{:?}]\nlimits.body = '1kB'\n", upstream.url());
    upstream.answer_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let all = "workers = 1\nhealth.every = '1h'\n[[route]]\npath = '/fixed'\nrespond = { body = 'x' }\n";
    let (project, admin) = project(&format!("{all}{api}"));
    let running = project.up(&[]);
    let file = project.read("tierce.toml");
    let mut client = running.client();
    let mut get = |path: &str| assert_eq!(client.get(path).unwrap().status, 200, "{path}");
    let counted = |expected: [f64; 3]| {
        let of = |page: &Page, name, service| page.sum(name, &[("service", service)]);
        wait_for("all to be counted", || {
            let page = metrics(admin);
            ["web", "api", "tierce"].map(|service| of(&page, DURATION, service)) == expected
        });
        let page = metrics(admin);
        let waits = ["web", "api", "tierce"].map(|service| of(&page, "tierce_queue_wait_seconds_count", service));
        assert_eq!(waits, [expected[0], expected[1], 0.0], "the edge itself is not waited for");
        assert_eq!(page.sum(DURATION, &[]), expected.iter().sum::<f64>());
    };
    ["/", "/api", "/api", "/fixed"].into_iter().for_each(&mut get);
    assert_eq!(running.client().post("/api", &[b'x'; 2000]).unwrap().status, 413);
    counted([1.0, 2.0, 2.0]);
    project.write("tierce.toml", &file.replace(&api, ""));
    project.ok(&["reload"]);
    get("/api");
    counted([2.0, 2.0, 2.0]);
    project.write("tierce.toml", &file);
    project.ok(&["reload"]);
    get("/api");
    counted([2.0, 3.0, 2.0]);
}

#[test]
fn what_happens_to_workers_and_code_is_counted() {
    let (project, admin) = project("workers = 1");
    let running = project.up(&[]);
    // A GET would be tried once more.
    assert_eq!(running.client().post("/crash", b"").unwrap().status, 502);
    let ends = |kind| move || metrics(admin).sum("tierce_worker_ends_total", &[("kind", kind)]) == 1.0;
    wait_for("the end to be counted", ends("exit"));
    assert_eq!(metrics(admin).sum(DURATION, &[("tierce_ending", "worker_crashed")]), 1.0);
    wait_for("a new worker", || running.client().get("/").is_ok_and(|response| response.status == 200));
    project.ok(&["reload"]);
    wait_for("the old one to be counted", ends("left"));
    project.write("app.py", "nonsense(");
    assert_eq!(project.run(&["reload"]).code, 78);
    let page = metrics(admin);
    for (result, expected) in [("made", 1.0), ("failed", 1.0)] {
        assert_eq!(page.sum("tierce_reloads_total", &[("result", result)]), expected, "{result}");
    }
    assert_eq!(page.sum("tierce_node_ready", &[("node", "web.1"), ("generation", "2")]), 1.0);
}

#[test]
fn it_answers_while_the_application_is_stuck_and_clients_are_slow() {
    let (project, admin) = project("workers = 1\nthreads = 1\ncores = 1\nlimits = { time = '60s' }");
    let running = project.up(&[]);
    let mut clients: Vec<_> = (0..50).map(|_| running.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").unwrap());
    let slow: Vec<_> = (0..40).map(|_| Client::connect(admin).unwrap()).collect();
    // Those who say nothing are sent away in a few seconds, and make room.
    wait_for("all to be in flight", || metrics(admin).sum("http_server_active_requests", &[]) == 50.0);
    let page = metrics(admin);
    assert!(1.0 <= page.sum("tierce_queue_depth", &[]));
    assert_eq!(ask(admin, "/ready").status, 200);
    assert_eq!(ask(admin, "/nodes").status, 200);
    drop(slow);
}

#[test]
fn readiness_follows_the_nodes() {
    let (project, admin) = project("workers = 1");
    let mut running = project.up(&[]);
    assert_eq!(ask(admin, "/health").status, 200);
    let ready = || {
        let response = ask(admin, "/ready");
        let told: serde_json::Value = serde_json::from_str(&response.text()).unwrap();
        assert_eq!(told["ready"], response.status == 200, "{told}");
        (response.status, told)
    };
    let (status, told) = ready();
    assert_eq!((status, &told["apps"][0]["nodes"][0]["state"]), (200, &"ready".into()));
    project.ok(&["scale", "web=0"]);
    assert_eq!(ready().0, 503);
    assert_eq!(ask(admin, "/health").status, 200);
    project.ok(&["scale", "web=1"]);
    assert_eq!(ready().0, 200);
    let nodes: serde_json::Value = serde_json::from_str(&ask(admin, "/nodes").text()).unwrap();
    let mut ps = running.ps();
    for value in [&nodes, &ps] {
        assert_eq!((&value["schema"], &value["items"][0]["node"]), (&1.into(), &"web.1".into()));
    }
    let keys = |value: &serde_json::Value| value["items"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&nodes), keys(&ps.take()));

    let mut client = running.client();
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to be in flight", || metrics(admin).sum("tierce_worker_in_flight", &[]) == 1.0);
    running.signal("TERM");
    wait_for("it to drain", || ready().0 == 503);
    let (_, told) = ready();
    assert_eq!(told["why"], "draining");
    assert_eq!(ask(admin, "/health").status, 200);
    project.write("go", "");
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn only_what_is_there_is_told_and_only_to_get_and_head() {
    let (project, admin) = project("workers = 1");
    let _running = project.up(&[]);
    for (request, status) in [
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 405),
        ("GET /metrics HTTP/1.1\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00", 400),
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut client = Client::connect(admin).unwrap();
        client.send(request).unwrap();
        assert_eq!(client.response().unwrap().status, status, "{request:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000));
    let mut client = Client::connect(admin).unwrap();
    client.send(long).unwrap();
    assert_eq!(client.response().unwrap().status, 414);
    let mut client = Client::connect(admin).unwrap();
    client.send("HEAD /ready HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert!(head.status == 200 && head.field("content-length").is_some_and(|length| length != "0"), "{head:?}");
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let (project, admin) = project("workers = 1");
    let taken = std::net::TcpListener::bind(("127.0.0.1", admin)).unwrap();
    let refused = project.run(&["up"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    for part in ["is in use by another process", "opening the admin listener", "`admin`"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    drop(taken);
}

#[test]
fn it_is_a_socket_of_the_user_alone_where_nothing_else_is_said() {
    let project = Project::new(TIERCE, APP, "app = 'app:app'\nworkers = 1");
    let mut running = project.up(&[]);
    let path = project.path().join(".tierce/admin.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
    assert!(!path.exists());
    project.write("tierce.toml", &project.config("app = 'app:app'\nworkers = 1\nadmin = 'off'"));
    let _running = project.up(&[]);
    assert!(!path.exists());
}
