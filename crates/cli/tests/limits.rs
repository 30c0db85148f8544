//! Limits that concern handlers and workers: time, clients that go, requests in flight, workers that are replaced.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::thread::scope;

use testkit::{Connections, OpenLoop, Outcome, Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/limits.py");

fn project(keys: &str) -> Project {
    Project::new(TIERCE, APP, keys)
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

fn notes(project: &Project, wanted: &str) -> usize {
    project.read("notes.txt").lines().filter(|line| line.starts_with(wanted)).count()
}

#[test]
fn a_handler_whose_time_is_up_is_interrupted_alone() {
    let project = project("workers = 1\nlimits = { time = '500ms' }");
    let running = up(&project);
    let before = running.workers();
    let mut beside = running.client();
    beside.send("GET /steps?10 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let late = running.client().get("/loop?x=1").unwrap();
    assert_eq!(late.status, 504);
    assert!(late.text().contains("http_response_timeout"), "{}", late.text());
    assert_eq!(beside.response().unwrap().text(), "0123456789", "another request of the same worker goes on");
    wait_for("the exception in the handler", || notes(&project, "loop RequestTimeout") == 1);
    for wanted in ["GET /loop?x=1 (request ", "limits.time is up", "in wait_for_ever"] {
        wait_for(wanted, || running.out().contains(wanted));
    }
    running.wait_until_idle();
    assert_eq!(running.workers(), before, "the worker stays");
    // The next request of that thread knows nothing of it.
    for _ in 0..20 {
        assert_eq!(running.client().get("/").unwrap().status, 200);
    }
}

#[test]
fn a_thread_that_is_stuck_in_c_is_written_off_and_its_worker_replaced() {
    let project = project("workers = 1\nlimits = { time = '300ms' }");
    let running = up(&project);
    let before = running.workers();
    let mut beside = running.client();
    beside.send("GET /steps?60 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(beside.head().unwrap().status, 200);
    assert_eq!(running.client().get("/stuck").unwrap().status, 504);
    wait_for("the reason", || running.err().contains("a request has not ended 2s after its time was up"));
    wait_for("another worker", || running.workers() != before);
    let mut body = Vec::new();
    while let Some(chunk) = Some(beside.chunk().unwrap()).filter(|chunk| !chunk.is_empty()) {
        body.extend(chunk);
    }
    assert_eq!(body.len(), 60, "its other requests come to their end");
    wait_for("the old one to end", || running.workers().len() == 1 && !testkit::is_alive(before[0]));
    assert_eq!(running.client().get("/").unwrap().status, 200);
}

#[test]
fn a_gil_that_is_held_is_told_and_others_are_served() {
    let project = project("workers = 2\nlimits = { time = '5s' }");
    let running = up(&project);
    let mut held = running.client();
    held.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to hold the GIL", || notes(&project, "hold") == 1);
    // What is given to the worker that cannot start it is given to the other one.
    scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| running.client().get("/").unwrap().status)).collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), 200);
        }
    });
    assert_eq!(notes(&project, "held"), 0, "while it is held");
    assert_eq!(held.response().unwrap().text(), "held");
    let mut held = running.client();
    held.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to hold the GIL", || notes(&project, "hold") == 2);
    for _ in 0..8 {
        running.client().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    wait_for("the word of it", || running.out().contains("a thread has held the GIL for a second"));
}

#[test]
fn a_handler_whose_client_has_gone_can_be_interrupted() {
    for (keys, interrupted) in [("limits = { on_disconnect = 'interrupt' }", 1), ("limits = { time = '20s' }", 0)] {
        let project = project(&format!("workers = 1\n{keys}"));
        let running = up(&project);
        let mut client = running.client();
        // With an unread answer before, dropping the connection resets it: then nobody can be there to read.
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /bounded HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client.answer_arrived().unwrap();
        wait_for("it to begin", || notes(&project, "bounded begins") == 1);
        drop(client);
        wait_for("its end", || notes(&project, "bounded ends") + notes(&project, "bounded ClientDisconnected") == 1);
        assert_eq!(notes(&project, "bounded ClientDisconnected"), interrupted, "{keys}");
        running.wait_until_idle();
    }
}

#[test]
fn requests_in_flight_are_bounded_over_all_workers() {
    let project = project("workers = 2\nlimits = { in_flight = 3 }");
    let running = up(&project);
    scope(|scope| {
        let clients: Vec<_> = (0..30).map(|_| scope.spawn(|| running.client().get("/counted").unwrap())).collect();
        for client in clients {
            assert_eq!(client.join().unwrap().status, 200);
        }
    });
    let most =
        project.read("notes.txt").lines().filter_map(|line| line.strip_prefix("counted ")?.parse::<u32>().ok()).max();
    assert_eq!(most, Some(3), "three at a time, and all three are used");
}

#[test]
fn decisions_can_be_read() {
    let project = project("workers = 1\nthreads = 4");
    let running = up(&project);
    scope(|scope| {
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| running.client().get("/counted").unwrap())).collect();
        for client in clients {
            assert_eq!(client.join().unwrap().status, 200);
        }
    });
    wait_for("the reason why there are no more threads", || {
        let ps = project.ok(&["-v", "ps"]).out;
        ps.contains("as many threads as `threads` allows; window ") && ps.contains("web: 0 queued, 0 in flight")
    });
    let ps = project.ok(&["-v", "ps", "--format", "json"]).out;
    let ps: serde_json::Value = serde_json::from_str(&ps).unwrap();
    let reasons = &ps["items"][0]["workers"][0]["reasons"];
    assert!(reasons["gil_wait"].is_f64() && reasons["switch_interval"].as_f64().unwrap() <= 0.005, "{reasons}");
    assert!(!project.ok(&["ps"]).out.contains("GIL"), "only where it is asked for");
    wait_for("the same in the log", || {
        project.read(".tierce/log/tierce.log").contains("as many threads as `threads` allows (4 threads)")
    });
}

#[test]
fn workers_that_crowd_the_cores_keep_the_usual_switch_interval() {
    let app = "import sys\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
               return [str(sys.getswitchinterval()).encode()]\n";
    let cores = std::thread::available_parallelism().unwrap().get();
    for (workers, interval) in [(1, "0.001"), (2 * cores + 1, "0.005")] {
        let project = Project::new(TIERCE, app, &format!("workers = {workers}"));
        let running = up(&project);
        assert_eq!(running.client().get("/").unwrap().text(), interval, "{workers} workers");
    }
}

#[test]
fn workers_are_replaced_after_so_many_requests_and_none_is_lost() {
    let project = project("workers = 2\nlimits = { requests = 50 }");
    let running = up(&project);
    let before = running.workers();
    let outcomes =
        OpenLoop { port: project.port, rate: 200, connections: Connections::Kept }.run(|progress| progress.more(600));
    assert!(outcomes.values().all(|outcome| outcome.status() == Some(200)), "{outcomes:?}");
    let bodies: std::collections::BTreeSet<_> = outcomes
        .values()
        .filter_map(|outcome| match outcome {
            Outcome::Answered { body, .. } => Some(body.clone()),
            Outcome::Broken(_) => None,
        })
        .collect();
    assert!(4 <= bodies.len(), "answered by {} processes", bodies.len());
    wait_for("both to be others", || running.workers().iter().all(|pid| !before.contains(pid)));
    assert!(running.err().contains("(limits.requests is 50)"), "{}", running.err());
    assert!(!running.err().contains("a new one is started"), "a replacement is no crash: {}", running.err());
    let ids = project.read("runs.txt");
    assert_eq!(ids.lines().count(), outcomes.len(), "none ran twice");
}

#[test]
fn workers_are_replaced_when_they_have_grown_or_are_old() {
    let project = project("workers = 1\nlimits = { memory = '96MiB', age = '600s' }");
    let running = up(&project);
    let before = running.workers();
    assert_eq!(running.client().get("/leak").unwrap().status, 200);
    wait_for("another worker", || running.workers() != before);
    assert!(running.err().contains("of memory (limits.memory is 96MiB)"), "{}", running.err());
    project.write("tierce.toml", &project.config("workers = 1\nlimits = { age = '1s' }"));
    project.ok(&["reload"]);
    wait_for("the reason", || running.err().contains("(limits.age is 1s)"));
    assert_eq!(running.client().get("/").unwrap().status, 200);
}
