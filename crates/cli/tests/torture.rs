//! Workers that are hurt: the others go on, what was running is settled, and the log says what happened.
//!
//! Killing is in `crash`, time limits and the GIL are in `limits`, mistakes at the start are in `errors`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{process::Stdio, time::Duration};

use testkit::{Client, Project, Running, descendants, is_alive, signal, wait_for, wait_within};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/torture.py");

/// Nothing of a Tierce that has ended is there for longer.
const PROMISED: Duration = Duration::from_secs(5);

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

fn notes(project: &Project, start: &str) -> usize {
    project.read("notes.txt").lines().filter(|line| line.starts_with(start)).count()
}

/// Which worker answers to a GET of this path.
fn pid(client: &mut Client, path: &str) -> u32 {
    let response = client.get(path).unwrap();
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.text().parse().unwrap()
}

fn replaced(running: &Running<'_>, before: &[u32], harmed: u32) {
    wait_for("another worker", || {
        let now = running.workers();
        now.len() == before.len() && !now.contains(&harmed) && !now.contains(&0)
    });
    let kept: Vec<_> = before.iter().filter(|pid| **pid != harmed).collect();
    assert!(kept.iter().all(|pid| running.workers().contains(pid)), "only that one is replaced");
}

#[test]
fn a_worker_that_ends_in_a_handler_is_replaced_and_the_log_says_how() {
    let project = Project::new(TIERCE, APP, "workers = 2");
    let running = up(&project);
    for (path, how) in [
        ("/segv", "was killed by signal 11 (SIGSEGV); a new one is started"),
        ("/abort", "was killed by signal 6 (SIGABRT); a new one is started"),
        ("/exit", "exited with 3; a new one is started"),
    ] {
        let before = running.workers();
        let mut others: Vec<_> = (0..4).map(|_| running.client()).collect();
        for other in &mut others {
            other.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        }
        wait_for("others to run", || 4 <= notes(&project, "waiting"));
        let response = running.client().post(path, b"").unwrap();
        assert_eq!(response.status, 502, "{path}");
        assert!(response.text().contains("worker_crashed"), "{path}: {}", response.text());
        for other in &mut others {
            assert_eq!(other.response().unwrap().status, 200, "a GET runs once more if need be");
        }
        wait_for(how, || running.err().contains(how));
        let harmed = before.iter().copied().find(|pid| running.err().contains(&format!("worker {pid} "))).unwrap();
        replaced(&running, &before, harmed);
        std::fs::remove_file(project.path().join("notes.txt")).unwrap();
    }
}

#[test]
fn what_python_survives_the_worker_survives() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = up(&project);
    let before = running.workers();
    for (path, error) in
        [("/recursion", "RecursionError: "), ("/memory", "MemoryError"), ("/descriptors", "Too many open files")]
    {
        assert_eq!(running.client().get(path).unwrap().status, 500, "{path}");
        wait_for(error, || running.out().contains(error));
        assert_eq!(pid(&mut running.client(), "/"), before[0], "{path}");
        assert_eq!(running.client().post("/", &[b'x'; 100_000]).unwrap().status, 200, "{path}");
    }
}

#[test]
fn closing_the_standard_descriptors_does_no_harm() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = up(&project);
    let before = running.workers();
    assert_eq!(pid(&mut running.client(), "/close-standard"), before[0]);
    for _ in 0..10 {
        assert_eq!(pid(&mut running.client(), "/"), before[0]);
        assert_eq!(running.client().get("/recursion").unwrap().status, 500);
    }
    wait_for("the word of it", || {
        pid(&mut running.client(), "/");
        running.out().contains("the application has closed its standard input, output or error (descriptors 0 to 2)")
    });
    assert_eq!(running.client().get("/standard").unwrap().text(), before[0].to_string());
    wait_for("what is printed from now on", || running.out().contains("| printed again\n"));
    // What is put in the place of one of them stays there.
    assert_eq!(running.client().get("/redirect").unwrap().status, 200);
    for _ in 0..3 {
        running.ps();
        assert_eq!(running.client().get("/standard").unwrap().status, 200);
    }
    assert_eq!(project.read("redirected.txt").matches("printed again\n").count(), 3);
}

#[test]
fn a_worker_that_has_closed_its_links_is_replaced_and_its_requests_are_settled() {
    for (path, why) in [
        ("/close-all", "closed descriptors that are not its own"),
        ("/close-links", "is replaced: it has closed its links"),
    ] {
        let project = Project::new(TIERCE, APP, "workers = 2");
        let running = up(&project);
        let before = running.workers();
        let mut beside: Vec<_> = (0..4).map(|_| running.client()).collect();
        for client in &mut beside {
            client.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
        wait_for("others to run", || notes(&project, "waiting") == 4);
        assert_eq!(running.client().post(path, b"").unwrap().status, 502);
        let mut statuses: Vec<_> = beside.iter_mut().map(|client| client.response().unwrap().status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 502, 502], "{path}: those of the other worker come to their end");
        wait_for(why, || format!("{}{}", running.out(), running.err()).contains(why));
        let told = |pid: &u32| running.err().contains(&format!("worker {pid} "));
        wait_for("word of which", || before.iter().any(told));
        let harmed = before.iter().copied().find(told).unwrap();
        replaced(&running, &before, harmed);
        wait_within(2 * PROMISED, "its end", || !is_alive(harmed));
        for _ in 0..4 {
            assert_eq!(running.client().get("/").unwrap().status, 200);
        }
    }
}

#[test]
fn a_handler_may_fork() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = up(&project);
    let before = running.workers();
    for path in ["/subprocess", "/pool-fork", "/pool-spawn"] {
        assert_eq!(pid(&mut running.client(), path), before[0], "{path}");
    }
    // Both processes return from the handler: there is one answer, and one worker.
    let mut client = running.client();
    for (count, path) in ["/fork-returns", "/fork-exits", "/fork-returns"].into_iter().enumerate() {
        assert_eq!(pid(&mut client, path), before[0]);
        wait_for("the child", || notes(&project, "child") == count + 1);
        assert_eq!(pid(&mut client, "/"), before[0]);
    }
    let children = project.read("notes.txt");
    let children: Vec<u32> = children.lines().map(|line| line.trim_start_matches("child ").parse().unwrap()).collect();
    wait_for("the children to end", || !children.iter().any(|pid| is_alive(*pid)));
    assert_eq!(running.workers(), before);
}

#[test]
fn a_child_that_lives_on_keeps_nothing_alive() {
    for path in ["/fork-lives", "/subprocess-lives"] {
        let project = Project::new(TIERCE, APP, "workers = 1");
        let mut running = up(&project);
        let harmed = pid(&mut running.client(), path);
        wait_for("the child", || descendants(harmed).len() == 1);
        let child = descendants(harmed)[0];
        let mut client = running.client();
        client.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        wait_for("a request to run", || notes(&project, "waiting") == 1);
        signal(harmed, "KILL");
        assert_eq!(client.response().unwrap().status, 502, "{path}: the child's copies of the links do not count");
        replaced(&running, &[harmed], harmed);
        assert_ne!(pid(&mut running.client(), "/"), harmed);
        project.ok(&["down"]);
        assert_eq!(running.wait(), Some(0), "{}", running.err());
        if is_alive(child) {
            signal(child, "KILL");
        }
    }
}

#[test]
fn what_the_process_does_to_itself_does_not_free_it() {
    let project = Project::new(TIERCE, APP, "workers = 2");
    let mut running = up(&project);
    let before = running.workers();
    for path in ["/setsid", "/chdir"] {
        running.client().get(path).unwrap();
        for _ in 0..4 {
            assert!(before.contains(&pid(&mut running.client(), "/")), "{path}");
        }
    }
    running.signal("KILL");
    running.wait();
    wait_within(PROMISED, "all processes to be gone", || before.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn handlers_that_never_end_do_not_keep_it_from_going_down() {
    for path in ["/spin", "/stubborn"] {
        let project = Project::new(TIERCE, APP, "workers = 1\nlimits = { drain = '300ms' }");
        let mut running = up(&project);
        let mut client = running.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
        wait_for("it to run", || notes(&project, &path[1..5]) == 1);
        running.signal("TERM");
        assert_eq!(running.wait(), Some(1), "{path}: {}", running.err());
        assert!(running.err().contains("1 request was not finished"), "{path}: {}", running.err());
        wait_within(PROMISED, "all processes to be gone", || project.processes().is_empty());
    }
}

#[test]
fn a_flood_of_output_stops_nobody_else() {
    // Half of it is one line. All queues and files together hold less than 90 MiB, so that whatever is kept of 256 MiB
    // shows in the memory; a gibibyte would show nothing more.
    const FLOODS: usize = 4;
    let project = Project::new(TIERCE, APP, "workers = 2");
    let mut command = project.command(&["up", "--access-log", "off"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("it to be ready", || Client::connect(project.port).is_ok_and(|mut client| client.get("/").is_ok()));
    let mut floods: Vec<_> = (0..FLOODS).map(|_| Client::connect(project.port).unwrap()).collect();
    for flood in &mut floods {
        flood.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    let mut client = Client::connect(project.port).unwrap();
    for _ in 0..100 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    for flood in &mut floods {
        assert_eq!(flood.response().unwrap().status, 200);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    assert!(peak.parse::<u64>().unwrap() < 96 << 10, "{peak} KiB");
    project.ok(&["down"]);
    child.wait().unwrap();
}
