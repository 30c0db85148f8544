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
    if name == "flood":
        for n in range(2000):
            print("flood", n, "x" * 1000)
    return [os.environ.get(name, "-").encode()]
"#;

#[test]
fn in_the_background_until_down() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let up = project.ok(&["up", "-d"]);
    assert!(up.err.contains("running in the background"), "{}", up.err);
    assert_eq!(Client::connect(project.port).unwrap().get("/").unwrap().status, 200);
    let ps: serde_json::Value = serde_json::from_str(&project.ok(&["ps", "--format", "json"]).out).unwrap();
    let pid = u32::try_from(ps["items"][0]["pid"].as_u64().unwrap()).unwrap();
    wait_for("the request in the log", || project.ok(&["logs"]).out.contains("GET / 200"));
    project.ok(&["down"]);
    assert!(!testkit::is_alive(pid));
    assert_eq!(project.run(&["ps"]).code, 69);
    project.ok(&["up", "-d"]);
    project.ok(&["down"]);
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
fn modules_are_found_on_the_configured_path() {
    let app = APP.replace("import os, pwd", "import os, pwd\nimport shop_settings");
    let project = Project::new(TIERCE, &app, "workers = 1\npythonpath = ['lib']");
    project.write("lib/shop_settings.py", "");
    assert_eq!(project.up(&[]).client().get("/HOSTNAME").unwrap().status, 200);
}

/// A command that is ended with the test, however that ends.
struct Follower(std::process::Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn logs_are_followed() {
    use std::io::{BufRead, BufReader};
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = project.up(&["--access-log", "text"]);
    let child = project.command(&["logs", "-f", "-n", "0"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut follower = Follower(child);
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let (sender, followed) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut client = running.client();
    // The follower may begin to look at any time, so there is something new to be seen each time.
    wait_for("a line that was logged later", || {
        client.get("/HOSTNAME").unwrap();
        followed.try_iter().any(|line| line.contains("GET /HOSTNAME 200") && line.contains("web.1/"))
    });
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
fn the_application_runs_as_another_user() {
    let output = std::process::Command::new("id").arg("-u").output().unwrap();
    if String::from_utf8_lossy(&output.stdout).trim() != "0" {
        // Only root may become somebody else; then the refusal is what is to be seen.
        let project = Project::new(TIERCE, APP, "workers = 1\nuser = 'nobody'");
        assert_ne!(project.run(&["up"]).code, 0);
        return;
    }
    let project = Project::new(TIERCE, APP, "workers = 1\nuser = 'nobody'\npython = '/usr/bin/python3'");
    std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(project.path()).status().unwrap();
    if project.run(&["check"]).code != 0 {
        // The system's Python is no CPython from 3.10, and that of the tests may be out of nobody's reach.
        return;
    }
    let running = project.up(&[]);
    assert_eq!(running.client().get("/user").unwrap().text(), "nobody");
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
fn a_socket_in_the_file_system() {
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
}
