//! Coming to an end: what was accepted is finished, within the deadline and as long as nobody is in a hurry.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use testkit::{Client, Project, Running, wait_for, wait_within};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const RUNS: &str = include_str!("apps/runs.py");

/// Nothing of a Tierce that has ended is there for longer.
const PROMISED: Duration = Duration::from_secs(5);

fn begun(project: &Project) -> usize {
    project.read("runs.txt").lines().count()
}

fn post(client: &mut Client, id: usize) {
    client.send(format!("POST /run/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
}

fn in_flight(running: &Running<'_>, node: usize) -> usize {
    usize::try_from(running.ps()["items"][node]["in_flight"].as_u64().unwrap()).unwrap()
}

fn told(cut: usize) -> String {
    match cut {
        1 => "1 request was not finished after 200ms".to_owned(),
        _ => format!("{cut} requests were not finished after 200ms"),
    }
}

#[test]
fn down_finishes_what_was_accepted() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"0.5\" }");
    let mut running = project.up(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| running.client()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        post(client, id);
    }
    wait_for("the requests to have begun", || begun(&project) == 4);
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0));
    for client in &mut clients {
        let response = client.response().unwrap();
        assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    }
    assert_eq!(project.processes(), Vec::<u32>::new());
}

#[test]
fn a_deadline_that_cuts_requests_is_told() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"30\" }\nlimits = { drain = \"200ms\" }");
    let mut running = project.up(&[]);
    let mut client = running.client();
    post(&mut client, 1);
    wait_for("the request to have begun", || begun(&project) == 1);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(1), "{}", running.err());
    assert!(running.err().contains("1 request was not finished"), "{}", running.err());
}

#[test]
fn a_scale_whose_deadline_cuts_requests_says_so() {
    let keys = "workers = 1\nnodes = 2\nenv = { WAIT = \"30\" }\nlimits = { drain = \"200ms\" }";
    let project = Project::new(TIERCE, RUNS, keys);
    let running = project.up(&["--access-log", "json"]);
    let mut clients: Vec<_> = (0..4).map(|_| running.client()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        post(client, id);
    }
    wait_for("the requests to have begun", || begun(&project) == 4);
    // One that waits too long for its start is given to the other node.
    let leaving = in_flight(&running, 1);
    let scaled = project.run(&["scale", "web=1"]);
    assert_eq!((scaled.code, scaled.err.contains(&told(leaving))), (1, true), "{leaving}: {}", scaled.err);
    wait_for("their endings", || running.out().matches("\"draining\"").count() == leaving);
    assert!(!running.out().contains("worker_crashed"), "{}", running.out());
    let restarted = project.run(&["restart"]);
    assert_eq!((restarted.code, restarted.err.contains(&told(4 - leaving))), (1, true), "{}", restarted.err);
    for client in &mut clients {
        let response = client.response().unwrap();
        assert_eq!((response.status, response.text().contains("draining")), (502, true), "{}", response.text());
    }
    wait_for("the log", || {
        let log = project.read(".tierce/log/tierce.log");
        [leaving, 4 - leaving].iter().all(|count| log.contains(&told(*count)))
    });
}

#[test]
fn a_restart_that_ends_halfway_says_what_it_has_cut() {
    let app = format!(
        "import os\nif os.environ['HOSTNAME'] == 'web.2' and os.path.exists('bad'):\n    raise ValueError\n{RUNS}"
    );
    let keys = "workers = 1\nnodes = 2\nenv = { WAIT = \"30\" }\nlimits = { drain = \"200ms\" }";
    let project = Project::new(TIERCE, &app, keys);
    let running = project.up(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| running.client()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        post(client, id);
    }
    wait_for("the requests to have begun", || begun(&project) == 4);
    let leaving = in_flight(&running, 0);
    project.write("bad", "");
    let restarted = project.run(&["restart"]);
    assert_eq!(restarted.code, 78, "{}", restarted.err);
    for part in ["web.1 had been restarted before", &told(leaving)] {
        assert!(restarted.err.contains(part), "{part}: {}", restarted.err);
    }
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"30\" }");
    let mut running = project.up(&[]);
    let mut client = running.client();
    post(&mut client, 1);
    wait_for("the request to have begun", || begun(&project) == 1);
    running.signal("INT");
    wait_for("the drain to begin", || running.err().contains("Ctrl-C again"));
    running.signal("INT");
    assert_eq!(running.wait(), Some(130));
    wait_within(PROMISED, "all processes to be gone", || project.processes().is_empty());
}

#[test]
fn held_requests_are_served_when_there_are_nodes_again() {
    let project = Project::new(TIERCE, RUNS, "workers = 1");
    let running = project.up(&["--scale", "web=0"]);
    let mut client = running.client();
    post(&mut client, 1);
    wait_for("the request to be queued", || running.ps()["apps"][0]["queued"] == 1);
    project.ok(&["scale", "web=1"]);
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn connections_that_wait_for_nothing_do_not_delay_the_end() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nlimits = { drain = \"30s\" }");
    let mut running = project.up(&[]);
    let mut idle = running.client();
    assert_eq!(idle.get("/").unwrap().status, 200);
    let fresh = running.client();
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    assert!(running.err().contains("nothing was cut off"), "{}", running.err());
    assert_eq!(idle.rest().unwrap(), b"", "it is closed without a word");
    drop(fresh);
}

#[test]
fn who_comes_during_the_drain_is_refused_a_connection() {
    let project = Project::new(TIERCE, RUNS, "workers = 1\nenv = { WAIT = \"2\" }");
    let mut running = project.up(&[]);
    let mut client = running.client();
    post(&mut client, 1);
    wait_for("the request to have begun", || begun(&project) == 1);
    running.signal("TERM");
    wait_for("the listener to be closed", || Client::connect(project.port).is_err());
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(running.wait(), Some(0));
}
