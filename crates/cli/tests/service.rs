//! As a service: in the background, under a service manager, with an environment of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::net::UnixDatagram;

use testkit::{Client, Project, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = r#"
import os, pwd

def app(environ, start_response):
    start_response("200 OK", [])
    name = environ["PATH_INFO"][1:]
    if name == "user":
        return [pwd.getpwuid(os.getuid()).pw_name.encode()]
    if name == "home":
        return [pwd.getpwuid(os.getuid()).pw_dir.encode()]
    if name == "flood":
        for n in range(2000):
            print("flood", n, "x" * 1000)
    return [os.environ.get(name, "-").encode()]
"#;

/// What there is of a run in the project.
fn state(project: &Project) -> Vec<String> {
    let entries = std::fs::read_dir(project.path().join(".tierce")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn in_the_background_until_down() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let up = project.ok(&["up", "-d"]);
    assert!(up.err.contains("running in the background"), "{}", up.err);
    assert_eq!(Client::connect(project.port).unwrap().get("/").unwrap().status, 200);
    let ps: serde_json::Value = serde_json::from_str(&project.ok(&["ps", "--format", "json"]).out).unwrap();
    let pid = u32::try_from(ps["items"][0]["pid"].as_u64().unwrap()).unwrap();
    wait_for("the request in the log", || project.ok(&["logs"]).out.contains("GET / 200"));
    assert_eq!(state(&project), [".gitignore", "admin.sock", "control.sock", "lock", "log"]);
    project.ok(&["down"]);
    assert_eq!(state(&project), [".gitignore", "lock", "log"]);
    assert!(!testkit::is_alive(pid));
    assert_eq!(project.run(&["ps"]).code, 69);
    // As in Compose.
    project.ok(&["up", "--wait"]);
    project.ok(&["down"]);
}

#[test]
fn whoever_stops_a_detached_start_stops_what_it_has_started() {
    let project = Project::new(TIERCE, "import time\nopen('begun', 'w')\ntime.sleep(60)\n", "app = 'app:app'");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut up = project.command(&["up", "-d"]).spawn().unwrap();
        wait_for("the import", || project.path().join("begun").exists());
        std::fs::remove_file(project.path().join("begun")).unwrap();
        testkit::signal(up.id(), signal);
        assert_eq!(up.wait().unwrap().code(), Some(code));
        assert_eq!(project.run(&["ps"]).code, 69, "it waits for the end of the other");
    }
    // The same in the foreground, where an ordered end is no failure.
    for (signal, code) in [("INT", 130), ("TERM", 0)] {
        let mut up = project.command(&["up"]).spawn().unwrap();
        wait_for("the import", || project.path().join("begun").exists());
        std::fs::remove_file(project.path().join("begun")).unwrap();
        testkit::signal(up.id(), signal);
        assert_eq!(up.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn a_scale_outlives_the_process() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let nodes = |running: &testkit::Running<'_>| running.ps()["items"].as_array().unwrap().len();
    let mut running = project.up(&[]);
    project.ok(&["scale", "web=3"]);
    running.signal("KILL");
    running.wait();
    let mut running = project.up(&[]);
    assert_eq!(nodes(&running), 3);
    assert!(running.err().contains("3 nodes, as scaled before (tierce.toml says 1)"), "{}", running.err());
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
    project.write("tierce.toml", &project.config("workers = 1\nnodes = 2"));
    let mut running = project.up(&[]);
    assert_eq!(nodes(&running), 2, "a changed configuration counts");
    project.ok(&["scale", "web=1"]);
    project.ok(&["down"]);
    running.wait();
    assert_eq!(nodes(&project.up(&[])), 2, "down forgets");
}

#[test]
fn a_recorded_scale_does_not_come_back() {
    let project = Project::new(TIERCE, APP, "app = 'app:app'\nworkers = 1");
    let nodes = |running: &testkit::Running<'_>| running.ps()["items"].as_array().unwrap().len();
    let mut running = project.up(&[]);
    project.ok(&["scale", "web=3"]);
    for configured in [2, 1] {
        project.write("tierce.toml", &project.config(&format!("app = 'app:app'\nworkers = 1\nnodes = {configured}")));
        project.ok(&["reload"]);
        assert_eq!(nodes(&running), configured);
    }
    running.signal("KILL");
    running.wait();
    project.write("app.py", "1 / 0\n");
    assert_eq!(project.run(&["up", "--scale", "web=3"]).code, 78);
    project.write("app.py", APP);
    assert_eq!(nodes(&project.up(&[])), 1, "neither the old one nor one that has failed");
}

#[test]
fn the_service_manager_is_told() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let path = project.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let mut command = project.command(&["up"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut running = project.start(command);
    assert_eq!(heard(), "READY=1");
    assert_eq!(running.client().get("/NOTIFY_SOCKET").unwrap().text(), "-", "it is not for the application");
    project.ok(&["reload"]);
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard(), "READY=1");
    running.signal("TERM");
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn variables_come_from_everywhere() {
    let project = Project::new(TIERCE, APP, "workers = 1\nenv_file = '.env'\nenv = { FROM_ENV = 'one', BOTH = 'env' }");
    project.write(".env", "# a comment\nexport FROM_FILE=\"two\"\nBOTH=file\n");
    let mut command = project.command(&["up"]);
    command.env("INHERITED", "three").env("TIERCE_THREADS", "7");
    let running = project.start(command);
    let mut client = running.client();
    for (name, value) in
        [("FROM_ENV", "one"), ("FROM_FILE", "two"), ("BOTH", "env"), ("INHERITED", "three"), ("HOSTNAME", "web.1")]
    {
        assert_eq!(client.get(&format!("/{name}")).unwrap().text(), value, "{name}");
    }
    let bad = {
        let mut command = project.command(&["check"]);
        command.env("TIERCE_WORKERS", "many");
        command.output().unwrap()
    };
    assert_eq!(bad.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("TIERCE_WORKERS"));
}

#[test]
fn port_and_web_concurrency_are_honoured() {
    let project = Project::new(TIERCE, APP, "");
    project.write("tierce.toml", &format!("python = {:?}\n", testkit::python()));
    let mut command = project.command(&["up"]);
    command.env("PORT", project.port.to_string()).env("WEB_CONCURRENCY", "3");
    let running = project.start(command);
    assert_eq!(running.workers().len(), 3);
    assert_eq!(running.client().get("/").unwrap().status, 200);
}

#[test]
fn variables_that_are_wrong_are_shown() {
    let project = Project::new(TIERCE, APP, "");
    project.write("tierce.toml", &format!("python = {:?}\n", testkit::python()));
    let mut command = project.command(&["check"]);
    let output = command.env("PORT", "abc").env("TIERCE_EXPOSE", "yes").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{err}");
    for part in
        ["PORT: expected a port from 0 to 65535, found \"abc\"", "TIERCE_EXPOSE: expected true or false, found \"yes\""]
    {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(!err.contains("HOST:PORT"), "{err}");
}

#[test]
fn the_application_runs_as_another_user() {
    let output = std::process::Command::new("id").arg("-u").output().unwrap();
    if String::from_utf8_lossy(&output.stdout).trim() != "0" {
        // Only root may become somebody else; then the refusal is what is to be seen.
        let project = Project::new(TIERCE, APP, "workers = 1\nuser = 'nobody'");
        let refused = project.run(&["up"]);
        assert_eq!((refused.code, refused.err.contains("only root")), (77, true), "{}", refused.err);
        return;
    }
    let project = Project::new(TIERCE, APP, "workers = 1\nuser = 'nobody'\npython = '/usr/bin/python3'");
    std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(project.path()).status().unwrap();
    if project.run(&["check"]).code != 0 {
        // The system's Python is no CPython from 3.10, and that of the tests may be out of nobody's reach.
        return;
    }
    let running = project.up(&[]);
    let says = |path| running.client().get(path).unwrap().text();
    assert_eq!(
        (says("/user").as_str(), says("/USER").as_str(), says("/LOGNAME").as_str()),
        ("nobody", "nobody", "nobody")
    );
    assert_eq!(says("/HOME"), says("/home"), "the starter's own directory is nothing to it");
}

#[test]
fn a_flood_of_output_is_whole_and_bounded() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = project.up(&["--access-log", "off"]);
    assert_eq!(running.client().get("/flood").unwrap().status, 200);
    wait_for("the last line", || running.out().contains("flood 1999 "));
    let lines = running.out().lines().filter(|line| line.contains("flood ")).count();
    assert_eq!(lines, 2000);
}

#[test]
fn a_reload_changes_the_form_of_all_lines() {
    let project = Project::new(TIERCE, APP, "workers = 1\nlog = { access = 'text' }");
    let running = project.up(&[]);
    project.write("tierce.toml", &project.config("workers = 1\nlog = { access = 'json' }"));
    project.ok(&["reload"]);
    assert_eq!(running.client().get("/flood").unwrap().status, 200);
    wait_for("the last line", || running.out().contains("flood 1999 "));
    let out = running.out();
    let line = out.lines().find(|line| line.contains("flood 1999 ")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["tierce.node"], "web.1");
}

#[test]
fn a_socket_in_the_file_system() {
    use std::os::unix::fs::PermissionsExt;

    let project = Project::new(TIERCE, APP, "workers = 1\nlisten = ['unix:web.sock']");
    let path = project.path().join("web.sock");
    {
        let _running = project.up(&[]);
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /HOSTNAME HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("web.1"), "{text}");
        project.ok(&["down"]);
    }
    assert!(!path.exists());
    project.write("tierce.toml", &project.config("workers = 1\nlisten = ['unix:web.sock']\nsocket_mode = '622'"));
    let _running = project.up(&[]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o622);
}

#[test]
fn logs_are_followed() {
    let project = Project::new(TIERCE, APP, "workers = 1\nnodes = 2");
    let running = project.up(&["--access-log", "text"]);
    let mut client = running.client();
    client.get("/before").unwrap();
    wait_for("the first line", || project.read(".tierce/log/tierce.log").contains("/before"));
    let follow = |words: &[&str]| {
        let file = project.path().join(words.join("-"));
        let out = std::fs::File::create(&file).unwrap();
        (project.command(words).stdout(out).spawn().unwrap(), file)
    };
    let (mut all, all_file) = follow(&["logs", "-f"]);
    let (mut second, second_file) = follow(&["logs", "-f", "web.2"]);
    let text = |file: &std::path::Path| std::fs::read_to_string(file).unwrap();
    wait_for("what was there", || text(&all_file).contains("/before"));
    for _ in 0..4 {
        client.get("/after").unwrap();
    }
    wait_for("what came since", || text(&all_file).matches("/after").count() == 4);
    // On a busy machine nodes do not take turns exactly.
    let served = text(&all_file).lines().filter(|line| line.contains("/after") && line.contains("web.2/")).count();
    assert!(0 < served);
    wait_for("that of the second node", || text(&second_file).matches("/after").count() == served);
    assert!(!text(&second_file).contains("web.1/"), "{}", text(&second_file));
    for follower in [&mut all, &mut second] {
        assert!(follower.try_wait().unwrap().is_none(), "it follows until it is stopped");
        testkit::signal(follower.id(), "INT");
        follower.wait().unwrap();
    }
}

#[test]
fn the_log_is_bounded_whatever_is_printed() {
    let app = "def app(environ, start_response):\n    line = 'x' * 1000\n    for n in range(20000):\n        print(n, line)\n    \
               start_response('200 OK', [])\n    return [b'printed']\n";
    let project = Project::new(TIERCE, app, "workers = 1");
    project.ok(&["up", "-d"]);
    let mut client = Client::connect(project.port).unwrap();
    // 80 MB; four files of 16 MiB are kept.
    for _ in 0..4 {
        assert_eq!(client.get("/").unwrap().text(), "printed");
    }
    wait_for("the last line", || project.ok(&["logs", "-n", "3"]).out.contains(" 19999 x"));
    project.ok(&["down"]);
    let files = || std::fs::read_dir(project.path().join(".tierce/log")).unwrap().map(|entry| entry.unwrap());
    let sizes: Vec<_> = files().map(|file| file.metadata().unwrap().len()).collect();
    assert!((2..=4).contains(&sizes.len()), "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= (16 << 20) + 64 * 1024), "{sizes:?}");
}

#[test]
fn an_application_that_prints_more_than_is_read_delays_only_itself() {
    // Nobody reads what this one prints in the foreground; the edge and the other requests go on.
    let project = Project::new(TIERCE, APP, "workers = 1");
    let mut command = project.command(&["up", "--access-log", "text"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for("it to be ready", || Client::connect(project.port).is_ok_and(|mut client| client.get("/").is_ok()));
    let mut floods: Vec<_> = (0..20).map(|_| Client::connect(project.port).unwrap()).collect();
    for flood in &mut floods {
        flood.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    let mut client = Client::connect(project.port).unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/HOSTNAME").unwrap().text(), "web.1");
    }
    project.ok(&["ps"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn messages_that_nobody_reads_delay_nothing() {
    let app = APP.replace("    return [os.", "    if name == \"die\":\n        os._exit(3)\n    return [os.");
    let project = Project::new(TIERCE, &app, "workers = 2");
    let (_unread, writer) = std::io::pipe().unwrap();
    let mut command = project.command(&["up", "--access-log", "off"]);
    let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    drop(command);
    wait_for("it to be ready", || project.run(&["ps"]).code == 0);
    // More than the pipe holds; then there is something to say of a worker.
    assert_eq!(Client::connect(project.port).unwrap().get("/flood").unwrap().status, 200);
    let mut dying = Client::connect(project.port).unwrap();
    dying.send("POST /die HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(dying.response().unwrap().status, 502);
    wait_for("the worker to be replaced", || {
        let ps: serde_json::Value = serde_json::from_str(&project.ok(&["ps", "--format", "json"]).out).unwrap();
        ps["items"][0]["workers"].as_array().unwrap().iter().all(|worker| worker["state"] == "ready")
    });
    testkit::signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Starts its arguments on a terminal, says which process they are, and takes the terminal away when it is told to.
const ON_A_TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
print(pid, flush=True)
while b'ready in' not in os.read(terminal, 65536):
    pass
print('ready', flush=True)
sys.stdin.readline()
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
";

#[test]
fn the_loss_of_its_terminal_stops_it() {
    use std::io::{BufRead, BufReader, Write};
    let project = Project::new(TIERCE, APP, "workers = 1");
    let up = project.command(&["up"]);
    let mut command = std::process::Command::new(testkit::python());
    command.args(["-c", ON_A_TERMINAL]).arg(up.get_program()).args(up.get_args());
    let (stdin, stdout) = (std::process::Stdio::piped(), std::process::Stdio::piped());
    let mut parent = command.stdin(stdin).stdout(stdout).spawn().unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pid: u32 = said.next().unwrap().parse().unwrap();
    assert_eq!(said.next().as_deref(), Some("ready"));
    testkit::signal(pid, "HUP");
    wait_for("the reload, as the terminal is there", || project.read(".tierce/log/tierce.log").contains("reloaded in"));
    parent.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().as_deref(), Some("0"), "it has drained and ended");
    parent.wait().unwrap();
}

#[test]
fn quiet_is_quiet_while_all_is_well() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let said = project.path().join("said");
    let mut command = project.command(&["up", "--quiet", "--access-log", "off"]);
    let mut up = command.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    wait_for("it to be ready", || project.run(&["ps"]).code == 0);
    testkit::signal(up.id(), "HUP");
    wait_for("the reload", || project.read(".tierce/log/tierce.log").contains("reloaded in"));
    project.write("app.py", "app = 1 / 0\n");
    testkit::signal(up.id(), "HUP");
    wait_for("the refusal", || project.read("said").contains("ZeroDivisionError"));
    testkit::signal(up.id(), "TERM");
    assert_eq!(up.wait().unwrap().code(), Some(0));
    let said = project.read("said");
    assert!(said.starts_with("error: ") && !said.contains("reloaded") && !said.contains("stopped"), "{said}");
    assert!(project.read(".tierce/log/tierce.log").contains("stopped; nothing was cut off"));
}

#[test]
fn modules_are_found_on_the_configured_path() {
    let app = "import extra, os, sys\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
               return [f'{extra.NAME} {os.getcwd() == os.path.dirname(os.path.abspath(__file__))}'.encode()]\n";
    let project = Project::new(TIERCE, app, "workers = 1\napp = 'app:app'\npythonpath = ['lib']");
    project.write("lib/extra.py", "NAME = 'from lib'\n");
    assert_eq!(project.up(&[]).client().get("/").unwrap().text(), "from lib True");
    project.write("extra.py", "NAME = 'from the project'\n");
    assert_eq!(project.up(&[]).client().get("/").unwrap().text(), "from the project True");
}
