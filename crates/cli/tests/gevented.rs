//! An application that gevent has patched runs as it does with a server of gevent's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, thread::scope};

use testkit::{Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/gevented.py");

fn project(keys: &str) -> Project {
    Project::new(TIERCE, APP, keys)
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

fn notes(project: &Project, start: &str) -> usize {
    project.read("notes.txt").lines().filter(|line| line.starts_with(start)).count()
}

fn get(running: &Running<'_>, path: &str) -> String {
    let response = running.client().get(path).unwrap();
    assert_eq!(response.status, 200, "{path}: {}{}", response.text(), running.out());
    response.text()
}

/// GETs at the same time; `#` in the path is a number of each.
fn at_once(running: &Running<'_>, count: usize, path: &str) -> Vec<String> {
    scope(|scope| {
        let path = |number: usize| path.replace('#', &number.to_string());
        let asked: Vec<_> = (0..count).map(|number| scope.spawn(move || get(running, &path(number)))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

#[test]
fn what_waits_lets_others_run() {
    let project = project("workers = 1");
    let mut running = up(&project);
    assert!(at_once(&running, 64, "/meet?64").iter().all(|answer| answer == "met"), "all of them at the same time");
    project.ok(&["reload"]);
    assert!(at_once(&running, 40, "/locked?#").iter().all(|answer| answer == "locked"), "one after the other");
    for (number, answer) in at_once(&running, 20, "/own?#").iter().enumerate() {
        assert_eq!(*answer, format!("{number} {number}"), "what is kept for each is its own");
    }
    assert!(at_once(&running, 4, "/spawned").iter().all(|answer| answer == "[0, 1, 2, 3, 4, None]"));
    assert!(at_once(&running, 10, "/fetch").iter().all(|answer| answer == "x x"), "it asks itself");
    assert!(at_once(&running, 4, "/subprocess").iter().all(|answer| answer == "said\n"));
    assert_eq!(at_once(&running, 3, "/leave?#"), ["left", "left", "left"]);
    assert_eq!([get(&running, "/left"), get(&running, "/open")], ["[]", "opened"]);
    wait_for("what handlers have left running", || get(&running, "/left") == "['0', '1', '2']");
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    assert!(!running.out().contains("Traceback"), "{}", running.out());
}

#[test]
fn bodies_that_come_and_go_slowly_keep_nobody() {
    let project = project("workers = 1");
    let running = up(&project);
    let mut slow = running.client();
    slow.send("GET /blocks HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    let mut late = running.client();
    late.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nbegun").unwrap();
    wait_for("it to read", || notes(&project, "reading") == 1);
    for _ in 0..20 {
        get(&running, "/");
    }
    late.send(vec![b'x'; 199_995]).unwrap();
    assert_eq!(late.response().unwrap().text(), "200000");
    let mut length = 0;
    while let Some(chunk) = Some(slow.chunk().unwrap()).filter(|chunk| !chunk.is_empty()) {
        length += chunk.len();
    }
    assert_eq!(length, 64 << 16);
    // One that is never read to its end.
    let mut gone = running.client();
    gone.send("GET /blocks HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(gone.head().unwrap().status, 200);
    drop(gone);
    running.wait_until_idle();
}

#[test]
fn time_that_is_up_interrupts_one_greenlet() {
    let project = project("workers = 1\nlimits = { time = '300ms' }");
    let running = up(&project);
    let before = running.workers();
    assert_eq!(running.client().get("/for-ever").unwrap().status, 504);
    wait_for("the exception", || notes(&project, "interrupted RequestTimeout") == 1);
    for wanted in ["GET /for-ever (request ", "in wait_for_ever"] {
        wait_for(wanted, || running.out().contains(wanted));
    }
    running.wait_until_idle();
    assert_eq!(running.workers(), before, "the worker stays");
    assert!(at_once(&running, 10, "/own?y").iter().all(|answer| answer == "y y"), "and nobody else is hurt");
    // What never waits cannot be interrupted: the worker goes, after another one is ready.
    let mut computes = running.client();
    computes.send("POST /compute HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("it to compute", || notes(&project, "computing") == 1);
    let mut behind = running.client();
    behind.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(computes.response().unwrap().status, 504);
    for wanted in ["a handler has let no other run for a second", "in compute_for_ever"] {
        wait_for(wanted, || running.out().contains(wanted));
    }
    let behind = behind.response().unwrap();
    assert_eq!(behind.status, 200, "what it has not started is started by another: {}", behind.text());
    assert_ne!(behind.text(), before[0].to_string());
}

#[test]
fn threads_bound_the_greenlets() {
    let project = project("workers = 1\nthreads = 1");
    let running = up(&project);
    // Each would meet itself only.
    assert_eq!(get(&running, "/meet?1"), "met");
    let mut first = running.client();
    first.send("GET /for-ever HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to run", || notes(&project, "waiting") == 1);
    let mut second = running.client();
    second.send("GET /for-ever HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("the other to be queued", || {
        running.ps()["apps"][0]["queued"] == 1 || running.ps()["items"][0]["in_flight"] == 2
    });
    // Whatever might start it has had its turn when this many beats have passed.
    let beats = notes(&project, "beat");
    wait_for("time to pass", || beats + 10 < notes(&project, "beat"));
    assert_eq!(notes(&project, "waiting"), 1, "one at a time");
}

#[test]
fn what_was_started_on_import_goes_on_in_each_worker_and_nowhere_else() {
    let project = project("workers = 2");
    let running = up(&project);
    let beating = || -> BTreeSet<u32> {
        let noted = project.read("notes.txt");
        noted.lines().filter_map(|line| line.strip_prefix("beat ")?.parse().ok()).collect()
    };
    let workers = running.workers();
    wait_for("both", || workers.iter().all(|pid| beating().contains(pid)));
    testkit::signal(workers[0], "KILL");
    wait_for("another worker", || {
        let now = running.workers();
        !now.contains(&workers[0]) && !now.contains(&0) && now.iter().all(|pid| beating().contains(pid))
    });
    let all: BTreeSet<u32> = workers.into_iter().chain(running.workers()).collect();
    assert_eq!(beating(), all);
}

#[test]
fn a_worker_whose_loop_has_run_is_not_forked_and_goes_on() {
    let project = project("workers = 1");
    let running = up(&project);
    get(&running, "/spawned");
    let refused = project.run(&["refork"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("gevent's loop has run in it"), "{}", refused.err);
    get(&running, "/spawned");
}
