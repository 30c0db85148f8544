//! `threads = 1` is exact: an application that is not safe for threads never meets itself in one process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::thread::scope;

use testkit::{Client, Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/one.py");

fn project(keys: &str) -> Project {
    Project::new(TIERCE, APP, &format!("workers = 1\nthreads = 1\n{keys}"))
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

fn notes(project: &Project, start: &str) -> usize {
    project.read("notes.txt").lines().filter(|line| line.starts_with(start)).count()
}

fn begun(running: &Running<'_>, path: &str) -> Client {
    let mut client = running.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    client
}

/// Others are asked for, and have not begun however often the worker and the edge have looked at them.
fn nobody_begins_beside(project: &Project, running: &Running<'_>, path: &str) -> Vec<Client> {
    let before = notes(project, "begins");
    let others: Vec<_> = (0..3).map(|_| begun(running, "/")).collect();
    wait_for("them to wait", || {
        let ps = running.ps();
        ps["apps"][0]["queued"].as_u64().unwrap() + ps["items"][0]["in_flight"].as_u64().unwrap() == 4
    });
    for _ in 0..5 {
        running.ps();
    }
    assert_eq!(notes(project, "begins"), before, "beside {path}");
    others
}

fn all_come_to_their_end(project: &Project, running: &Running<'_>, others: Vec<Client>) {
    for mut other in others {
        assert_eq!(other.response().unwrap().status, 200);
    }
    running.wait_until_idle();
    assert_eq!(notes(project, "beside"), 0, "{}", project.read("notes.txt"));
}

#[test]
fn many_at_a_time_run_one_after_the_other() {
    let project = project("");
    let running = up(&project);
    scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = running.client();
                for path in ["/", "/long", "/", "/long"] {
                    assert_eq!(client.get(path).unwrap().status, 200);
                }
            });
        }
    });
    running.wait_until_idle();
    assert_eq!((notes(&project, "begins"), notes(&project, "beside")), (32, 0));
}

#[test]
fn a_response_that_nobody_reads_and_one_that_is_closed_late_are_not_over() {
    let project = project("");
    let running = up(&project);
    // More than fits into what the kernel and the edge hold for a client.
    let mut large = begun(&running, "/large");
    assert_eq!(large.head().unwrap().status, 200);
    let others = nobody_begins_beside(&project, &running, "/large");
    assert_eq!(large.take(32 << 20).unwrap().len(), 32 << 20);
    all_come_to_their_end(&project, &running, others);
    let mut late = begun(&running, "/late-close");
    assert_eq!(late.response().unwrap().status, 200, "the answer waits for nobody");
    let others = nobody_begins_beside(&project, &running, "/late-close");
    project.write("closed", "");
    all_come_to_their_end(&project, &running, others);
}

#[test]
fn a_request_whose_time_is_up_is_not_over_until_it_has_ended() {
    let project = project("limits = { time = '300ms' }");
    let running = up(&project);
    let before = running.workers();
    assert_eq!(begun(&running, "/unlucky").response().unwrap().status, 504);
    wait_for("the exception", || notes(&project, "interrupted") == 1);
    let others = nobody_begins_beside(&project, &running, "/unlucky");
    project.write("in-order", "");
    all_come_to_their_end(&project, &running, others);
    assert_eq!(running.workers(), before);
}

#[test]
fn a_thread_that_is_written_off_is_not_followed_in_its_worker() {
    let project = project("limits = { time = '300ms' }");
    let running = up(&project);
    let before = running.workers();
    assert_eq!(begun(&running, "/stuck").response().unwrap().status, 504);
    let others = nobody_begins_beside(&project, &running, "/stuck");
    for mut other in others {
        let answer = other.response().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_ne!(answer.text(), before[0].to_string(), "another worker has taken its place");
    }
    assert_eq!(notes(&project, "beside"), 0);
}
