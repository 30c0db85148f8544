//! The demo as a user meets it: workers in turn, scaling, what `ps` and the logs show.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use testkit::{Project, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const HELLO: &str = include_str!("../../../examples/hello/app.py");

/// What scripts rely on; in alphabetical order, as they are kept when they are read.
const NODE_KEYS: [&str; 12] = [
    "generation",
    "hostname",
    "in_flight",
    "isolation",
    "node",
    "pid",
    "requests",
    "rss",
    "slots",
    "state",
    "uptime",
    "workers",
];
const WORKER_KEYS: [&str; 7] = ["in_flight", "pid", "requests", "rss", "slots", "state", "threads"];

fn pages(running: &testkit::Running<'_>, count: usize) -> Vec<(String, String)> {
    let mut client = running.client();
    (0..count)
        .map(|_| {
            let response = client.get("/").unwrap();
            assert_eq!(response.status, 200);
            let text = response.text();
            let (_, rest) = text.trim().split_once("This is ").unwrap();
            let (host, pid) = rest.trim_end_matches('.').split_once(", process ").unwrap();
            (host.to_owned(), pid.to_owned())
        })
        .collect()
}

/// Each has answered as often as the others, within a tenth: a request moves on when the one whose turn it is does not begin
/// it soon enough, as just after a fork.
fn evenly(answers: impl Iterator<Item = String>, parties: usize, each: usize) {
    let mut shares = BTreeMap::<String, usize>::new();
    for name in answers {
        *shares.entry(name).or_default() += 1;
    }
    let even = shares.values().all(|share| share.abs_diff(each) <= each / 10);
    assert!(shares.len() == parties && even, "{each} each are an equal share: {shares:?}");
}

#[test]
fn workers_and_nodes_answer_in_turn() {
    let quick = HELLO.replace("time.sleep(0.1)", "time.sleep(0.005)");
    assert_ne!(quick, HELLO);
    let project = Project::new(TIERCE, &quick, "workers = 5\nexpose = true");
    let running = project.up(&[]);
    evenly(pages(&running, 100).into_iter().map(|(_, pid)| pid), 5, 20);
    for nodes in [5, 2] {
        project.ok(&["scale", &format!("web={nodes}")]);
        evenly(pages(&running, 40 * nodes).into_iter().map(|(host, _)| host), nodes, 40);
    }
    let response = running.client().get("/").unwrap();
    let served_by = response.field("x-served-by").unwrap().to_owned();
    assert!(served_by.starts_with("web.") && served_by.contains('/'), "{served_by}");
    assert_eq!(response.field("x-request-id").map(str::len), Some(16));
}

#[test]
fn more_requests_than_workers_are_served_at_the_same_time() {
    // The demo waits; with one request at a time in each worker these would take turns, and none would be concurrent.
    let app = "import threading\n\nbarrier = threading.Barrier(40)\n\ndef app(environ, start_response):\n    \
               barrier.wait(60)\n    start_response('200 OK', [])\n    return [b'together']\n";
    let project = Project::new(TIERCE, app, "workers = 1");
    let running = project.up(&[]);
    let mut clients: Vec<_> = (0..40).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "together");
    }
}

#[test]
fn an_application_that_is_not_thread_safe_runs_one_request_at_a_time() {
    let app = "import threading, time\n\nlock = threading.Lock()\n\ndef app(environ, start_response):\n    \
               alone = lock.acquire(blocking=False)\n    time.sleep(0.01)\n    if alone:\n        lock.release()\n    \
               start_response('200 OK', [])\n    return [b'alone' if alone else b'crowded']\n";
    let project = Project::new(TIERCE, app, "workers = 2\nthreads = 1");
    let running = project.up(&[]);
    let mut clients: Vec<_> = (0..20).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "alone");
    }
}

#[test]
fn ps_tells_what_runs() {
    let project = Project::new(TIERCE, HELLO, "workers = 2");
    let running = project.up(&["--scale", "web=2"]);
    pages(&running, 8);
    // The last answer can be here before its slot is counted as free.
    wait_for("all requests to be counted", || {
        let ps = running.ps();
        ps["items"].as_array().unwrap().iter().map(|node| node["requests"].as_u64().unwrap()).sum::<u64>() == 8
    });
    let ps = running.ps();
    assert_eq!(
        (&ps["schema"], &ps["apps"][0]["name"], &ps["apps"][0]["queued"]),
        (&1.into(), &"web".into(), &0.into())
    );
    let nodes = ps["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for (at, node) in nodes.iter().enumerate() {
        let keys: Vec<_> = node.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, NODE_KEYS);
        assert_eq!((&node["node"], &node["state"]), (&format!("web.{}", at + 1).into(), &"ready".into()));
        assert!(["uts", "env"].contains(&node["isolation"].as_str().unwrap()));
        let workers = node["workers"].as_array().unwrap();
        assert_eq!(workers.len(), 2);
        for worker in workers {
            let keys: Vec<_> = worker.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, WORKER_KEYS);
            assert_eq!(worker["state"], "ready");
            assert!(0 < worker["rss"].as_u64().unwrap() && 0 < worker["slots"].as_u64().unwrap());
        }
    }
    let text = project.ok(&["ps"]).out;
    assert!(text.contains("web.2") && text.contains("web: 0 queued"), "{text}");
}

#[test]
fn ps_shows_nodes_that_start_and_drain() {
    let app = "import os, time\n\ndef until(file):\n    while not os.path.exists(file):\n        time.sleep(0.01)\n\n\
               if os.environ['HOSTNAME'] != 'web.1':\n    until('go')\n\n\
               def app(environ, start_response):\n    if environ['PATH_INFO'] == '/wait':\n        until('end')\n    \
               start_response('200 OK', [])\n    return [b'ok']\n";
    let project = Project::new(TIERCE, app, "app = 'app:app'\nworkers = 1");
    let mut running = project.up(&[]);
    let states = || {
        let ps = running.ps();
        let state = |item: &serde_json::Value| format!("{} {}", item["node"], item["state"]).replace('"', "");
        ps["items"].as_array().unwrap().iter().map(state).collect::<Vec<_>>()
    };
    let begin = |words: &[&str]| project.command(words).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut scaling = begin(&["scale", "web=2"]);
    wait_for("the second node to start", || states() == ["web.1 ready", "web.2 starting"]);
    project.write("go", "");
    assert!(scaling.wait().unwrap().success());
    assert_eq!(states(), ["web.1 ready", "web.2 ready"]);
    let mut clients: Vec<_> = (0..8).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    wait_for("requests in both", || {
        let ps = running.ps();
        ps["items"].as_array().unwrap().iter().all(|node| node["in_flight"] != 0)
    });
    let mut scaling = begin(&["scale", "web=1"]);
    wait_for("the second node to drain", || states() == ["web.1 ready", "web.2 draining"]);
    running.signal("TERM");
    wait_for("the first to drain too", || states() == ["web.1 draining", "web.2 draining"]);
    project.write("end", "");
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "ok");
    }
    scaling.wait().unwrap();
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn logs_hold_what_the_application_prints_and_each_request() {
    let app = format!(
        "{HELLO}\n\n@app.get('/say')\ndef say():\n    print('hello from the application')\n    return 'said'\n"
    );
    let project = Project::new(TIERCE, &app, "workers = 1");
    let running = project.up(&["--access-log", "json"]);
    running.client().get("/say?x=1").unwrap();
    let mut text = String::new();
    wait_for("the log", || {
        text = project.ok(&["logs", "-n", "50", "web.1"]).out;
        text.contains("hello from the application") && text.contains("/say")
    });
    let line = text.lines().find(|line| line.contains("url.path")).unwrap();
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    for (name, expected) in [
        ("http.request.method", serde_json::json!("GET")),
        ("url.path", "/say".into()),
        ("url.query", "x=1".into()),
        ("http.response.status_code", 200.into()),
        ("tierce.node", "web.1".into()),
        ("tierce.ending", "served".into()),
    ] {
        assert_eq!(event[name], expected, "{line}");
    }
    wait_for("the foreground to show it too", || running.out().contains("hello from the application"));
    testkit::signal(running.workers()[0], "KILL");
    wait_for("what became of its worker", || project.ok(&["logs", "web.1"]).out.contains("was killed by signal 9"));
    let nobody = project.run(&["logs", "web.9"]);
    assert_eq!((nobody.code, nobody.out.as_str()), (2, ""), "{}", nobody.err);
    assert!(nobody.err.contains("nothing of web.9"), "{}", nobody.err);
}

#[test]
fn an_edge_may_have_more_threads_than_descriptors_fit_into_a_message() {
    // Each thread has a socket and a ledger at each worker.
    let project = Project::new(TIERCE, HELLO, "workers = 1\ncores = 200");
    let running = project.up(&[]);
    for _ in 0..5 {
        assert_eq!(running.client().get("/").unwrap().status, 200);
    }
}

#[test]
fn results_are_json_where_that_is_wanted() {
    let app = format!("print('imported')\n{HELLO}");
    let project = Project::new(TIERCE, &app, "workers = 1");
    let _running = project.up(&["--access-log", "text"]);
    for words in [&["build"][..], &["check"], &["scale", "web=2"], &["reload"], &["logs", "-n", "5"], &["down"]] {
        let finished = project.ok(&[words, &["--format", "json"]].concat());
        assert!(finished.out.lines().count() == 1 || words[0] == "logs", "{words:?}: {}", finished.out);
        for line in finished.out.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(object.is_object() && (words[0] == "logs" || object["schema"] == 1), "{words:?}: {line}");
        }
    }
}

#[test]
fn an_application_is_found_without_configuration() {
    let project = Project::new(TIERCE, HELLO, "");
    std::fs::remove_file(project.path().join("tierce.toml")).unwrap();
    let mut command = project.command(&["up", "-w", "1"]);
    command.args(["-b", &format!("127.0.0.1:{}", project.port), "--python"]).arg(testkit::python());
    let running = project.start(command);
    assert!(running.err().contains("found app:app in app.py"), "{}", running.err());
    assert_eq!(pages(&running, 1).len(), 1);
}
