//! Addresses, threads and the admin listener that change while requests come: no connection is closed, no request lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod prometheus; // a reader that is strict

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
};

use testkit::{
    Client, Connections, OpenLoop, Progress, Project, Running, Trust, Upstream, certificate, free_port, wait_for,
};

use self::prometheus::Page;

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/listens.py");

/// Requests a second; far below what the machine can do, so that nothing but the change itself can lose one.
const RATE: u64 = 300;

/// Requests that have to end between two steps, so that each step has work before and behind it.
const BETWEEN: u64 = 100;

/// Loads it while `change` runs; each request has to be answered, and to have run once.
fn loses_nothing(project: &Project, connections: Connections, change: impl FnOnce(&Running<'_>, &Progress)) {
    let running = project.up(&["--access-log", "off"]);
    let outcomes = OpenLoop { port: project.port, rate: RATE, connections }.run(|progress| {
        progress.more(BETWEEN);
        change(&running, progress);
        progress.more(BETWEEN);
    });
    running.lost_none(&outcomes);
    let runs = project.read("runs.txt");
    let mut runs: Vec<u64> = runs.lines().filter_map(|line| line.parse().ok()).collect();
    runs.sort_unstable();
    assert!(runs.iter().eq(outcomes.keys()), "each was run once");
}

/// Takes other keys; returns what was said.
fn reload(project: &Project, keys: &str) -> String {
    project.write("tierce.toml", &project.config(keys));
    let said = project.ok(&["reload"]);
    said.out + &said.err
}

fn says(client: &mut Client, text: &str) {
    let response = client.get("/").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, text));
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// As `listen` wants it.
fn on(ports: &[u16]) -> String {
    let addresses: Vec<_> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    format!("listen = [{}]\n", addresses.join(", "))
}

#[test]
fn addresses_come_and_go_and_what_they_have_accepted_goes_on() {
    let keys = "app = 'app:app'\nworkers = 2\ncores = 2\n";
    let project = Project::new(TIERCE, APP, keys);
    let (first, second, third) = (project.port, free_port(), free_port());
    loses_nothing(&project, Connections::Kept, |running, progress| {
        let mut kept = running.client();
        says(&mut kept, &format!("http 127.0.0.1 {first}"));
        let said = reload(&project, &format!("{keys}{}", on(&[second, first])));
        assert!(said.contains(&format!(": listens on http://127.0.0.1:{second}")), "{said}");
        progress.more(BETWEEN);
        let mut other = Client::connect(second).unwrap();
        says(&mut other, &format!("http 127.0.0.1 {second}"));
        says(&mut kept, &format!("http 127.0.0.1 {first}"));
        let mut waiting = Client::connect(second).unwrap();
        waiting.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        wait_for("it to run", || project.read("runs.txt").contains("wait"));

        // The reload waits for the old generation, and that for this request.
        std::thread::scope(|scope| {
            let reloaded = scope.spawn(|| reload(&project, &format!("{keys}{}", on(&[third, first]))));
            wait_for("the address to be gone", || is_refused(second));
            says(&mut other, &format!("http 127.0.0.1 {second}"));
            says(&mut Client::connect(third).unwrap(), &format!("http 127.0.0.1 {third}"));
            project.write("go", "");
            assert_eq!(waiting.response().unwrap().text(), format!("http 127.0.0.1 {second}"));
            let said = reloaded.join().unwrap();
            let told = format!("listens on http://127.0.0.1:{third}; no longer on http://127.0.0.1:{second}");
            assert!(said.contains(&told), "{said}");
        });
        progress.more(BETWEEN);
        for (client, port) in [(&mut kept, first), (&mut other, second), (&mut waiting, second)] {
            says(client, &format!("http 127.0.0.1 {port}"));
        }
    });
}

/// How many threads of the edge there are.
fn threads(running: &Running<'_>) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("edge-")).count()
}

#[test]
fn threads_come_and_go_and_each_reaches_application_and_upstreams() {
    let (upstream, admin) = (Upstream::new(), free_port());
    let url = upstream.url();
    upstream.answer_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let keys = |cores: u32| {
        format!(
            "app = 'app:app'\nworkers = 2\nadmin = '127.0.0.1:{admin}'\ncores = {cores}\nhealth.every = '1h'\n\
             [[route]]\npath = '/up'\nupstream = ['{url}']\n"
        )
    };
    let project = Project::new(TIERCE, APP, &keys(1));
    let mut counted = 0.0;
    loses_nothing(&project, Connections::Kept, |running, progress| {
        let mut kept = Vec::new();
        for (cores, expected) in [(1, 1), (3, 3), (1, 3), (2, 3), (4, 4)] {
            reload(&project, &keys(cores));
            progress.more(BETWEEN);
            // Enough that each thread has some of them.
            kept.extend((0..40).map(|_| running.client()));
            for client in &mut kept {
                says(client, &format!("http 127.0.0.1 {}", project.port));
                assert_eq!(client.get("/up").unwrap().text(), "ok");
            }
            assert_eq!(threads(running), expected);
            let page = Page::read(&Client::connect(admin).unwrap().get("/metrics").unwrap().text());
            let requests = page.sum("http_server_request_duration_seconds_count", &[]);
            assert!(counted + 2.0 * kept.len() as f64 <= requests, "{counted} and then {requests}");
            assert!(kept.len() as f64 <= page.sum("tierce_connections_open", &[]));
            counted = requests;
        }
    });
}

#[test]
fn an_edge_without_an_application_changes_as_well() {
    let upstream = Upstream::new();
    let keys = |cores: u32| format!("upstream = ['{}']\ncores = {cores}\n", upstream.url());
    let (one, three) = (keys(1), keys(3));
    let project = Project::new(TIERCE, APP, &one);
    let (port, other) = (project.port, free_port());
    upstream.answer_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut command = project.command(&["edge"]);
    command.args(["--access-log", "off"]);
    let running = project.start(command);
    let outcomes = OpenLoop { port, rate: RATE, connections: Connections::Kept }.run(|progress| {
        for keys in [format!("{three}{}", on(&[port, other])), format!("{one}{}", on(&[other, port]))] {
            progress.more(BETWEEN);
            reload(&project, &keys);
            for _ in 0..40 {
                assert_eq!(Client::connect(other).unwrap().get("/").unwrap().text(), "ok");
            }
        }
        let mut kept = Client::connect(other).unwrap();
        assert_eq!(kept.get("/").unwrap().text(), "ok");
        project.write("tierce.toml", &project.config(&one));
        running.signal("HUP");
        wait_for("the line", || running.err().contains(&format!("no longer on http://127.0.0.1:{other}")));
        wait_for("the address to be gone", || is_refused(other));
        assert_eq!(kept.get("/").unwrap().text(), "ok");
        progress.more(BETWEEN);
    });
    let lost: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.status() != Some(200)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn another_protocol_is_spoken_from_the_next_connection_on() {
    let made = certificate(&["a.example"]);
    let plain = "app = 'app:app'\nworkers = 1\ncores = 2\n";
    let project = Project::new(TIERCE, APP, plain);
    let port = project.port;
    let secure =
        format!("{plain}listen = ['https://127.0.0.1:{port}']\ntls = [{{ certificate = 'a.pem', key = 'a.key' }}]\n");
    let running = project.up(&[]);
    let mut kept = running.client();
    says(&mut kept, &format!("http 127.0.0.1 {port}"));

    project.write("tierce.toml", &project.config(&secure));
    let refused = project.run(&["reload"]);
    assert_eq!((refused.code, refused.err.contains("nothing was changed")), (78, true), "{}", refused.err);
    says(&mut running.client(), &format!("http 127.0.0.1 {port}"));
    project.write("a.pem", &made.certificate);
    project.write("a.key", &made.key);
    let trust = Trust::new(&[&made.certificate]);
    for _ in 0..2 {
        let said = reload(&project, &secure);
        let told = format!("listens on https://127.0.0.1:{port}; no longer on http://127.0.0.1:{port}");
        assert!(said.contains(&told), "{said}");
        let mut shaken = trust.connect(port, "a.example").unwrap();
        assert_eq!(shaken.get("/").unwrap().text(), format!("https 127.0.0.1 {port}"));
        says(&mut kept, &format!("http 127.0.0.1 {port}"));
        assert_eq!(running.client().get("/").unwrap().status, 400);
        // And back.
        reload(&project, &format!("{plain}{}", on(&[port])));
        says(&mut running.client(), &format!("http 127.0.0.1 {port}"));
        assert_eq!(shaken.get("/").unwrap().text(), format!("https 127.0.0.1 {port}"));
    }
    // Others are followed when they change, although there were none at the start.
    reload(&project, &secure);
    let other = certificate(&["a.example"]);
    project.write("a.pem", &other.certificate);
    project.write("a.key", &other.key);
    wait_for("them", || Trust::new(&[&other.certificate]).connect(port, "a.example").is_ok());
}

#[test]
fn a_wildcard_takes_the_place_of_an_address_and_gives_it_back() {
    let keys = "app = 'app:app'\nworkers = 2\ncores = 2\n";
    let project = Project::new(TIERCE, APP, keys);
    let port = project.port;
    // Each connects anew, so that a single one that the kernel had queued in a socket that was closed would be lost.
    loses_nothing(&project, Connections::OneShot, |_, progress| {
        for _ in 0..3 {
            reload(&project, &format!("{keys}listen = [':{port}']\n"));
            assert!(TcpStream::connect(("127.0.0.2", port)).is_ok());
            progress.more(BETWEEN);
            reload(&project, &format!("{keys}{}", on(&[port])));
            progress.more(BETWEEN);
            wait_for("the wildcard to be gone", || TcpStream::connect(("127.0.0.2", port)).is_err());
        }
    });
}

#[test]
fn what_cannot_be_listened_on_changes_nothing() {
    let (admin, taken, free) = (free_port(), free_port(), free_port());
    let _others = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let keys = format!("app = 'app:app'\nworkers = 1\ncores = 1\nadmin = '127.0.0.1:{admin}'\n");
    let project = Project::new(TIERCE, APP, &keys);
    let own = project.port;
    loses_nothing(&project, Connections::Kept, |running, progress| {
        let workers = running.workers();
        let refuse = |keys: String, code: i32, part: &str| {
            project.write("tierce.toml", &project.config(&keys));
            let refused = project.run(&["reload"]);
            assert_eq!(refused.code, code, "{}", refused.err);
            assert!(refused.err.contains(part) && refused.err.contains("nothing was changed"), "{}", refused.err);
            assert_eq!(running.workers(), workers);
            assert!(is_refused(free) && !project.path().join("new.sock").exists());
            progress.more(BETWEEN);
        };
        let fresh = |more: &str| format!("listen = ['127.0.0.1:{own}', '127.0.0.1:{free}', 'unix:new.sock', {more}]\n");
        let in_use = format!("127.0.0.1:{taken} is in use by another process");
        refuse(format!("{keys}{}", fresh(&format!("'127.0.0.1:{taken}'"))), 1, &in_use);
        refuse(format!("{keys}{}", fresh(&format!("':{taken}'"))), 1, "is in use by another process");
        refuse(format!("{keys}{}", fresh(&format!("':{own}'"))), 78, "cannot be listened on beside");
        let other_admin = keys.replace(&format!("{admin}"), &format!("{taken}"));
        refuse(format!("{other_admin}{}", fresh("")), 1, "opening the admin listener");
        // Bound in vain: it is the application that cannot be loaded.
        project.write("app.py", "nonsense(");
        refuse(format!("{keys}cores = 3\n{}", fresh("")).replacen("cores = 1\n", "", 1), 78, "SyntaxError");
        project.write("app.py", APP);
        reload(&project, &format!("{keys}{}", fresh("")));
        says(&mut Client::connect(free).unwrap(), &format!("http 127.0.0.1 {free}"));
    });
}

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_admin_listener_is_exchanged() {
    let keys = "app = 'app:app'\nworkers = 1\n";
    let project = Project::new(TIERCE, APP, keys);
    let mut running = project.up(&[]);
    let (port, socket, other) = (free_port(), project.path().join(".tierce/admin.sock"), project.path().join("a.sock"));
    let at_socket = |path| ask(UnixStream::connect(path).unwrap()).starts_with("HTTP/1.1 200");
    let at_port = || ask(TcpStream::connect(("127.0.0.1", port)).unwrap()).starts_with("HTTP/1.1 200");
    assert!(at_socket(&socket));
    let before = fs::metadata(&socket).unwrap();
    reload(&project, keys);
    let after = fs::metadata(&socket).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&before), std::os::unix::fs::MetadataExt::ino(&after));
    assert!(at_socket(&socket));
    // Whoever has connected is answered, wherever it is by then.
    let early = UnixStream::connect(&socket).unwrap();
    reload(&project, &format!("{keys}admin = '127.0.0.1:{port}'\n"));
    assert!(at_port() && !socket.exists() && ask(early).starts_with("HTTP/1.1 200"));
    reload(&project, &format!("{keys}admin = '0.0.0.0:{port}'\nadmin_public = true\n"));
    assert!(at_port() && TcpStream::connect(("127.0.0.2", port)).is_ok());
    reload(&project, &format!("{keys}admin = 'unix:a.sock'\n"));
    assert!(at_socket(&other));
    wait_for("the port to be closed", || is_refused(port));
    reload(&project, &format!("{keys}admin = 'off'\n"));
    assert!(!other.exists() && !socket.exists());
    reload(&project, keys);
    assert!(at_socket(&socket));
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_unix_socket_comes_and_goes() {
    let keys = "app = 'app:app'\nworkers = 1\ncores = 2\n";
    let project = Project::new(TIERCE, APP, keys);
    let path = project.path().join("web.sock");
    let both = format!("{keys}listen = ['127.0.0.1:{}', 'unix:web.sock']\n", project.port);
    let mode = || std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777;
    loses_nothing(&project, Connections::Kept, |_, progress| {
        let said = reload(&project, &both);
        assert!(said.contains(&format!("listens on unix:{}", path.display())), "{said}");
        let left = mode();
        let mut kept = Client::over(UnixStream::connect(&path).unwrap());
        assert_eq!(kept.get("/").unwrap().text(), "http localhost 80");
        for (more, expected) in [("socket_mode = '622'\n", 0o622), ("", left)] {
            reload(&project, &format!("{both}{more}"));
            assert_eq!(mode(), expected);
            progress.more(BETWEEN);
        }
        let said = reload(&project, keys);
        assert!(said.contains(&format!("no longer on unix:{}", path.display())) && !path.exists(), "{said}");
        assert_eq!(kept.get("/").unwrap().text(), "http localhost 80");
    });
}
