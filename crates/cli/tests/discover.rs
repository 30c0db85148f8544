//! `tierce edge --discover docker` in front of an engine that tells what a test says, and of servers where it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::json;
use testkit::{Project, Running, ScriptedEngine, Upstream, descendants, signal, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn project() -> Project {
    Project::new(TIERCE, "", "docker.socket = \"d.sock\"\ndocker.project = \"p\"\nhealth.rise = 1\n")
}

fn engine(project: &Project) -> ScriptedEngine {
    ScriptedEngine::at(&project.path().join("d.sock"))
}

fn edge(project: &Project) -> Running<'_> {
    project.start(project.command(&["edge", "--discover", "docker"]))
}

/// The names and states of what is known.
fn nodes(running: &Running<'_>) -> String {
    let ps = running.ps();
    let nodes = ps["items"].as_array().cloned().unwrap_or_default();
    nodes.iter().map(|node| format!("{} {};", node["node"], node["state"])).collect::<String>().replace('"', "")
}

fn local(upstream: &Upstream) -> (&'static str, u16) {
    ("127.0.0.1", upstream.port)
}

#[test]
fn containers_come_and_are_drained_before_they_go() {
    let (project, first, second) = (project(), Upstream::new(), Upstream::new());
    let engine = engine(&project);
    engine.has("1", "web", local(&first), "t1");
    let running = edge(&project);
    wait_for("the first", || nodes(&running) == "p_web_1 ready;");
    let mut client = running.client();
    client.send(GET).unwrap();
    let mut caller = first.accept();
    caller.head().unwrap();
    // It is told to stop while it has a request, which it finishes.
    engine.has("2", "web", local(&second), "t1");
    engine.event("2", "start", &json!({}));
    wait_for("the second", || nodes(&running).contains("p_web_2 ready;"));
    engine.event("1", "kill", &json!({ "signal": "15" }));
    wait_for("the drain", || nodes(&running) == "p_web_2 ready;");
    let mut other = running.client();
    other.send(GET).unwrap();
    let mut other_caller = second.accept();
    other_caller.head().unwrap();
    caller.send(OK).unwrap();
    other_caller.send(OK).unwrap();
    assert_eq!((client.response().unwrap().status, other.response().unwrap().status), (200, 200));
    assert!(engine.wrong().is_empty(), "{:?}", engine.wrong());
}

#[test]
fn a_request_waits_while_there_is_none() {
    let (project, upstream) = (project(), Upstream::new());
    let engine = engine(&project);
    let running = edge(&project);
    wait_for("its listening", || engine.listeners() != 0);
    let mut client = running.client();
    client.send(GET).unwrap();
    engine.has("1", "web", local(&upstream), "t1");
    engine.event("1", "start", &json!({}));
    let mut caller = upstream.accept();
    caller.head().unwrap();
    caller.send(OK).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn an_unhealthy_one_rests_and_says_why() {
    let (project, upstream) = (project(), Upstream::new());
    let engine = engine(&project);
    engine.has("1", "web", local(&upstream), "t1");
    let running = edge(&project);
    wait_for("it", || nodes(&running) == "p_web_1 ready;");
    engine.health("1", "unhealthy");
    wait_for("its rest", || nodes(&running).is_empty());
    assert!(running.err().contains("p_web_1 gets no requests: its HEALTHCHECK says unhealthy"), "{}", running.err());
    engine.health("1", "healthy");
    wait_for("it again", || nodes(&running) == "p_web_1 ready;");
}

#[test]
fn what_is_known_outlives_the_engine_its_follower_and_a_reload() {
    let (project, upstream, later) = (project(), Upstream::new(), Upstream::new());
    let engine_before = engine(&project);
    engine_before.has("1", "web", local(&upstream), "t1");
    let running = edge(&project);
    wait_for("it", || nodes(&running) == "p_web_1 ready;");
    drop(engine_before);
    wait_for("its word", || running.err().contains("what is known of containers stays as it is"));
    project.ok(&["reload"]);
    assert_eq!(nodes(&running), "p_web_1 ready;");
    let followers = descendants(running.pid());
    assert_eq!(followers.len(), 1, "the process that follows containers");
    signal(followers[0], "KILL");
    wait_for("another", || descendants(running.pid()).iter().any(|pid| *pid != followers[0]));
    assert_eq!(nodes(&running), "p_web_1 ready;");
    // Another engine at the same path, in which another container has been started meanwhile.
    let after = engine(&project);
    after.has("2", "web", local(&later), "t2");
    wait_for("the other", || nodes(&running) == "p_web_2 ready;");
}
