//! What changes while requests come loses none of them and runs none twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use testkit::{Connections, OpenLoop, Outcomes, Progress, Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RUNS: &str = include_str!("apps/runs.py");
const RUNS_FLASK: &str = include_str!("apps/runs_flask.py");

/// Requests a second; far below what the machine can do, so that nothing but the change itself can lose one.
const RATE: u64 = 300;

/// Requests that have to end between two steps, so that each step has work before and behind it.
const BETWEEN: u64 = 100;

/// How often each id was begun.
fn runs(project: &Project) -> BTreeMap<u64, u32> {
    let mut counted = BTreeMap::new();
    for line in project.read("runs.txt").lines() {
        *counted.entry(line.split(' ').next().unwrap().parse().unwrap()).or_default() += 1;
    }
    counted
}

/// Loads it while `change` runs; each request has to be answered, and to have run once.
fn loses_nothing(
    project: &Project,
    connections: Connections,
    change: impl FnOnce(&Running<'_>, &Progress),
) -> Outcomes {
    let running = project.up(&["--access-log", "off"]);
    let outcomes = OpenLoop { port: project.port, rate: RATE, connections }.run(|progress| {
        progress.more(BETWEEN);
        change(&running, progress);
        progress.more(BETWEEN);
    });
    running.lost_none(&outcomes);
    let runs = runs(project);
    let twice: Vec<_> = runs.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "run more than once: {twice:?}");
    assert!(runs.keys().eq(outcomes.keys()), "what has run is what was sent");
    outcomes
}

fn up_to_five_and_down_to_two(project: &Project, connections: Connections) {
    loses_nothing(project, connections, |running, progress| {
        project.ok(&["scale", "web=5"]);
        assert_eq!(running.workers().len(), 10);
        progress.more(BETWEEN);
        project.ok(&["scale", "web=2"]);
        assert_eq!(running.workers().len(), 4);
        progress.more(BETWEEN);
        project.ok(&["scale", "web=1"]);
    });
}

#[test]
fn scaling_loses_nothing() {
    up_to_five_and_down_to_two(&Project::new(TIERCE, RUNS, "workers = 2"), Connections::Kept);
}

#[test]
fn scaling_with_flask_and_a_connection_for_each_request_loses_nothing() {
    up_to_five_and_down_to_two(&Project::new(TIERCE, RUNS_FLASK, "workers = 2"), Connections::OneShot);
}

#[test]
fn reload_and_restart_lose_nothing() {
    for (app, connections) in [(RUNS, Connections::OneShot), (RUNS_FLASK, Connections::Kept)] {
        let project = Project::new(TIERCE, app, "workers = 2\nnodes = 2");
        loses_nothing(&project, connections, |running, progress| {
            let before = running.workers();
            project.ok(&["reload"]);
            let reloaded = running.workers();
            assert!(before.iter().all(|pid| !reloaded.contains(pid)), "all workers are new");
            progress.more(BETWEEN);
            project.ok(&["restart"]);
            let restarted = running.workers();
            assert!(reloaded.iter().all(|pid| !restarted.contains(pid)), "all workers are new again");
            progress.more(BETWEEN);
            running.signal("HUP");
            wait_for("a reload by signal", || running.workers().iter().all(|pid| !restarted.contains(pid)));
        });
    }
}

#[test]
fn slow_requests_survive_a_reload() {
    // Each is still running when its worker is replaced.
    let project = Project::new(TIERCE, RUNS, "workers = 2\nenv = { WAIT = \"0.5\" }");
    loses_nothing(&project, Connections::Kept, |_, progress| {
        for command in ["reload", "restart", "reload"] {
            project.ok(&[command]);
            progress.more(1);
        }
    });
}

#[test]
fn a_reload_takes_new_code_and_new_configuration() {
    let project = Project::new(TIERCE, RUNS, "workers = 1");
    let running = project.up(&[]);
    project.write("app.py", &RUNS.replace("200 OK", "202 Accepted"));
    project.write("tierce.toml", &project.config("workers = 3\nexpose = true"));
    project.ok(&["reload"]);
    assert_eq!(running.workers().len(), 3);
    assert_eq!(running.ps()["items"][0]["generation"], 2);
    let response = running.client().get("/").unwrap();
    assert_eq!((response.status, response.field("x-served-by").is_some()), (202, true));
}

/// A reload with `text` in `file` is refused in these words and changes nothing; the next one, with what was there, succeeds.
fn a_refused_reload(file: &str, text: &str, parts: &[&str]) {
    let project = Project::new(TIERCE, RUNS, "workers = 1\napp = 'app:app'");
    loses_nothing(&project, Connections::Kept, |running, progress| {
        let before = running.workers();
        let good = project.read(file);
        project.write(file, text);
        let refused = project.run(&["reload"]);
        assert_eq!(refused.code, 78, "{}", refused.err);
        for part in parts.iter().chain(&["nothing was changed"]) {
            assert!(refused.err.contains(part), "{part}: {}", refused.err);
        }
        assert_eq!(running.workers(), before);
        progress.more(BETWEEN);
        project.write(file, &good);
        project.ok(&["reload"]);
        assert_ne!(running.workers(), before, "a later one is not held up by it");
    });
}

#[test]
fn a_restart_that_ends_halfway_says_what_was_restarted() {
    let app = format!(
        "import os\nif os.environ['HOSTNAME'] == 'web.2' and os.path.exists('bad'):\n    raise ValueError\n{RUNS}"
    );
    let project = Project::new(TIERCE, &app, "workers = 1\nnodes = 3\napp = 'app:app'");
    let running = project.up(&[]);
    project.write("bad", "");
    let restarted = project.run(&["restart"]);
    assert_eq!(restarted.code, 78, "{}", restarted.err);
    assert!(restarted.err.contains("web.1 had been restarted before"), "{}", restarted.err);
    let generations: Vec<_> =
        running.ps()["items"].as_array().unwrap().iter().map(|node| node["generation"].clone()).collect();
    assert_eq!(generations, [2, 1, 1]);
    project.write("app.py", "raise ValueError\n");
    let restarted = project.run(&["restart"]);
    assert_eq!((restarted.code, restarted.err.contains("nothing was changed")), (78, true), "{}", restarted.err);
}

#[test]
fn a_reload_that_cannot_be_imported_changes_nothing() {
    a_refused_reload("app.py", "import nothing_of_this_name\n", &["cannot import app:app", "nothing_of_this_name"]);
}

#[test]
fn a_reload_with_a_wrong_configuration_changes_nothing() {
    a_refused_reload("tierce.toml", "worker = 3\n", &["unknown key `worker`"]);
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
