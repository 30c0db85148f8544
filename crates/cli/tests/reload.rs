//! `up --reload`: a change of a file is served at once, and what cannot be loaded is shown in the browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Connections, OpenLoop, Project, Response, Running, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const KEYS: &str = "app = 'app:app'\nworkers = 1";

/// An application that answers `word`.
fn saying(word: &str) -> String {
    format!("def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{word}']\n")
}

/// One that cannot be imported, for a reason that a browser would take for a tag.
const BROKEN: &str = "def load():\n    raise ValueError('<script>\"no\" & never</script>')\n\nload()\n";

fn get(running: &Running<'_>) -> Response {
    running.client().get("/").unwrap()
}

fn wait_for_answer(running: &Running<'_>, text: &str) {
    wait_for(text, || get(running).text() == text);
}

fn wait_for_page(running: &Running<'_>, part: &str) -> Response {
    wait_for(part, || {
        let response = get(running);
        response.status == 500 && response.text().contains(part)
    });
    get(running)
}

/// Of the nodes that there are.
fn generations(running: &Running<'_>) -> Vec<u64> {
    let ps = running.ps();
    // Old ones may still be on their way out.
    let staying = |node: &&serde_json::Value| node["state"] != "draining";
    ps["items"].as_array().unwrap().iter().filter(staying).map(|node| node["generation"].as_u64().unwrap()).collect()
}

#[test]
fn a_change_is_served_and_no_request_fails() {
    let project = Project::new(TIERCE, &saying("one"), KEYS);
    let running = project.up(&["--reload", "--access-log", "off"]);
    let load = OpenLoop { port: project.port, rate: 50, connections: Connections::Kept };
    let outcomes = load.run(|progress| {
        progress.more(20);
        for word in ["two", "three"] {
            project.write("app.py", &saying(word));
            wait_for_answer(&running, word);
            progress.more(20);
        }
    });
    let lost: Vec<_> = outcomes.values().filter(|outcome| outcome.status() != Some(200)).collect();
    assert!(lost.is_empty(), "{lost:?}\n{}", running.err());
    assert_eq!(generations(&running), [3]);
    wait_for("two lines", || running.err().matches("↻ app.py changed: reloaded in ").count() == 2);
}

#[test]
fn what_cannot_be_imported_is_shown_until_it_can() {
    let project = Project::new(TIERCE, &saying("one"), KEYS);
    let running = project.up(&["--reload"]);
    assert_eq!(get(&running).text(), "one");
    project.write("app.py", BROKEN);
    let page = wait_for_page(&running, "ValueError");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    let html = page.text();
    assert!(html.starts_with("<!doctype html>") && !html.contains("<script"), "{html}");
    for part in [
        "<h1>ValueError: &lt;script&gt;&quot;no&quot; &amp; never&lt;/script&gt;</h1>",
        "<h2>app.py:2</h2>",
        "line 4, in &lt;module&gt;",
        "app.py changed. It is loaded again by itself",
    ] {
        assert!(html.contains(part), "{part:?} is missing in {html}");
    }
    assert!(!html.contains("http:") && !html.contains("https:"), "it needs nothing from elsewhere: {html}");

    // Whoever asks, for whatever; and who does not want HTML gets text.
    let mut client = running.client();
    assert_eq!(client.post("/any/where", b"body").unwrap().status, 500);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").unwrap();
    let response = client.response().unwrap();
    assert_eq!((response.status, response.field("content-type")), (500, Some("text/plain; charset=utf-8")));
    assert!(response.text().contains("ValueError: <script>"), "{}", response.text());

    wait_for("its line", || running.err().contains("✗ app.py changed: ValueError: <script>"));
    assert!(running.err().contains("(app.py:2); waiting for a change"), "{}", running.err());
    wait_for("the traceback in the log", || project.ok(&["logs"]).out.contains("line 4, in <module>"));
    wait_for("the ending in the log", || running.out().contains("app_not_loaded"));
    project.write("app.py", &saying("two"));
    wait_for_answer(&running, "two");
    assert_eq!(generations(&running), [2]);
}

#[test]
fn a_first_start_that_fails_waits_for_a_change() {
    let project = Project::new(TIERCE, BROKEN, &format!("{KEYS}\nnodes = 2"));
    let mut command = project.command(&["up"]);
    // As every flag, this one has a variable.
    command.env("TIERCE_RELOAD", "1");
    let running = project.start(command);
    assert!(running.err().contains("cannot import app:app"), "{}", running.err());
    assert_eq!(get(&running).status, 500);
    assert!(get(&running).text().contains("<h2>app.py:2</h2>"));
    project.write("app.py", "def app(:\n");
    wait_for_page(&running, "SyntaxError");
    project.write("app.py", &saying("one"));
    wait_for_answer(&running, "one");
    assert_eq!(generations(&running).len(), 2, "as many nodes as there were to be");
}

#[test]
fn a_first_start_that_fails_waits_in_the_background_too() {
    let project = Project::new(TIERCE, BROKEN, KEYS);
    let started = project.ok(&["up", "-d", "--reload"]);
    assert!(started.err.contains("ValueError") && started.err.contains("waiting for a change"), "{}", started.err);
    project.write("app.py", &saying("one"));
    wait_for("the answer", || Client::connect(project.port).unwrap().get("/").unwrap().text() == "one");
    project.ok(&["down"]);
}

#[test]
fn a_python_that_cannot_run_it_is_shown_too() {
    let project = Project::new(TIERCE, &saying("one"), &format!("{KEYS}\npython = 'no/such/python'"));
    let running = project.up(&["--reload"]);
    assert!(get(&running).text().contains("no/such/python"), "{}", get(&running).text());
    project.write("tierce.toml", &project.config(KEYS));
    wait_for_answer(&running, "one");
}

#[test]
fn configuration_and_variables_are_followed() {
    let app = "import os\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
               return [f\"{os.environ['A']} {os.environ['B']}\".encode()]\n";
    let keys = |a: &str| format!("{KEYS}\nenv_file = 'settings'\nenv = {{ A = '{a}' }}");
    let project = Project::new(TIERCE, app, &keys("1"));
    project.write("settings", "B=1\n");
    let running = project.up(&["--reload"]);
    wait_for_answer(&running, "1 1");
    project.write("tierce.toml", &project.config(&keys("2")));
    wait_for_answer(&running, "2 1");
    project.write("settings", "B=2\n");
    wait_for_answer(&running, "2 2");

    project.write("tierce.toml", &format!("{}\nworkers_ = 3\n", project.config(KEYS)));
    let html = wait_for_page(&running, "unknown key").text();
    for part in ["<h2>tierce.toml:", "did you mean", "^^^"] {
        assert!(html.contains(part), "{part:?} is missing in {html}");
    }
    assert!(project.ok(&["ps"]).out.contains("web.1"), "what was there before is");
    project.write("tierce.toml", &project.config(&keys("3")));
    wait_for_answer(&running, "3 2");
}

#[test]
fn what_is_not_the_projects_own_source_reloads_nothing_and_a_save_in_steps_reloads_once() {
    let project = Project::new(TIERCE, &saying("one"), KEYS);
    project.write("templates/index.html", "one");
    let running = project.up(&["--reload"]);
    for name in
        [".tierce/x.py", "__pycache__/x.py", ".git/x.py", "node_modules/x.py", "templates/index.html", "static/x.js"]
    {
        project.write(name, "x = 1\n");
    }
    // As editors do: beside it, then in its place, then once more.
    project.write("app.py.tmp", &saying("two"));
    std::fs::rename(project.path().join("app.py.tmp"), project.path().join("app.py")).unwrap();
    project.write("app.py", &saying("three"));
    wait_for_answer(&running, "three");
    wait_for("the line", || running.err().contains("↻"));
    assert_eq!((generations(&running), running.err().matches('↻').count()), (vec![2], 1), "{}", running.err());
}

#[test]
fn a_change_during_a_reload_leads_to_one_more() {
    let project = Project::new(TIERCE, &saying("one"), KEYS);
    let running = project.up(&["--reload"]);
    let slow = format!(
        "import os, time\nopen('begun', 'w').close()\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n{}",
        saying("two")
    );
    project.write("app.py", &slow);
    wait_for("the import to have begun", || project.path().join("begun").exists());
    // It waits for the new code, and is answered by it.
    let mut held = running.client();
    held.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to be held", || running.ps()["apps"][0]["queued"] == 1);
    for word in ["three", "four"] {
        project.write("app.py", &saying(word));
    }
    project.write("go", "");
    let answered = held.response().unwrap();
    assert!(answered.status == 200 && answered.text() != "one", "{}", answered.text());
    wait_for_answer(&running, "four");
    assert_eq!(generations(&running), [3], "{}", running.err());
}

#[test]
fn streams_of_old_code_are_cut_and_do_not_delay_the_new() {
    let app = |word: &str| {
        format!(
            "import time\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
             if environ['PATH_INFO'] != '/stream':\n        return [b'{word}']\n    return stream()\n\n\
             def stream():\n    while True:\n        yield b'x'\n        time.sleep(0.05)\n"
        )
    };
    // Longer than this test waits.
    let project = Project::new(TIERCE, &app("one"), &format!("{KEYS}\nlimits = {{ drain = '10m' }}"));
    let running = project.up(&["--reload"]);
    let mut stream = running.client();
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for("it to have begun", || running.ps()["items"][0]["in_flight"] == 1);
    project.write("app.py", &app("two"));
    wait_for_answer(&running, "two");
    // Broken off, and not as if it were whole.
    assert_eq!(stream.head().unwrap().status, 200);
    assert!((0..1000).any(|_| stream.chunk().is_err()), "it goes on");
    project.write("app.py", &app("three"));
    wait_for_answer(&running, "three");
}

#[test]
fn reloads_by_hand_count_as_well() {
    let app = format!("import os\nif not os.path.exists('ready'):\n    raise ValueError('not yet')\n{}", saying("one"));
    let project = Project::new(TIERCE, &app, KEYS);
    project.write("ready", "");
    let running = project.up(&["--reload"]);
    project.ok(&["reload"]);
    assert_eq!((get(&running).text(), generations(&running)), ("one".to_owned(), vec![2]));
    std::fs::remove_file(project.path().join("ready")).unwrap();
    let refused = project.run(&["reload"]);
    assert_eq!((refused.code, refused.err.contains("requests are answered with this")), (78, true), "{}", refused.err);
    assert!(get(&running).text().contains("ValueError: not yet"));
    project.write("ready", "");
    project.ok(&["reload"]);
    assert_eq!(get(&running).text(), "one");
}

#[test]
fn a_key_in_the_file_is_refused_with_the_reason() {
    let project = Project::new(TIERCE, &saying("one"), &format!("{KEYS}\nreload = true"));
    let refused = project.run(&["up"]);
    assert_eq!((refused.code, refused.err.contains("tierce up --reload")), (78, true), "{}", refused.err);
}
