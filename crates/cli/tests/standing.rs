//! `tierce drain`, `ready`, `weight`: one node, at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use testkit::{Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = r#"
import os, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        while not os.path.exists("go"):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

fn project() -> Project {
    Project::new(TIERCE, APP, "app = 'app:app'\nworkers = 1\nnodes = 2\nexpose = true")
}

/// How many of so many requests each node has served.
fn served(running: &Running<'_>, count: u32) -> BTreeMap<String, u32> {
    let mut served = BTreeMap::new();
    let mut client = running.client();
    for _ in 0..count {
        let response = client.get("/").unwrap();
        let by = response.field("x-served-by").unwrap().split('/').next().unwrap().to_owned();
        *served.entry(by).or_default() += 1;
    }
    served
}

fn node(running: &Running<'_>, index: usize) -> serde_json::Value {
    running.ps()["items"][index].clone()
}

#[test]
fn a_drained_node_finishes_what_it_has_and_stays_out_until_it_is_ready() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut clients = [running.client(), running.client()];
    for client in &mut clients {
        client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    let busy = || running.ps()["items"].as_array().unwrap().iter().all(|node| node["in_flight"] == 1);
    wait_for("one in each node", busy);
    project.ok(&["drain", "web.1"]);
    let (first, second) = (node(&running, 0), node(&running, 1));
    assert_eq!((&first["state"], &first["drained"], &first["slots"]), (&"draining".into(), &true.into(), &0.into()));
    assert_eq!((&second["state"], second.get("drained")), (&"ready".into(), None));
    assert!(project.ok(&["ps"]).out.contains("web.1 gets no requests until"));
    project.write("go", "");
    for client in &mut clients {
        assert_eq!(client.response().unwrap().status, 200);
    }
    assert_eq!(served(&running, 20), BTreeMap::from([("web.2".to_owned(), 20)]));
    // Also the one that takes its place.
    project.ok(&["reload"]);
    assert_eq!(served(&running, 20), BTreeMap::from([("web.2".to_owned(), 20)]));
    project.ok(&["ready", "web.1"]);
    // It may have one turn more, as it was behind.
    let counts = served(&running, 40);
    assert!(counts["web.1"].abs_diff(20) <= 2, "{counts:?}");
}

#[test]
fn a_node_gets_requests_by_its_weight() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    project.ok(&["weight", "web.1", "25"]);
    let counts = served(&running, 100);
    assert!(counts["web.1"].abs_diff(20) <= 2, "{counts:?}");
    assert_eq!(node(&running, 0)["weight"], 25);
    assert!(project.ok(&["ps"]).out.contains("web.1 has weight 25 instead of 100"));
    project.ok(&["weight", "web.1", "100"]);
    assert!(served(&running, 40)["web.1"].abs_diff(20) <= 3);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    for words in
        [&["drain", "web.3"][..], &["ready", "web"], &["weight", "web.1", "0"], &["weight", "web.1"], &["drain"]]
    {
        assert_eq!(project.run(words).code, 2, "{words:?}");
    }
    assert!(project.run(&["drain", "web.3"]).err.contains("web.1, web.2"));
    // Nobody serves: what comes waits.
    for node in ["web.1", "web.2"] {
        project.ok(&["drain", node]);
    }
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to wait", || running.ps()["apps"][0]["queued"] == 1);
    project.ok(&["ready", "web.2"]);
    assert_eq!(client.response().unwrap().status, 200);
}
