//! Mistakes: each has a clear message and its exit status, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::Project;

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";

fn fails(project: &Project, words: &[&str], code: i32, parts: &[&str]) {
    let finished = project.run(words);
    assert_eq!(finished.code, code, "{words:?}: {}", finished.err);
    for part in parts {
        assert!(finished.err.contains(part), "{words:?}: {part:?} is missing in:\n{}", finished.err);
    }
    assert!(finished.err.lines().any(|line| line.starts_with("error: ")), "{}", finished.err);
    assert!(testkit::descendants(std::process::id()).iter().all(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        !line.contains(project.path().to_str().unwrap())
    }));
}

#[test]
fn applications_that_cannot_be_run() {
    for (app, keys, parts) in [
        (
            "import no_such_module_here\n",
            "",
            &["cannot import app:app", "No module named", "hint: install no_such_module_here"][..],
        ),
        ("x = 1 +\n", "", &["cannot import app:app", "SyntaxError", "app.py"]),
        ("raise ValueError('my own words')\n", "app = 'app:app'", &["ValueError: my own words", "line 1"]),
        ("application = print\n", "app = 'app:app'", &["has no", "write app:application"]),
        ("app = 5\n", "", &["app:app"]),
        ("", "app = 'nowhere:app'", &["there is no module nowhere"]),
        ("import os\nos._exit(3)\n", "app = 'app:app'", &["ended while it was being started"]),
        ("async def app(scope, receive, send): pass\n", "", &["ASGI", "WSGI"]),
        (
            "import time\ntime.sleep(60)\n",
            "app = 'app:app'\nlimits = { start = '300ms' }",
            &["not ready after", "limits.start"],
        ),
    ] {
        let app_key = if keys.contains("app =") { "" } else { "app = 'app:app'" };
        let keys = format!("workers = 1\n{app_key}\n{keys}");
        let project = Project::new(TIERCE, app, &keys);
        fails(&project, &["up"], 78, parts);
        let again = project.run(&["check"]);
        assert_eq!(again.code, 78, "{app}: {}", again.err);
    }
}

#[test]
fn configurations_that_are_wrong() {
    for (keys, parts) in [
        ("worker = 5", &["unknown key `worker`", "did you mean `workers`?", "tierce.toml:"][..]),
        ("workers = 0", &["expected a number from 1 to 1024, found 0"]),
        ("limits = { time = 30 }", &["expected a duration, found a number", "write \"30s\""]),
        ("app = ", &["this is not TOML"]),
        ("harakiri = 30", &["unknown key `harakiri`", "limits.time"]),
        ("python = './nowhere'", &["cannot run the application"]),
        ("user = 'nobody-of-this-name'", &["there is no user"]),
        ("env = { A = 1 }\nnodes = 'x'", &["`env.A`", "`nodes`"]),
    ] {
        let project = Project::new(TIERCE, APP, keys);
        let code = if keys.starts_with("user") { 1 } else { 78 };
        fails(&project, &["up"], code, parts);
    }
    let project = Project::new(TIERCE, APP, "");
    let missing = project.run(&["-c", "nowhere.toml", "up"]);
    assert_eq!(missing.code, 78, "{}", missing.err);
    std::fs::remove_file(project.path().join("app.py")).unwrap();
    fails(&project, &["up"], 78, &["no application found", "hint: name it"]);
}

#[test]
fn commands_that_are_wrong() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    fails(&project, &["up", "--harakiri", "3"], 2, &["--timeout"]);
    fails(&project, &["scale", "web"], 2, &["web=5"]);
    fails(&project, &["scale", "web=x"], 2, &["web=5"]);
    fails(&project, &["up", "--scale", "shop=2"], 2, &["there is no service \"shop\""]);
    fails(&project, &["nonsense"], 2, &[]);
}

#[test]
fn nothing_is_running() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    for words in [&["ps"][..], &["scale", "web=2"], &["reload"], &["restart"]] {
        fails(&project, words, 69, &["nothing is running", "up"]);
    }
    assert_eq!(project.run(&["down"]).code, 0);
}

#[test]
fn two_in_one_place() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = project.up(&[]);
    let second = project.run(&["up"]);
    assert_eq!(second.code, 1, "{}", second.err);
    assert!(second.err.contains(&format!("running here already (process {})", running.pid())), "{}", second.err);
    let other = Project::new(TIERCE, APP, &format!("workers = 1\nlisten = ['127.0.0.1:{}']", project.port));
    fails(&other, &["up"], 1, &["in use by another process", "hint: "]);
    let wrong = project.run(&["scale", "shop=2"]);
    assert_eq!((wrong.code, wrong.err.contains("there is no service")), (2, true), "{}", wrong.err);
    assert_eq!(running.client().get("/").unwrap().status, 200, "the first is unharmed");
}

#[test]
fn a_detached_start_that_fails_says_why() {
    let project = Project::new(TIERCE, "import no_such_module_here\n", "app = 'app:app'");
    fails(&project, &["up", "-d"], 78, &["cannot import app:app", "no_such_module_here"]);
}
