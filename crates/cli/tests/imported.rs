//! What applications do to their process while they are imported, and at their end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, Running, signal, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");

/// Answers with what a function `answer` of the code before it gives, if there is one.
const APP: &str = r#"
def app(environ, start_response):
    environ["wsgi.errors"].write("a request is noted\n")
    start_response("200 OK", [])
    return [str(globals().get("answer", lambda: "ok")()).encode()]
"#;

const NOTE: &str = r#"
import os
DIRECTORY = os.path.dirname(os.path.abspath(__file__))

def note(text):
    fd = os.open(os.path.join(DIRECTORY, "notes.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)
"#;

fn project(import: &str, keys: &str) -> Project {
    Project::new(TIERCE, &format!("{NOTE}{import}\n{APP}"), keys)
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

fn answer(running: &Running<'_>) -> String {
    let response = running.client().get("/").unwrap();
    assert_eq!(response.status, 200, "{}{}", running.out(), running.err());
    response.text()
}

#[test]
fn an_import_that_ends_the_process_is_told() {
    for (import, wanted) in [
        ("import sys; sys.exit('not today')", "SystemExit: not today"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("os._exit(3)", "exited with 3 while it was being started"),
        ("import ctypes; ctypes.string_at(0)", "(SIGSEGV) while it was being started"),
    ] {
        let project = project(import, "workers = 1");
        let finished = project.run(&["up"]);
        assert_eq!(finished.code, 78, "{import}: {}", finished.err);
        assert!(finished.err.contains(wanted), "{import}: {}", finished.err);
        wait_for("all processes to be gone", || project.processes().is_empty());
    }
}

#[test]
fn what_is_printed_at_import_is_told_once() {
    let import = "import sys; print('out at import'); print('err at import', file=sys.stderr); print('no end', end='')";
    let project = project(import, "workers = 3");
    let mut running = up(&project);
    for line in ["web.1 | out at import\n", "web.1 | err at import\n"] {
        wait_for(line, || running.out().contains(line));
    }
    assert_eq!(answer(&running), "ok");
    project.ok(&["down"]);
    running.wait();
    for part in ["out at import", "err at import", "no end"] {
        assert_eq!(running.out().matches(part).count(), 1, "{part}: {}", running.out());
    }
}

#[test]
fn the_streams_may_be_anything() {
    for import in [
        "import sys; sys.stdout = None; sys.stderr = None",
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import sys, io; sys.stdout = io.StringIO(); sys.stderr = io.StringIO()",
        "import sys, io; sys.stdout = io.TextIOWrapper(sys.stdout.detach(), 'latin-1')",
        "import sys, codecs; sys.stdout = codecs.getwriter('utf-8')(sys.stdout.buffer)",
        "import sys\nclass Quiet:\n    def write(self, text): pass\nsys.stdout = sys.stderr = Quiet()",
        "import sys\nclass Hostile:\n    def __getattr__(self, name): raise RuntimeError(name)\nsys.stdout = Hostile()",
    ] {
        let project = project(import, "workers = 1");
        let running = up(&project);
        assert_eq!(answer(&running), "ok", "{import}");
    }
}

#[test]
fn signal_handlers_run_in_the_worker() {
    let import = "import signal\nSEEN = []\n\
                  for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD):\n    \
                  signal.signal(number, lambda number, frame: SEEN.append(number))\n\
                  answer = lambda: [int(number) for number in SEEN]";
    let project = project(import, "workers = 1");
    let mut running = up(&project);
    let before = running.workers();
    signal(before[0], "USR1");
    wait_for("the handler", || answer(&running) == "[10]");
    signal(before[0], "CHLD");
    wait_for("the other handler", || answer(&running) == "[10, 17]");
    assert_eq!(running.workers(), before);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.err());
}

#[test]
fn the_ends_of_workers_are_seen_whatever_is_done_with_sigchld() {
    for import in [
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "import signal\ndef reap(number, frame):\n    try:\n        while os.waitpid(-1, os.WNOHANG)[0]: pass\n    \
         except ChildProcessError: pass\nsignal.signal(signal.SIGCHLD, reap)",
    ] {
        let project = project(import, "workers = 2");
        let running = up(&project);
        for round in 0..3 {
            let before = running.workers();
            signal(before[0], "KILL");
            let told = format!("worker {} was killed by signal 9", before[0]);
            wait_for("another worker", || running.err().contains(&told));
            wait_for("another worker", || {
                let now = running.workers();
                now.len() == 2 && !now.contains(&0) && !now.contains(&before[0])
            });
            assert!(running.workers().contains(&before[1]), "{import}: round {round}: only that one is replaced");
        }
        assert_eq!(answer(&running), "ok");
    }
}

#[test]
fn exit_handlers_run_in_each_worker_and_nowhere_else() {
    let import = "import atexit; atexit.register(lambda: note(f'exit {os.getpid()}'))";
    let project = project(import, "workers = 2");
    let mut running = up(&project);
    let mut workers = running.workers();
    project.ok(&["reload"]);
    wait_for("those of the first generation", || project.read("notes.txt").lines().count() == 2);
    workers.extend(running.workers());
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0));
    let mut noted: Vec<_> = project.read("notes.txt").lines().map(str::to_owned).collect();
    noted.sort_unstable();
    let mut expected: Vec<_> = workers.iter().map(|pid| format!("exit {pid}")).collect();
    expected.sort_unstable();
    assert_eq!(noted, expected);
}

#[test]
fn threads_that_never_end_do_not_keep_a_worker() {
    let import = "import threading, time\ndef answer():\n    \
                  threading.Thread(target=lambda: time.sleep(600)).start()\n    return 'started'";
    let project = project(import, "workers = 1");
    let mut running = up(&project);
    let before = running.workers();
    assert_eq!(answer(&running), "started");
    project.ok(&["down"]);
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    assert!(!testkit::is_alive(before[0]));
}
