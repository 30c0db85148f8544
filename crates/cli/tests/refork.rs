//! `refork`: workers that start with what another has learnt, and what stands in the way of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, process::Stdio, time::Duration};

use testkit::{
    Connections, Finished, OpenLoop, Project, Running, descendants, is_alive, signal, wait_for, wait_within,
};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const WARM: &str = include_str!("apps/warm.py");
const RUNS: &str = include_str!("apps/runs.py");

/// Nothing of a Tierce that was killed is there for longer.
const PROMISED: Duration = Duration::from_secs(5);

fn project(keys: &str) -> Project {
    let project = Project::new(TIERCE, WARM, &format!("app = 'app:app'\n{keys}"));
    project.write("runs.py", RUNS);
    project
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

fn ask(running: &Running<'_>, path: &str) -> String {
    let response = running.client().post(path, b"body").unwrap();
    assert_eq!(response.status, 200, "{path}: {}", running.err());
    response.text()
}

fn refused(project: &Project) -> Finished {
    let finished = project.run(&["refork"]);
    assert_eq!(finished.code, 1, "{}", finished.err);
    finished
}

fn zygote(running: &Running<'_>) -> u32 {
    u32::try_from(running.ps()["items"][0]["pid"].as_u64().unwrap()).unwrap()
}

/// The workers that stay, once those that leave have gone.
fn settled(running: &Running<'_>, count: usize) -> Vec<u32> {
    let mut workers = Vec::new();
    wait_for("the workers", || {
        workers = running.workers();
        workers.len() == count && !workers.contains(&0)
    });
    workers
}

#[test]
fn new_workers_are_warm_and_no_request_is_lost() {
    let project = project("workers = 3\nnodes = 2");
    let running = up(&project);
    let outcomes = OpenLoop { port: project.port, rate: 300, connections: Connections::Kept }.run(|progress| {
        progress.more(100);
        for _ in 0..3 {
            let before = running.workers();
            let below = descendants(running.pid()).len();
            project.ok(&["refork"]);
            let after = settled(&running, 6);
            assert!(before.iter().all(|pid| !after.contains(pid)), "all workers are new: {before:?} {after:?}");
            assert_eq!(descendants(running.pid()).len(), below, "nothing of those before is left");
            progress.more(100);
        }
    });
    running.lost_none(&outcomes);
    let mut runs: Vec<u64> =
        project.read("runs.txt").lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    runs.sort_unstable();
    assert!(runs.iter().eq(outcomes.keys()), "each has run once");
}

#[test]
fn what_a_worker_has_learnt_its_forks_know() {
    let project = project("workers = 2");
    let running = up(&project);
    let open = || fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
    // A thread of its own opens the log, for the first line.
    wait_for("the log", || project.path().join(".tierce/log/tierce.log").exists());
    running.accepts();
    let before = open();
    for learner in 1..=2 {
        let word = format!("/learn/{learner}");
        // Until one has served most.
        let by = ask(&running, &word);
        while running.ps()["items"][0]["workers"].as_array().unwrap().iter().all(|worker| worker["requests"] != 4) {
            ask(&running, &word);
        }
        project.ok(&["refork", "web.1"]);
        let workers = settled(&running, 2);
        assert!(!workers.contains(&by.parse().unwrap()), "{workers:?} {by}");
        for round in 0..4 {
            let known = ask(&running, "/known");
            assert!(known.split(' ').any(|known| known == learner.to_string()), "round {round}: {known}");
        }
    }
    assert!(ask(&running, "/known").starts_with("1 2"), "what was learnt before the first is known after the second");
    // Although the application has kept what holds the links.
    wait_for("what was opened for workers that have gone to be closed", || open() == before);
}

#[test]
fn forks_of_a_worker_are_as_others() {
    let project = project("workers = 2");
    let mut running = up(&project);
    ask(&running, "/learn/1");
    project.ok(&["refork"]);
    let workers = settled(&running, 2);
    // Handlers of signals, children of a handler, the switch interval, the ends of workers, exit handlers.
    for pid in &workers {
        signal(*pid, "USR1");
    }
    wait_for("both handlers", || project.read("signals.txt").lines().count() == 2);
    assert_eq!(ask(&running, "/pace"), "0.001");
    assert!(project.read("paces.txt").lines().all(|pace| pace == "0.005"), "{}", project.read("paces.txt"));
    for _ in 0..4 {
        assert_eq!(ask(&running, "/fork"), "child 0");
    }
    signal(workers[0], "KILL");
    wait_for("it to be told", || {
        running.err().contains(&format!("worker {} was killed by signal 9 (SIGKILL)", workers[0]))
    });
    wait_for("another", || settled(&running, 2) != workers);
    let workers = settled(&running, 2);
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    let exits: Vec<u32> = project.read("exits.txt").lines().map(|line| line.parse().unwrap()).collect();
    assert!(workers.iter().all(|pid| exits.iter().filter(|exit| *exit == pid).count() == 1), "{workers:?} {exits:?}");
}

#[test]
fn a_zygote_that_was_a_worker_and_is_killed_is_started_anew() {
    let project = project("workers = 2");
    let running = up(&project);
    ask(&running, "/learn/1");
    project.ok(&["refork"]);
    let (warm, workers) = (zygote(&running), settled(&running, 2));
    signal(warm, "KILL");
    wait_for("new processes", || {
        let now = running.workers();
        zygote(&running) != warm && now.len() == 2 && now.iter().all(|pid| *pid != 0 && !workers.contains(pid))
    });
    assert!(running.err().contains("its first process was killed by signal 9 (SIGKILL)"), "{}", running.err());
    assert_eq!(ask(&running, "/known"), "", "it was imported anew");
    assert!(workers.iter().all(|pid| !is_alive(*pid)));
    project.ok(&["refork"]);
}

#[test]
fn nothing_outlives_a_tierce_that_is_killed() {
    for reforks in 1..=2 {
        let project = project("workers = 2\nnodes = 2");
        let mut running = up(&project);
        for _ in 0..reforks {
            ask(&running, "/learn/1");
            project.ok(&["refork"]);
        }
        settled(&running, 4);
        // One that stands still does not see its control socket end.
        signal(zygote(&running), "STOP");
        running.signal("KILL");
        running.wait();
        wait_within(PROMISED, "all processes to be gone", || project.processes().is_empty());
    }
}

#[test]
fn an_application_with_threads_or_connections_is_refused_and_goes_on() {
    for (path, wanted) in [
        ("/thread", "has started threads, which forks would lack: poller\n"),
        ("/connect", "forks would share the connections that it has kept, to 127.0.0.1:"),
    ] {
        let project = project("workers = 2");
        let running = up(&project);
        let (first, by) = (zygote(&running), ask(&running, path).parse::<u32>().unwrap());
        let finished = refused(&project);
        assert!(finished.err.contains(&format!("worker {by} of web.1 cannot be forked")), "{}", finished.err);
        assert!(finished.err.contains(wanted), "{}", finished.err);
        assert!(!settled(&running, 2).contains(&by));
        assert_eq!(zygote(&running), first);
        ask(&running, "/learn/1");
        // The next has neither.
        project.ok(&["refork"]);
        assert!(ask(&running, "/known").starts_with('1'));
    }
}

#[test]
fn connections_that_are_closed_before_a_fork_are_in_nobodys_way() {
    let project = project("workers = 1\nenv = { CLOSES = '1' }");
    let running = up(&project);
    ask(&running, "/connect");
    project.ok(&["refork"]);
}

#[test]
fn an_application_that_cannot_be_forked_is_refused() {
    let project = project("workers = 1\nenv = { THREADS = '1' }");
    let running = up(&project);
    let before = running.workers();
    assert!(refused(&project).err.contains("starts threads when it is imported"));
    assert_eq!(running.workers(), before);
    let finished = project.run(&["refork", "web.7"]);
    assert_eq!(finished.code, 2);
    assert!(
        finished.err.contains("there is no node \"web.7\"\n  hint: those that there are: web.1"),
        "{}",
        finished.err
    );
}

#[test]
fn forks_that_do_not_come_change_nothing() {
    let project = project("workers = 2\nenv = { NO_FORK = '1' }\nlimits = { start = '3s' }");
    let running = up(&project);
    let first = zygote(&running);
    ask(&running, "/learn/1");
    let finished = refused(&project);
    assert!(finished.err.contains("a new worker was not ready after 3s"), "{}", finished.err);
    settled(&running, 2);
    assert_eq!(zygote(&running), first);
    ask(&running, "/known");
    assert_eq!(descendants(running.pid()).len(), 3);
}

#[test]
fn what_is_in_flight_is_finished_and_other_changes_wait() {
    let project = project("workers = 1");
    let mut running = up(&project);
    let before = running.workers();
    let mut client = running.client();
    client.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("it to have begun", || !project.read("begun.txt").is_empty());
    let mut refork = project.command(&["refork"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the worker to drain", || running.ps()["items"][0]["workers"][0]["state"] == "draining");
    for command in ["refork", "reload", "restart"] {
        let finished = project.run(&[command]);
        assert_eq!(finished.code, 1, "{}", finished.err);
        assert!(finished.err.contains("cause: reforking web"), "{}", finished.err);
    }
    ask(&running, "/known");
    project.write("go", "");
    assert!(client.response().unwrap().text().starts_with(&before[0].to_string()));
    assert!(refork.wait().unwrap().success());
    assert_eq!(zygote(&running), before[0]);
    project.ok(&["reload"]);
    assert_ne!(zygote(&running), before[0]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn a_stop_waits_for_no_refork() {
    let project = project("workers = 1");
    let mut running = up(&project);
    let mut client = running.client();
    client.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("it to have begun", || !project.read("begun.txt").is_empty());
    let mut refork = project.command(&["refork"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the worker to drain", || running.ps()["items"][0]["workers"][0]["state"] == "draining");
    running.signal("TERM");
    wait_for("the node to stop", || running.ps()["items"][0]["state"] == "draining");
    project.write("go", "");
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    // It may have been done in time.
    refork.wait().unwrap();
    assert_eq!(project.processes(), Vec::<u32>::new());
}
