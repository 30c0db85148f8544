//! Workers whose number adapts: `workers = "auto"` and bounds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread::scope,
};

use testkit::{Connections, OpenLoop, Project, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/staff.py");

fn project(keys: &str) -> Project {
    Project::new(TIERCE, APP, keys)
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

/// What `ps -v` says of the number of workers.
fn staff(project: &Project) -> serde_json::Value {
    let ps = project.ok(&["-v", "ps", "--format", "json"]).out;
    let ps: serde_json::Value = serde_json::from_str(&ps).unwrap();
    ps["apps"][0]["reasons"]["staff"].clone()
}

/// Asks for `path` again and again, by so many clients, while `meanwhile` runs.
fn ask_while(running: &Running<'_>, clients: usize, path: &str, meanwhile: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let stopped = std::panic::AssertUnwindSafe(meanwhile);
    scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    assert_eq!(running.client().get(path).unwrap().status, 200);
                }
            });
        }
        // The clients end also when it panics: the scope waits for them.
        let ended = std::panic::catch_unwind(stopped);
        stop.store(true, SeqCst);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn handlers_that_compute_get_workers_while_cores_are_free() {
    let project = project("workers = 'auto'");
    let running = up(&project);
    assert_eq!(running.workers().len(), 1, "it begins with the least");
    ask_while(&running, 8, "/compute", || {
        // On a machine whose cores are busy with something else all the time, that has to be the reason.
        wait_for("workers, or the reason why there are not more", || {
            2 <= running.workers().len()
                || staff(&project)["reason"].as_str().is_some_and(|reason| reason.contains("all cores are busy"))
        });
    });
    let staff = staff(&project);
    if 2 <= staff["workers"].as_u64().unwrap() {
        assert!(staff["last"]["reason"].as_str().unwrap().starts_with("requests "), "{staff}");
        assert!(running.err().contains("workers from now on: requests "), "{}", running.err());
        assert!(project.ok(&["-v", "ps"]).out.contains(" instead of 1: requests "));
    }
    assert!(!project.ok(&["ps"]).out.contains("in each node"), "only where it is asked for");
}

#[test]
fn workers_come_when_threads_are_few_and_leave_when_they_are_idle_and_nothing_is_lost() {
    let project = project("workers = '1..3'\nthreads = 4\nlimits.idle = '3s'");
    let running = up(&project);
    ask_while(&running, 24, "/run/before", || {
        wait_for("as many workers as are allowed", || running.workers().iter().filter(|pid| 0 < **pid).count() == 3);
        wait_for("the reason why there are not more", || {
            staff(&project)["reason"] == "requests wait, but `workers` allows no more"
        });
        // What a new generation begins with is what the one before has found to be needed.
        project.ok(&["reload"]);
        assert_eq!(running.workers().len(), 3);
    });
    // One for each worker, so that whoever leaves has something to finish.
    let mut long = [(); 3].map(|()| running.client());
    long.iter_mut().for_each(|client| client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n").unwrap());
    wait_for("one that leaves while it has a request", || {
        let workers = running.ps()["items"][0]["workers"].clone();
        workers.as_array().unwrap().iter().any(|worker| worker["state"] == "draining" && worker["in_flight"] == 1)
    });
    project.write("go", "");
    assert!(long.iter_mut().all(|client| client.response().unwrap().status == 200));
    let log = project.ok(&["logs"]).out;
    for wanted in ["web.1 has 2 workers from now on: requests have waited ", "web.1 has 3 workers from now on: "] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
    let load = OpenLoop { port: project.port, rate: 6, connections: Connections::OneShot };
    let outcomes = load.run(|_| wait_for("two to leave", || running.workers().len() == 1));
    assert!(outcomes.values().all(|outcome| outcome.status() == Some(200)), "{outcomes:?}");
    let runs = project.read("runs.txt");
    for id in outcomes.keys() {
        assert_eq!(runs.lines().filter(|line| *line == format!("/run/{id}")).count(), 1, "{id} ran once");
    }
    assert!(running.err().contains("web.1 has 1 worker from now on: fewer have been enough for "), "{}", running.err());
    assert!(!running.err().contains("a new one is started"), "one that leaves is no crash: {}", running.err());
}

#[test]
fn a_worker_that_is_killed_does_not_count_as_one_that_has_left() {
    let project = project("workers = '2..4'\nlimits.idle = '1s'");
    let running = up(&project);
    let before = running.workers();
    assert_eq!(before.len(), 2);
    testkit::signal(before[0], "KILL");
    wait_for("another in its place", || {
        let workers = running.workers();
        workers.len() == 2 && !workers.contains(&before[0]) && !workers.contains(&0)
    });
    wait_for("the lower bound as the reason", || {
        staff(&project)["reason"] == "there is little to do, and `workers` allows no fewer"
    });
    // All processes of the node end and are started again, as many as there were.
    let zygote = running.ps()["items"][0]["pid"].as_u64().unwrap();
    testkit::signal(u32::try_from(zygote).unwrap(), "KILL");
    wait_for("both in a new process", || {
        let ps = running.ps();
        ps["items"][0]["state"] == "ready" && ps["items"][0]["pid"] != zygote && running.workers().len() == 2
    });
}
