//! What changes while requests come loses none of them and runs none twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use testkit::{Outcome, Project, Running, run_load, signal, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RUNS: &str = include_str!("apps/runs.py");

/// Requests a second; far below what the machine can do, so that nothing but the change itself can lose one.
const RATE: u64 = 300;

/// How often each id was begun.
fn runs(project: &Project) -> BTreeMap<u64, u32> {
    let mut counted = BTreeMap::new();
    for line in project.read("runs.txt").lines() {
        *counted.entry(line.split(' ').next().unwrap().parse().unwrap()).or_default() += 1;
    }
    counted
}

fn all_answered_once(project: &Project, outcomes: &BTreeMap<u64, Outcome>) {
    let lost: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Answered { status: 200, .. })).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), outcomes.len());
    let runs = runs(project);
    let twice: Vec<_> = runs.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "run more than once: {twice:?}");
    assert_eq!(runs.len(), outcomes.len());
}

fn under_load(project: &Project, change: impl FnOnce(&Running<'_>)) -> BTreeMap<u64, Outcome> {
    let running = project.up(&["--access-log", "off"]);
    run_load(project.port, RATE, || change(&running))
}

#[test]
fn scaling_loses_nothing() {
    let project = Project::new(TIERCE, RUNS, "workers = 2");
    let outcomes = under_load(&project, |running| {
        project.ok(&["scale", "web=5"]);
        assert_eq!(running.workers().len(), 10);
        project.ok(&["scale", "web=2"]);
        assert_eq!(running.workers().len(), 4);
    });
    all_answered_once(&project, &outcomes);
}

#[test]
fn reload_and_restart_lose_nothing() {
    let project = Project::new(TIERCE, RUNS, "workers = 2\nnodes = 2");
    let outcomes = under_load(&project, |running| {
        let before = running.workers();
        project.write("app.py", &RUNS.replace("200 OK", "200 Fine"));
        project.ok(&["reload"]);
        let reloaded = running.workers();
        assert!(before.iter().all(|pid| !reloaded.contains(pid)), "all workers are new");
        project.ok(&["restart"]);
        let restarted = running.workers();
        assert!(reloaded.iter().all(|pid| !restarted.contains(pid)), "all workers are new again");
        running.signal("HUP");
        wait_for("a reload by signal", || running.workers().iter().all(|pid| !restarted.contains(pid)));
    });
    all_answered_once(&project, &outcomes);
}

#[test]
fn a_reload_that_cannot_be_imported_changes_nothing() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\napp = 'app:app'");
    let outcomes = under_load(&project, |running| {
        let before = running.workers();
        project.write("app.py", "import nothing_of_this_name\n");
        let refused = project.run(&["reload"]);
        assert_eq!(refused.code, 78, "{}", refused.err);
        for part in ["cannot import app:app", "nothing_of_this_name", "nothing was changed"] {
            assert!(refused.err.contains(part), "{part}: {}", refused.err);
        }
        assert_eq!(running.workers(), before);
    });
    all_answered_once(&project, &outcomes);
}

#[test]
fn what_a_drained_worker_has_not_started_runs_elsewhere_and_only_there() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nthreads = 1\nenv = { WAIT = \"0.5\" }");
    let running = project.up(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| running.client()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(format!("POST /run/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
    }
    wait_for("one to be run and three to wait in the worker", || {
        runs(&project).len() == 1 && running.ps()["items"][0]["in_flight"] == 4
    });
    project.ok(&["restart"]);
    for client in &mut clients {
        assert_eq!(client.response().unwrap().status, 200);
    }
    let pids: std::collections::BTreeSet<String> =
        project.read("runs.txt").lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!((runs(&project).into_values().collect::<Vec<_>>(), pids.len()), (vec![1; 4], 2));
}

#[test]
fn down_finishes_what_was_accepted() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"0.5\" }");
    let mut running = project.up(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| running.client()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(format!("POST /run/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
    }
    wait_for("the requests to have begun", || runs(&project).len() == 4);
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0));
    for client in &mut clients {
        let response = client.response().unwrap();
        assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    }
    assert!(testkit::descendants(std::process::id()).iter().all(|pid| *pid != running.pid()));
}

#[test]
fn a_deadline_that_cuts_requests_is_told() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"30\" }\nlimits = { drain = \"200ms\" }");
    let mut running = project.up(&[]);
    let mut client = running.client();
    client.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("the request to have begun", || runs(&project).len() == 1);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(1), "{}", running.err());
    assert!(running.err().contains("1 requests were not finished"), "{}", running.err());
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"30\" }");
    let mut running = project.up(&[]);
    let mut client = running.client();
    client.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("the request to have begun", || runs(&project).len() == 1);
    let workers = running.workers();
    running.signal("INT");
    wait_for("the drain to begin", || running.err().contains("Ctrl-C again"));
    running.signal("INT");
    assert_eq!(running.wait(), Some(130));
    wait_for("the workers to be gone", || workers.iter().all(|pid| !testkit::is_alive(*pid)));
}

#[test]
fn held_requests_are_served_when_there_are_nodes_again() {
    let project = Project::new(TIERCE, RUNS, "workers = 1");
    let running = project.up(&["--scale", "web=0"]);
    let mut client = running.client();
    client.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("the request to be queued", || running.ps()["apps"][0]["queued"] == 1);
    project.ok(&["scale", "web=1"]);
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn a_worker_that_is_killed_takes_only_what_it_had_begun() {
    let project = Project::new(TIERCE, RUNS, "workers = 3\nenv = { WAIT = \"0.1\" }");
    let mut killed = 0;
    let outcomes = under_load(&project, |running| {
        wait_for("some requests", || 50 < runs(&project).len());
        killed = running.workers()[1];
        signal(killed, "KILL");
        wait_for("a new worker", || {
            let workers = running.workers();
            workers.len() == 3 && !workers.contains(&killed) && !workers.contains(&0)
        });
        let so_far = runs(&project).len();
        wait_for("more requests", || so_far + 100 < runs(&project).len());
    });
    let begun_there: Vec<u64> = project
        .read("runs.txt")
        .lines()
        .filter_map(|line| line.strip_suffix(&format!(" {killed}"))?.parse().ok())
        .collect();
    let mut crashed = 0;
    for (id, outcome) in &outcomes {
        match outcome {
            Outcome::Answered { status: 200, .. } => {}
            Outcome::Answered { status: 502, body } => {
                assert!(body.contains("worker_crashed"), "{body}");
                assert!(begun_there.contains(id), "request {id} was not begun by the worker that was killed");
                crashed += 1;
            }
            other => panic!("request {id}: {other:?}"),
        }
    }
    assert!(0 < crashed, "the worker had nothing to do when it was killed");
    let runs = runs(&project);
    assert!(runs.values().all(|count| *count == 1), "a POST ran twice");
    assert_eq!(runs.len(), outcomes.len());
}

#[test]
fn nothing_outlives_a_tierce_that_is_killed() {
    let project = Project::new(TIERCE, RUNS, "workers = 2\nnodes = 2");
    let mut running = project.up(&[]);
    let below = testkit::descendants(running.pid());
    assert_eq!(below.len(), 6, "two zygotes and four workers");
    running.signal("KILL");
    running.wait();
    wait_for("all processes to be gone", || below.iter().all(|pid| !testkit::is_alive(*pid)));
    assert_eq!(project.run(&["ps"]).code, 69);
    assert!(!project.path().join(".tierce/control.sock").exists(), "the dead socket is removed");
    drop(project.up(&[]));
}
