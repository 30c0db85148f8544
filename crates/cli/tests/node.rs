//! The program of a container: its first process, its leave, its file systems. Containers are namespaces here, made by
//! unshare(1); that takes root, as an engine does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, process::Command};

use serde_json::Value;
use testkit::{Client, Connections, Finished, OpenLoop, Project, Running, descendants, free_port, signal, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/contained.py");
const RUNS: &str = include_str!("apps/runs.py");

/// Nothing but a root that cannot be written, for a user whom nobody knows, who may nothing.
const READ_ONLY: &str = "mount -t tmpfs tmpfs /dev/shm && mount -o remount,bind,ro /";
const NOBODY: [&str; 6] =
    ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--no-new-privs", "--bounding-set=-all"];

/// A node in namespaces of its own.
struct Container<'a> {
    project: &'a Project,
    running: Running<'a>,
    /// Its first process, as it is numbered outside.
    init: u32,
}

impl<'a> Container<'a> {
    fn start(project: &'a Project, words: &[&str]) -> Self {
        Self::of(project, project.start(in_namespaces(project, "true", &[], words)))
    }

    fn of(project: &'a Project, running: Running<'a>) -> Self {
        let init = children(running.pid())[0];
        Self { project, running, init }
    }

    /// As `docker exec`.
    fn exec(&self, words: &[&str]) -> Finished {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--pid", "--mount", "--uts", "--"]);
        command
            .arg(TIERCE)
            .arg("-C")
            .arg(self.project.path())
            .args(words)
            .env("XDG_RUNTIME_DIR", runtime(self.project));
        command.output().unwrap().into()
    }

    fn ps(&self) -> Value {
        let ps = self.exec(&["ps", "--format", "json"]);
        assert_eq!(ps.code, 0, "{}", ps.err);
        serde_json::from_str(&ps.out).unwrap()
    }

    fn signal(&self, name: &str) {
        signal(self.init, name);
    }

    fn says(&self, path: &str) -> String {
        self.running.client().get(path).unwrap().text()
    }
}

/// `tierce node`, as the first process where the host is called web-7, after `prepare`, started by `through`.
fn in_namespaces(project: &Project, prepare: &str, through: &[&str], words: &[&str]) -> Command {
    let tierce = project.command(&[&["node"], words].concat());
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    command.arg(format!("hostname web-7 && {prepare} && exec \"$@\"")).arg("sh").args(through);
    command.arg(tierce.get_program()).args(tierce.get_args()).env("XDG_RUNTIME_DIR", runtime(project));
    command.env_remove("PORT").env_remove("WEB_CONCURRENCY").env_remove("VIRTUAL_ENV").env_remove("PYTHONPATH");
    command
}

/// `tierce node` as it is, below other processes.
fn by_hand(project: &Project, words: &[&str]) -> Command {
    let mut command = project.command(&[&["node"], words].concat());
    command.env("XDG_RUNTIME_DIR", runtime(project));
    command
}

fn runtime(project: &Project) -> String {
    let directory = project.path().join("runtime");
    fs::create_dir_all(&directory).unwrap();
    directory.to_str().unwrap().to_owned()
}

/// False where there can be no namespaces, which must not go unseen where everything has to be tested.
fn has_namespaces() -> bool {
    let words = ["--pid", "--mount", "--uts", "--fork", "--mount-proc", "true"];
    let made = Command::new("unshare").args(words).output().is_ok_and(|output| output.status.success());
    let must = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(made || !must, "unshare(1) cannot make namespaces: these tests run as root, or with CAP_SYS_ADMIN");
    if !made {
        eprintln!("skipped: there can be no namespaces here");
    }
    made
}

/// Those that were not waited for included.
fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn closes(client: &mut Client, path: &str) -> bool {
    let response = client.get(path).unwrap();
    assert_eq!(response.status, 200);
    response.field("connection") == Some("close")
}

#[test]
fn a_container_is_one_node_with_its_host_name() {
    if !has_namespaces() {
        return;
    }
    let project = Project::new(TIERCE, APP, "nodes = 3\nworkers = 2\nexpose = true\nname = 'shop'");
    let container = Container::start(&project, &[]);
    let response = container.running.client().get("/").unwrap();
    assert!(response.field("x-served-by").unwrap().starts_with("web-7/"), "{response:?}");
    assert_eq!(response.text(), "old 0 web-7");
    let ps = container.ps();
    let node = &ps["items"][0];
    assert_eq!((&node["node"], &node["hostname"], &node["state"]), (&"web-7".into(), &"web-7".into(), &"ready".into()));
    assert_eq!((ps["items"].as_array().unwrap().len(), node["workers"].as_array().unwrap().len()), (1, 2));
    let text = container.exec(&["ps"]).out;
    assert!(!text.contains("gethostname"), "its host name is its own: {text}");
    let scaled = container.exec(&["scale", "shop=2"]);
    assert_eq!((scaled.code, scaled.err.contains("up --scale")), (2, true), "{}", scaled.err);
    let logs = container.exec(&["logs"]);
    assert_eq!((logs.code, logs.err.contains("docker logs")), (1, true), "{}", logs.err);
    wait_for("the log", || container.running.out().contains("\"url.path\":\"/\""));
    for line in container.running.out().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["tierce.node"], "web-7", "{line}");
    }
    assert!(!project.path().join(".tierce").exists(), "containers may share their project");
}

#[test]
fn orphans_are_waited_for_and_workers_are_not_taken_for_some() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let mut running = project.start(by_hand(&project, &[]));
    adopts_and_forgets(&project, &running, running.pid());
    running.signal("INT");
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    if has_namespaces() {
        let project = Project::new(TIERCE, APP, "workers = 1");
        let container = Container::start(&project, &[]);
        adopts_and_forgets(&project, &container.running, container.init);
    }
}

fn adopts_and_forgets(project: &Project, running: &Running<'_>, init: u32) {
    let [inner] = children(init)[..] else { panic!("{:?}", children(init)) };
    assert_eq!(running.client().get("/orphan").unwrap().status, 200);
    wait_for("the orphan to be adopted", || children(init).len() == 2);
    project.write("go", "");
    wait_for("the orphan to be waited for", || children(init) == [inner]);
    // That a worker has been killed is learnt by whoever has to replace it, with the reason.
    let zygote = children(inner)[0];
    let worker = children(zygote)[0];
    signal(worker, "KILL");
    wait_for("another worker", || children(zygote).iter().any(|child| *child != worker));
    wait_for("the reason", || running.out().contains("SIGKILL"));
    wait_for("the new worker", || running.client().get("/").is_ok_and(|response| response.status == 200));
}

#[test]
fn what_a_node_has_started_ends_when_it_is_killed() {
    let project = Project::new(TIERCE, APP, "workers = 1");
    let running = project.start(by_hand(&project, &[]));
    let below = descendants(running.pid());
    assert!(2 < below.len(), "{below:?}");
    running.signal("KILL");
    wait_for("all of it to end", || project.processes().is_empty());
}

#[test]
fn nobody_is_refused_who_could_not_know_of_the_stop() {
    let admin = free_port();
    let keys = "workers = 2\nlimits = { notice = '50s', grace = '120s' }";
    let project = Project::new(TIERCE, RUNS, &format!("{keys}\nadmin = '127.0.0.1:{admin}'"));
    let mut running = project.start(by_hand(&project, &[]));
    let mut kept = running.client();
    assert!(!closes(&mut kept, "/"));
    let mut slow = running.client();
    slow.send("POST /run/900000 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").unwrap();
    let load = OpenLoop { port: project.port, rate: 100, connections: Connections::OneShot };
    let outcomes = load.run(|progress| {
        progress.more(50);
        running.signal("TERM");
        wait_for("the notice", || running.out().contains("still accepting for 50s"));
        progress.more(100);
    });
    let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.status() != Some(200)).collect();
    assert!(failed.is_empty() && 150 <= outcomes.len(), "{failed:?} of {}", outcomes.len());
    let begun = project.read("runs.txt");
    let mut ids: Vec<_> = begun.lines().map(|line| line.split(' ').next().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), begun.lines().count(), "none runs twice");
    assert!(closes(&mut kept, "/"), "a connection that was kept ends with its next response");
    assert!(closes(&mut running.client(), "/"), "a new one is served and not kept");
    let watched = |path: &str| Client::connect(admin).unwrap().get(path).unwrap().status;
    assert_eq!((watched("/ready"), watched("/health")), (503, 200));
    // The second ends the notice, and not what is in flight.
    running.signal("TERM");
    slow.send("x").unwrap();
    assert_eq!(slow.response().unwrap().status, 200);
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    assert!(Client::connect(project.port).is_err(), "afterwards nobody listens");
}

#[test]
fn after_the_notice_what_was_accepted_is_finished() {
    let project = Project::new(TIERCE, APP, "workers = 1\nlimits.notice = '200ms'\nenv = { WAIT = '1' }");
    let mut running = project.start(by_hand(&project, &[]));
    let (mut stream, mut post) = (running.client(), running.client());
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.head().unwrap();
    post.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").unwrap();
    running.signal("TERM");
    assert_eq!(post.response().unwrap().status, 200);
    let mut text = Vec::new();
    while let chunk @ [_, ..] = &stream.chunk().unwrap()[..] {
        text.extend_from_slice(chunk);
    }
    assert!(text.ends_with(b"19\n"), "{}", String::from_utf8_lossy(&text));
    assert_eq!(running.wait(), Some(0), "{}", running.err());
    wait_for("the notice", || running.out().contains("still accepting for 200ms"));
    wait_for("the end", || running.out().contains("nothing was cut off"));
}

#[test]
fn a_container_ends_before_it_is_killed() {
    let keys = "workers = 1\nlimits = { notice = '200ms', grace = '3s' }\nenv = { WAIT = '50' }";
    let project = Project::new(TIERCE, APP, keys);
    let mut running = project.start(by_hand(&project, &[]));
    wait_for("what is said of the grace", || {
        running.out().contains("requests have 1800ms to finish, not 30s (limits.drain)")
    });
    let mut client = running.client();
    client.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").unwrap();
    wait_for("the request to be in flight", || in_flight(&project) == 1);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(1), "{}", running.err());
    wait_for("what was cut off", || running.out().contains("1 request was not finished after"));
    assert_eq!(client.response().unwrap().status, 502);
    let wrong = Project::new(TIERCE, APP, "limits = { notice = '9s', grace = '10s' }");
    let refused = wrong.run(&["check"]);
    assert_eq!((refused.code, refused.err.contains("2s less than limits.grace")), (78, true), "{}", refused.err);
}

fn in_flight(project: &Project) -> u64 {
    let ps = by_hand(project, &[]).get_program().to_owned();
    let mut command = Command::new(ps);
    command.arg("-C").arg(project.path()).args(["ps", "--format", "json"]).env("XDG_RUNTIME_DIR", runtime(project));
    let ps: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    ps["items"][0]["in_flight"].as_u64().unwrap()
}

#[test]
fn signals_do_what_they_ask_for_in_the_first_process_too() {
    if !has_namespaces() {
        return;
    }
    let project = Project::new(TIERCE, APP, "workers = 1\nlimits = { notice = '50s', grace = '120s' }");
    let mut container = Container::start(&project, &[]);
    ["USR1", "USR2", "WINCH", "CONT", "ALRM"].iter().for_each(|name| container.signal(name));
    assert_eq!(container.says("/"), "old 0 web-7");
    project.write("app.py", &APP.replace("\"old\"", "\"new\""));
    container.signal("HUP");
    wait_for("the new code", || container.says("/").starts_with("new "));
    wait_for("the old code to be gone", || {
        let ps = container.ps();
        ps["items"].as_array().unwrap().len() == 1 && ps["items"][0]["generation"] == 2
    });
    assert_eq!(container.ps()["items"][0]["node"], "web-7");
    container.signal("INT");
    assert_eq!(container.running.wait(), Some(0), "{}", container.running.err());
    wait_for("the end of the log", || container.running.out().contains("nothing was cut off"));
    assert!(!container.running.out().contains("still accepting"), "a person does not want to wait");
    let mut container = Container::start(&project, &[]);
    container.signal("QUIT");
    wait_for("the notice", || container.running.out().contains("still accepting for 50s"));
    assert_eq!(container.ps()["items"][0]["state"], "draining");
    container.signal("INT");
    assert_eq!(container.running.wait(), Some(0), "{}", container.running.err());
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let project = Project::new(TIERCE, APP, "workers = 1\nenv = { WAIT = '50' }");
    let mut running = project.start(by_hand(&project, &[]));
    let mut client = running.client();
    client.send("POST /run/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").unwrap();
    wait_for("the request to be in flight", || in_flight(&project) == 1);
    running.signal("INT");
    wait_for("the drain", || running.out().contains("finishing what was accepted"));
    running.signal("INT");
    assert_eq!(running.wait(), Some(130), "{}", running.err());
}

#[test]
fn nothing_has_to_be_writable_and_nobody_has_to_be_known() {
    if !has_namespaces() {
        return;
    }
    let project = Project::new(TIERCE, APP, "workers = 1\npython = '/usr/bin/python3'");
    Command::new("chmod").args(["-R", "a+rX"]).arg(project.path()).status().unwrap();
    if project.run(&["check"]).code != 0 {
        // The system's Python is no CPython from 3.10, and that of the tests may be out of this user's reach.
        return;
    }
    fs::remove_dir_all(project.path().join(".tierce")).unwrap();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let through = [&NOBODY[..], &["env", "-i", &path]].concat();
    let container = Container::of(&project, project.start(in_namespaces(&project, READ_ONLY, &through, &[])));
    assert_eq!(container.says("/"), "old 12345 web-7");
    let tierce = project.command(&["ps", "--format", "json"]);
    let mut ps = Command::new("nsenter");
    ps.args(["--target", &container.init.to_string(), "--pid", "--mount", "--uts", "--"]).args(&through);
    let ps: Finished = ps.arg(tierce.get_program()).args(tierce.get_args()).output().unwrap().into();
    assert!(ps.out.contains("\"state\":\"ready\""), "{}{}", ps.out, ps.err);
    let all = format!("{READ_ONLY} && mount -o remount,ro /dev/shm");
    let nowhere: Finished = in_namespaces(&project, &all, &through, &[]).output().unwrap().into();
    assert_eq!((nowhere.code, nowhere.err.contains("--tmpfs /run")), (1, true), "{}", nowhere.err);
}

#[test]
fn what_an_image_lacks_is_said_and_not_installed() {
    let project = Project::new(TIERCE, APP, "# python is found");
    for (file, text, told) in [
        ("requirements.txt", "tierce-no-such-package==1\n", "RUN pip install --no-cache-dir -r requirements.txt"),
        (
            "pyproject.toml",
            "[project]\ndependencies = ['tierce-no-such-package']\n",
            "RUN pip install --no-cache-dir .",
        ),
    ] {
        project.write(file, text);
        let ended: Finished = by_hand(&project, &[]).output().unwrap().into();
        assert_eq!(ended.code, 78, "{}", ended.err);
        assert!(ended.err.contains("lacks tierce-no-such-package") && ended.err.contains(told), "{}", ended.err);
        fs::remove_file(project.path().join(file)).unwrap();
    }
    assert!(!project.path().join(".tierce").exists());
}
