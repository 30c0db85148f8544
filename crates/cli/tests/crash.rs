//! What is killed takes nothing with it that it had not begun, is replaced at once, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, time::Duration};

use testkit::{Connections, OpenLoop, Outcome, Outcomes, Project, Running, signal, wait_for, wait_within};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RUNS: &str = include_str!("apps/runs.py");

/// Nothing of a Tierce that was killed is there for longer.
const PROMISED: Duration = Duration::from_secs(5);

/// Which processes have begun each id.
fn begun(project: &Project) -> BTreeMap<u64, Vec<u32>> {
    let mut noted = BTreeMap::<u64, Vec<u32>>::new();
    for line in project.read("runs.txt").lines() {
        let (id, pid) = line.split_once(' ').unwrap();
        noted.entry(id.parse().unwrap()).or_default().push(pid.parse().unwrap());
    }
    noted
}

/// Loads it while `harm` kills something; returns the outcomes and the processes that were killed.
fn under_load(project: &Project, harm: impl FnOnce(&Running<'_>) -> Vec<u32>) -> (Outcomes, Vec<u32>) {
    let running = project.up(&["--access-log", "off"]);
    let mut killed = Vec::new();
    let outcomes = OpenLoop { port: project.port, rate: 200, connections: Connections::Kept }.run(|progress| {
        progress.more(50);
        killed = harm(&running);
        progress.more(100);
    });
    running.wait_until_idle();
    (outcomes, killed)
}

/// Each POST has run at most once; those that were running in a killed process end as 502, all others with 200.
fn only_what_had_begun_is_lost(project: &Project, outcomes: &Outcomes, killed: &[u32]) {
    let begun = begun(project);
    let mut crashed = 0;
    for (id, outcome) in outcomes {
        // One that was killed between taking the request and noting it is none here.
        let by = begun.get(id).map_or(&[][..], Vec::as_slice);
        assert!(by.len() <= 1, "request {id} was begun by {by:?}");
        match outcome {
            Outcome::Answered { status: 200, .. } => assert_eq!(by.len(), 1, "request {id} is answered without a run"),
            Outcome::Answered { status: 502, body } => {
                assert!(body.contains("worker_crashed"), "{body}");
                assert!(by.iter().all(|pid| killed.contains(pid)), "request {id} ran in {by:?}, killed is {killed:?}");
                crashed += 1;
            }
            other => panic!("request {id}: {other:?}"),
        }
    }
    assert!(0 < crashed, "nothing was running in what was killed");
}

fn replaced(running: &Running<'_>, killed: &[u32], count: usize) {
    wait_for("new workers", || {
        let workers = running.workers();
        workers.len() == count && workers.iter().all(|pid| *pid != 0 && !killed.contains(pid))
    });
}

#[test]
fn a_worker_that_is_killed_takes_only_what_it_had_begun() {
    let project = Project::new(TIERCE, RUNS, "workers = 3\nenv = { WAIT = \"0.1\" }");
    let (outcomes, killed) = under_load(&project, |running| {
        let killed = vec![running.workers()[1]];
        signal(killed[0], "KILL");
        replaced(running, &killed, 3);
        killed
    });
    only_what_had_begun_is_lost(&project, &outcomes, &killed);
}

#[test]
fn a_node_that_is_killed_takes_only_what_it_had_begun() {
    let project = Project::new(TIERCE, RUNS, "workers = 2\nnodes = 2\nenv = { WAIT = \"0.1\" }");
    let (outcomes, killed) = under_load(&project, |running| {
        let node = &running.ps()["items"][0];
        let pid = |of: &serde_json::Value| u32::try_from(of["pid"].as_u64().unwrap()).unwrap();
        let killed: Vec<_> = node["workers"].as_array().unwrap().iter().map(pid).collect();
        signal(pid(node), "KILL");
        replaced(running, &killed, 4);
        assert!(running.err().contains("its first process was killed by signal 9 (SIGKILL)"), "{}", running.err());
        killed
    });
    only_what_had_begun_is_lost(&project, &outcomes, &killed);
}

#[test]
fn a_get_that_a_killed_worker_had_begun_is_run_once_more() {
    let project = Project::new(TIERCE, RUNS, "workers = 2\nenv = { WAIT = \"1\" }");
    let running = project.up(&[]);
    let mut client = running.client();
    client.send("GET /run/7 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to have begun", || begun(&project).contains_key(&7));
    signal(begun(&project)[&7][0], "KILL");
    assert_eq!(client.response().unwrap().status, 200);
    let by = &begun(&project)[&7];
    assert!(by.len() == 2 && by[0] != by[1], "{by:?}");
    wait_for("both attempts to be counted", || running.ps()["items"][0]["requests"] == 2);
}

#[test]
fn a_get_whose_workers_are_killed_again_and_again_ends() {
    let app = "import os\nfrom runs import note\n\ndef app(environ, start_response):\n    note('1 %d' % os.getpid())\n    \
               os.kill(os.getpid(), 9)\n";
    let project = Project::new(TIERCE, app, "workers = 2\napp = 'app:app'");
    project.write("runs.py", RUNS);
    let running = project.up(&[]);
    let response = running.client().get("/").unwrap();
    assert_eq!(response.status, 502);
    assert!(response.text().contains("worker_crashed"), "{}", response.text());
    assert_eq!(begun(&project)[&1].len(), 2, "once, and once more");
}

#[test]
fn a_worker_that_cannot_be_forked_harms_no_other() {
    // The third process cannot be made, nor the two after it; and nobody tells the application how its children end.
    let app = format!(
        "import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nreal, count = os.fork, 0\n\
         def fork():\n    global count\n    count += 1\n    if 3 <= count <= 5:\n        \
         raise BlockingIOError(11, 'no process to spare')\n    return real()\nos.fork = fork\n{RUNS}"
    );
    let project = Project::new(TIERCE, &app, "workers = 2\nenv = { WAIT = \"1\" }");
    let running = project.up(&[]);
    let mut client = running.client();
    client.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    wait_for("it to have begun", || begun(&project).contains_key(&1));
    let (busy, zygote) = (begun(&project)[&1][0], running.ps()["items"][0]["pid"].clone());
    let idle = running.workers().into_iter().find(|pid| *pid != busy).unwrap();
    signal(idle, "KILL");
    assert_eq!(client.response().unwrap().status, 200);
    replaced(&running, &[idle], 2);
    assert_eq!(running.ps()["items"][0]["pid"], zygote);
    for said in ["was killed by signal 9 (SIGKILL)", "a worker could not be forked: [Errno 11] no process to spare"] {
        assert!(running.err().contains(said), "{said}: {}", running.err());
    }
}

#[test]
fn nothing_outlives_a_tierce_that_is_killed() {
    // With a request in each state: being run, waiting, and a connection without any.
    let project = Project::new(TIERCE, RUNS, "workers = 2\nnodes = 2\nthreads = 1\nenv = { WAIT = \"30\" }");
    let mut running = project.up(&[]);
    let below = testkit::descendants(running.pid());
    assert_eq!(below.len(), 6, "two zygotes and four workers");
    assert!(below.iter().all(|pid| project.processes().contains(pid)), "the search for what is left finds them");
    let mut clients: Vec<_> = (0..6).map(|_| running.client()).collect();
    for (id, client) in clients[..5].iter_mut().enumerate() {
        client.send(format!("POST /run/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
    }
    wait_for("four requests to run", || begun(&project).len() == 4);
    running.signal("KILL");
    running.wait();
    wait_within(PROMISED, "all processes to be gone", || project.processes().is_empty());
    for client in &mut clients {
        assert!(client.rest().map_or(true, |rest| rest.is_empty()), "nobody is answered by a dead Tierce");
    }
    assert!(project.path().join(".tierce/control.sock").exists(), "a kill leaves the socket");
    assert_eq!(project.run(&["ps"]).code, 69);
    assert!(!project.path().join(".tierce/control.sock").exists(), "the dead socket is removed");
    assert_eq!(project.run(&["down"]).code, 0);
    drop(project.up(&[]));
}
