//! While it ends, and when it cannot begin: whoever asks is answered, and nothing is left.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output, Stdio};

use testkit::{Project, is_alive, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");

/// Says that it has begun, and answers when it may.
const GATE: &str = r#"
import os, time

def app(environ, start_response):
    open("begun", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    start_response("200 OK", [])
    return [b"answered"]
"#;

const PLAIN: &str = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn in_flight(ps: &serde_json::Value) -> u64 {
    ps["items"].as_array().unwrap().iter().map(|node| node["in_flight"].as_u64().unwrap()).sum()
}

#[test]
fn what_ends_can_be_watched_and_waited_for() {
    let project = Project::new(TIERCE, GATE, "app = 'app:app'\nworkers = 1");
    let mut running = project.up(&[]);
    project.ok(&["scale", "web=2"]);
    let workers = running.workers();
    assert_eq!(workers.len(), 2);
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("the request to have begun", || project.path().join("begun").exists());
    running.signal("TERM");
    wait_for("the drain to begin", || running.err().contains("finishing what was accepted"));

    let ps: serde_json::Value = serde_json::from_str(&project.ok(&["ps", "--format", "json"]).out).unwrap();
    assert_eq!(in_flight(&ps), 1, "{ps}");
    for words in [&["scale", "web=3"][..], &["reload"], &["restart"]] {
        let refused = project.run(words);
        assert_eq!((refused.code, refused.err.contains("tierce is stopping")), (69, true), "{}", refused.err);
    }
    let downs: Vec<_> = (0..2).map(|_| project.command(&["down"]).stderr(Stdio::piped()).spawn().unwrap()).collect();
    // Asked after the others, and answered: so those have been heard.
    project.ok(&["ps"]);
    project.write("go", "");
    assert_eq!(client.response().unwrap().text(), "answered");
    for down in downs {
        let output = down.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    wait_for("all workers to be gone", || !workers.iter().any(|pid| is_alive(*pid)));
    assert!(!project.path().join(".tierce/state.json").exists(), "down forgets the scale, whoever began the end");
}

#[test]
fn an_upload_that_the_deadline_cuts_is_told() {
    let project = Project::new(TIERCE, PLAIN, "app = 'app:app'\nworkers = 1\nlimits = { drain = '300ms' }");
    let mut running = project.up(&[]);
    let mut client = running.client();
    // The answer to the first shows that the second has come, too.
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        .unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(1), "{}", running.err());
    assert!(running.err().contains("cut off"), "{}", running.err());
}

#[test]
fn no_time_to_finish_cuts_nothing_where_nothing_is_to_finish() {
    let project = Project::new(TIERCE, PLAIN, "app = 'app:app'\nworkers = 1\nlimits = { drain = '0s' }");
    let mut running = project.up(&[]);
    let mut idle = running.client();
    assert_eq!(idle.get("/").unwrap().status, 200);
    wait_for("its slot to be free", || in_flight(&running.ps()) == 0);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.err());
}

#[test]
fn a_socket_that_cannot_be_opened_ends_the_start() {
    let project = Project::new(TIERCE, PLAIN, "app = 'app:app'\nworkers = 1");
    // A directory cannot be removed as if it were a dead socket.
    project.write(".tierce/control.sock/something", "");
    let mut child = project.command(&["up"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the end of the start", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cannot open") && text(&output).contains("control.sock"), "{}", text(&output));
}

#[test]
fn a_project_may_lie_deep() {
    let project = Project::new(TIERCE, PLAIN, "app = 'app:app'\nworkers = 1");
    let deep = "a-directory-with-a-long-name/".repeat(6);
    project.write(&format!("{deep}app.py"), PLAIN);
    project.write(&format!("{deep}tierce.toml"), &project.read("tierce.toml"));
    let command = |words: &[&str]| {
        let mut command = Command::new(TIERCE);
        command.arg("-C").arg(project.path().join(&deep)).args(words);
        command
    };
    let mut running = project.start(command(&["up"]));
    for words in [&["ps"][..], &["scale", "web=2"], &["down"]] {
        let output = command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output));
    }
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn a_reload_that_fails_in_the_background_is_in_the_log() {
    let project = Project::new(TIERCE, PLAIN, "app = 'app:app'\nworkers = 1");
    project.ok(&["up", "-d"]);
    let pid = project.read(".tierce/lock").trim().to_owned();
    project.write("app.py", "raise ValueError('my own words')\n");
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    wait_for("the reason in the log", || {
        let log = project.ok(&["logs"]).out;
        log.contains("my own words") && log.contains("nothing was changed")
    });
    project.write("app.py", PLAIN);
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    wait_for("the result in the log", || project.ok(&["logs"]).out.contains("reloaded in"));
    project.ok(&["down"]);
}
