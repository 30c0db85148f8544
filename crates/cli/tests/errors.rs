//! Mistakes: each has a clear message and its exit status, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{os::unix::fs::MetadataExt, time::Duration};

use testkit::{Project, wait_for, wait_within};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";

/// Nothing of a Tierce that has ended is there for longer.
const PROMISED: Duration = Duration::from_secs(5);

/// The command ends with this status, says what is wrong in these words, and leaves nothing behind.
fn fails(project: &Project, words: &[&str], code: i32, parts: &[&str]) {
    let finished = project.run(words);
    assert_eq!(finished.code, code, "{words:?}: {}", finished.err);
    for part in parts {
        assert!(finished.err.contains(part), "{words:?}: {part:?} is missing in:\n{}", finished.err);
    }
    assert!(finished.err.lines().any(|line| line.starts_with("error: ")), "{}", finished.err);
    assert!(!finished.err.contains("panicked"), "{}", finished.err);
    assert_eq!(finished.out, "", "messages are no result");
    wait_within(PROMISED, "all processes to be gone", || project.processes().is_empty());
    assert!(!project.path().join(".tierce/control.sock").exists(), "{words:?}: the socket is left");
    assert!(std::net::TcpListener::bind(("127.0.0.1", project.port)).is_ok(), "{words:?}: the port is still in use");
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
        (
            "app = 5\n",
            "app = 'app:app'",
            &["`app:app` is no application but of type int", "tierce.toml:5:7, `app = 'app:app'`", "makes: app:NAME"],
        ),
        (
            "def create_app():\n    pass\n",
            "app = 'app:create_app'",
            &[
                "cannot be called with environ and start_response",
                "hint: the module has create_app(): write app:create_app()",
            ],
        ),
        (
            "def make(config=None):\n    pass\n",
            "app = 'app:make'",
            &[
                "cannot be called with environ and start_response",
                "hint: if it makes the application, write app:make()",
            ],
        ),
        (
            "def create_app(config):\n    pass\n",
            "app = 'app:create_app()'",
            &["missing 1 required positional argument", "hint: a factory is called without arguments"],
        ),
        ("", "app = 'nowhere:app'", &["there is no module nowhere"]),
        (
            "x = 1\n",
            "app = 'app:app'",
            &["has no attribute 'app'", "name the application that the module makes: app:NAME"],
        ),
        ("import os\nos._exit(3)\n", "app = 'app:app'", &["web.1 exited with 3 while it was being started"]),
        (
            "import os\nos.kill(os.getpid(), 11)\n",
            "app = 'app:app'",
            &["web.1 was killed by signal 11 (SIGSEGV) while"],
        ),
        ("async def app(scope, receive, send): pass\n", "", &["ASGI", "WSGI"]),
    ] {
        let app_key = if keys.contains("app =") { "" } else { "app = 'app:app'" };
        let keys = format!("workers = 1\n{app_key}\n{keys}");
        let project = Project::new(TIERCE, app, &keys);
        fails(&project, &["up"], 78, parts);
        let again = project.run(&["check"]);
        assert_eq!(again.code, 78, "{app}: {}", again.err);
        assert!(!says_it_twice(&again.err), "{}", again.err);
    }
}

/// Whether what follows the cause is the cause once more.
fn says_it_twice(text: &str) -> bool {
    let lines: Vec<_> = text.lines().collect();
    lines.windows(2).any(|two| {
        let (cause, detail) = (two[0].strip_prefix("  cause: "), two[1].strip_prefix("  | "));
        cause.zip(detail).is_some_and(|(cause, detail)| cause.starts_with(detail))
    })
}

#[test]
fn workers_that_cannot_be_forked() {
    // Fewer files than a worker needs for an edge of so many threads.
    let app = format!("import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n{APP}");
    let project = Project::new(TIERCE, &app, "workers = 1\ncores = 30\napp = 'app:app'");
    let parts = ["keep ending before they are ready", "a worker could not be forked: too many open files"];
    fails(&project, &["up"], 78, &parts);
}

#[test]
fn an_application_that_is_not_ready_in_time_may_be_tried_again() {
    let keys = "workers = 1\napp = 'app:app'\nlimits = { start = '300ms' }";
    let project = Project::new(TIERCE, "import time\ntime.sleep(60)\n", keys);
    for words in [&["up"][..], &["up", "-d"], &["check"]] {
        fails(&project, words, 1, &["not ready after 300ms", "limits.start"]);
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
        ("user = 'nobody-of-this-name'", &["there is no user \"nobody-of-this-name\""]),
        ("env = { A = 1 }\nnodes = 'x'", &["`env.A`", "`nodes`"]),
    ] {
        let project = Project::new(TIERCE, APP, keys);
        fails(&project, &["up"], 78, parts);
    }
    let project = Project::new(TIERCE, APP, "");
    let missing = project.run(&["-c", "nowhere.toml", "up"]);
    assert_eq!(missing.code, 78, "{}", missing.err);
    std::fs::remove_file(project.path().join("app.py")).unwrap();
    fails(
        &project,
        &["up"],
        78,
        &["no application found", "hint: name it", &format!("-C {} up module:callable", project.path().display())],
    );
}

#[test]
fn check_tells_all_problems_at_once() {
    let project = Project::new(TIERCE, "import no_such_module_here\n", "app = 'app:app'\nworkers = 0\nnonsense = 1");
    let text = project.run(&["check"]);
    assert_eq!(text.code, 78);
    for part in ["`workers`", "unknown key `nonsense`", "cannot import app:app"] {
        assert!(text.err.contains(part), "{part}: {}", text.err);
    }
    let json = project.run(&["check", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &found["schema"], found["items"].as_array().unwrap().len()), (78, &1.into(), 3));
    let item = &found["items"][0];
    let keys: Vec<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["cause", "detail", "hint", "what", "where", "while"]);
    assert!(item["where"].as_str().unwrap().ends_with("tierce.toml:4:11"), "{item}");
}

#[test]
fn commands_that_are_wrong() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    fails(&project, &["up", "--harakiri", "3"], 2, &["--timeout"]);
    fails(&project, &["scale", "web"], 2, &["web=5"]);
    fails(&project, &["scale", "web=x"], 2, &["web=5"]);
    fails(&project, &["up", "--scale", "shop=2"], 2, &["there is no service \"shop\""]);
    fails(&project, &["nonsense"], 2, &[]);
    fails(&project, &["up", "-w", "x"], 2, &["--workers", "found \"x\""]);
    fails(&project, &["up", "-t", "abc", "-b", "foo"], 2, &["--timeout", "--bind"]);
    fails(&project, &["up", "a-b:app"], 2, &["APP"]);
    project.write("tierce.toml", "workers = 0");
    fails(&project, &["up", "-t", "abc"], 78, &["--timeout", "`workers`"]);
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
fn one_that_does_not_answer_is_no_nothing() {
    let app = format!("import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n{APP}");
    let project = Project::new(TIERCE, &app, "app = 'app:app'\nworkers = 1");
    let mut starting = project.command(&["up"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for("the import to have begun", || project.processes().len() == 2);
    let ps = project.run(&["ps"]);
    assert_eq!((ps.code, ps.err.contains("takes no commands")), (1, true), "{}", ps.err);
    project.ok(&["down"]);
    starting.wait().unwrap();
    project.write("go", "");
    let mut running = project.up(&[]);
    std::fs::remove_file(project.path().join(".tierce/control.sock")).unwrap();
    for words in [&["ps"][..], &["scale", "web=2"], &["reload"]] {
        let finished = project.run(words);
        assert_eq!((finished.code, finished.err.contains("socket was removed")), (1, true), "{}", finished.err);
    }
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0), "it has drained");
}

#[test]
fn what_another_user_runs_is_not_nothing() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Only root may become somebody else.
        return;
    }
    let project = Project::new(TIERCE, APP, "workers = 1");
    std::fs::set_permissions(project.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let _running = project.up(&[]);
    let runtime = project.path().join("of-nobody");
    std::fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(65534), Some(65534)).unwrap();
    for words in [&["ps"][..], &["down"], &["scale", "web=2"], &["logs"]] {
        let mut command = project.command(words);
        // Without the binary's directory in reach, nothing can be tried.
        let Ok(output) = command.uid(65534).gid(65534).env("XDG_RUNTIME_DIR", &runtime).output() else { return };
        assert_eq!(output.status.code(), Some(77), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn two_in_one_place() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = project.up(&[]);
    let second = project.run(&["up"]);
    assert_eq!(second.code, 1, "{}", second.err);
    assert!(second.err.contains(&format!("running here already (process {})", running.pid())), "{}", second.err);
    let detached = project.run(&["up", "-d"]);
    assert_eq!((detached.code, detached.err.contains("running here already")), (1, true), "{}", detached.err);
    let other = Project::new(TIERCE, APP, &format!("workers = 1\nlisten = ['127.0.0.1:{}']", project.port));
    let next = format!("choose another port: -b 127.0.0.1:{}", project.port + 1);
    fails(&other, &["up"], 1, &["in use by another process", &next]);
    let nowhere = Project::new(TIERCE, APP, "workers = 1\nlisten = ['unix:nowhere/web.sock']");
    let directory = nowhere.path().join("nowhere");
    fails(&nowhere, &["up"], 1, &["cannot listen on", &format!("mkdir {}", directory.display())]);
    let wrong = project.run(&["scale", "shop=2"]);
    assert_eq!((wrong.code, wrong.err.contains("there is no service")), (2, true), "{}", wrong.err);
    assert_eq!(running.client().get("/").unwrap().status, 200, "the first is unharmed");
}

#[test]
fn without_nodes_the_application_has_to_be_importable_all_the_same() {
    let project = Project::new(TIERCE, "raise ValueError\n", "workers = 1\nnodes = 0\napp = 'app:app'");
    fails(&project, &["up"], 78, &["cannot import app:app", "ValueError"]);
    project.write("app.py", APP);
    let running = project.up(&[]);
    project.write("app.py", "raise ValueError\n");
    let reload = project.run(&["reload"]);
    assert_eq!((reload.code, reload.err.contains("nothing was changed")), (78, true), "{}", reload.err);
    project.write("app.py", APP);
    project.ok(&["reload"]);
    assert_eq!(running.ps()["items"], serde_json::json!([]));
}

#[test]
fn a_detached_start_that_fails_says_why() {
    let project = Project::new(TIERCE, "import no_such_module_here\n", "app = 'app:app'");
    fails(&project, &["up", "-d"], 78, &["cannot import app:app", "no_such_module_here"]);
}

#[test]
fn an_import_error_shows_the_whole_traceback_without_our_own_frames() {
    let project = Project::new(TIERCE, "from shop.models import Item\n", "app = 'app:app'");
    project.write("shop/models.py", "def price():\n    return 1 / 0\n\nprice()\n");
    let finished = project.run(&["up"]);
    assert_eq!(finished.code, 78, "{}", finished.err);
    for part in ["app.py\", line 1", "shop/models.py\", line 4", "shop/models.py\", line 2", "ZeroDivisionError"] {
        assert!(finished.err.contains(part), "{part:?} is missing in:\n{}", finished.err);
    }
    assert!(!finished.err.contains("importlib") && !finished.err.contains("<string>"), "{}", finished.err);
}

#[test]
fn a_dead_control_socket_counts_as_nothing_running() {
    for words in [&["ps"][..], &["scale", "web=2"], &["reload"], &["restart"]] {
        let project = Project::new(TIERCE, APP, "workers = 1");
        project.write(".tierce/.gitignore", "*\n");
        let socket = project.path().join(".tierce/control.sock");
        // A listener that goes without removing its file leaves what a killed Tierce leaves.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(socket.exists());
        fails(&project, words, 69, &["nothing is running"]);
    }
}

#[test]
fn a_project_that_cannot_be_entered() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let nowhere = project.path().join("nowhere");
    let mut command = std::process::Command::new(TIERCE);
    let output = command.arg("-C").arg(&nowhere).arg("up").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(0), "{err}");
    assert!(err.starts_with("error: ") && err.contains("nowhere"), "{err}");
}

#[test]
fn foreign_options_are_translated() {
    for (words, part) in [
        (&["up", "--harakiri", "3"][..], "--timeout"),
        (&["up", "--processes", "3"], "--workers"),
        (&["up", "--http-socket", ":80"], "--bind"),
        (&["up", "-k", "gevent"], "concurrency adapts"),
    ] {
        let project = Project::new(TIERCE, APP, "workers = 1");
        fails(&project, words, 2, &[part]);
    }
}
