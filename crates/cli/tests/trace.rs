//! What tells a request's story across programs: `traceparent`, `Server-Timing`, the access log.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, Response, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = r#"
import json, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.05)
    told = {name: environ.get("HTTP_" + name) for name in ("TRACEPARENT", "TRACESTATE")}
    start_response("200 OK", [("Server-Timing", "db;dur=1")] if environ["PATH_INFO"] == "/db" else [])
    return [json.dumps(told).encode()]
"#;
const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn project(keys: &str) -> Project {
    Project::new(TIERCE, APP, &format!("app = 'app:app'\nworkers = 1\n{keys}"))
}

fn send(running: &Running<'_>, path: &str, fields: &str) -> Response {
    let mut client = running.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap();
    client.response().unwrap()
}

fn told(response: &Response) -> (Option<String>, Option<String>) {
    let told: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let text = |name: &str| told[name].as_str().map(ToOwned::to_owned);
    (text("TRACEPARENT"), text("TRACESTATE"))
}

/// The line of this request in the log.
fn line(running: &Running<'_>, response: &Response) -> serde_json::Value {
    let id = response.field("x-request-id").unwrap().to_owned();
    let find = || running.out().lines().find(|line| line.contains(&id)).map(ToOwned::to_owned);
    wait_for("its line in the log", || find().is_some());
    serde_json::from_str(&find().unwrap()).unwrap()
}

#[test]
fn a_trace_goes_on_or_begins_here() {
    let project = project("");
    let running = project.up(&["--access-log", "json"]);
    let given = send(&running, "/", &format!("TraceParent: {GIVEN}\r\nTraceState: a=1\r\ntracestate: b=2\r\n"));
    assert_eq!(told(&given), (Some(GIVEN.to_owned()), Some("a=1,b=2".to_owned())));
    assert_eq!(line(&running, &given)["trace_id"], GIVEN[3..35]);
    let twice = format!("traceparent: {GIVEN}\r\n").repeat(2);
    let upper = format!("traceparent: {}\r\n", GIVEN.to_uppercase());
    let mut made = Vec::new();
    for fields in ["", "traceparent: nonsense\r\n", "tracestate: a=1\r\n", &twice, &upper] {
        let response =
            send(&running, "/", &format!("{fields}{}", if fields.is_empty() { "" } else { "tracestate: a=1\r\n" }));
        let (Some(parent), None) = told(&response) else { panic!("{fields}: {}", response.text()) };
        let parts: Vec<_> = parent.split('-').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "01"), "{parent}");
        assert!(parent.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(line(&running, &response)["trace_id"], parts[1], "{fields}");
        made.push(parent);
    }
    made.push(GIVEN.to_owned());
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 6, "each is another: {made:?}");
}

#[test]
fn with_pass_no_trace_begins_here() {
    let project = project("traceparent = 'pass'");
    let running = project.up(&["--access-log", "json"]);
    let given = send(&running, "/", &format!("traceparent: {GIVEN}\r\n"));
    assert_eq!(told(&given), (Some(GIVEN.to_owned()), None));
    let none = send(&running, "/", "traceparent: nonsense\r\ntracestate: a=1\r\n");
    assert_eq!(told(&none), (None, None));
    assert!(line(&running, &none).get("trace_id").is_none());
}

#[test]
fn server_timing_is_told_where_it_is_wanted() {
    let project = project("server_timing = true");
    let running = project.up(&[]);
    let timing = |response: &Response| {
        let fields = response.fields.iter().filter(|(name, _)| name == "server-timing");
        fields.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let slow = timing(&send(&running, "/slow", ""));
    let [slow] = &slow[..] else { panic!("{slow:?}") };
    let (queue, app) = slow.strip_prefix("queue;dur=").and_then(|rest| rest.split_once(", app;dur=")).unwrap();
    assert!(queue.parse::<f64>().is_ok_and(|ms| 0.0 <= ms) && app.parse::<f64>().is_ok_and(|ms| 50.0 <= ms), "{slow}");
    let both = timing(&send(&running, "/db", ""));
    assert_eq!((both.len(), both[0].as_str()), (2, "db;dur=1"));
    drop(running);
    project.write("tierce.toml", &project.config("app = 'app:app'\nworkers = 1"));
    assert_eq!(timing(&send(&project.up(&[]), "/", "")), Vec::<String>::new());
}

#[test]
fn the_access_log_can_be_that_of_apache_and_nginx() {
    // Of two threads, either may be the first to write.
    let project = project("cores = 1");
    let running = project.up(&["--access-log", "combined"]);
    send(&running, "/a?b=c", "Referer: http://example.org/\"\\x\r\nUser-Agent: caf\u{e9}\r\n");
    let mut client = running.client();
    client.send("nonsense\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().status, 400);
    let lines =
        || running.out().lines().filter(|line| line.starts_with("127.0.0.1 - - [")).map(str::to_owned).collect();
    wait_for("both lines", || {
        let lines: Vec<String> = lines();
        lines.len() == 2
    });
    let lines: Vec<String> = lines();
    let rest: Vec<_> = lines.iter().map(|line| line.split_once("] ").unwrap().1).collect();
    let served = r#""GET /a?b=c HTTP/1.1" 200 "#;
    assert!(rest[0].starts_with(served), "{}", rest[0]);
    assert!(rest[0].ends_with(r#" "http://example.org/\x22\x5Cx" "caf\xC3\xA9""#), "{}", rest[0]);
    assert!(rest[1].starts_with(r#""-" 400 "#) && rest[1].ends_with(r#" "-" "-""#), "{}", rest[1]);
}
