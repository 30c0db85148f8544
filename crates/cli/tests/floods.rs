//! Floods: many connections that do little. What each holds is bounded, and others are served meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    cell::Cell,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::Duration,
};

use rustix::{
    net::{AddressFamily, SocketType},
    process::{Resource, getrlimit, setrlimit},
};
use testkit::{Project, Running, Upstream, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");

/// Within what a machine lets one process open, on both sides.
const MANY: usize = 2_000;

/// As many clients wait for their next request.
const IDLE: usize = 15_000;

/// What that takes of files that one process may open: those, what the other tests here have at the same time, and the tenth
/// that the edge keeps for other things.
const FILES: u64 = 20_000;

const APP: &str = "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '2')])\n    \
                   return [b'ok']\n";

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// Lets this process, and so those that it starts, open as many files as it may; returns how many.
fn raise_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}

/// An upstream that answers all with as many bytes.
fn project(length: usize) -> Project {
    raise_files();
    let upstream = Upstream::new();
    let url = upstream.url();
    upstream.answer_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length)).leak());
    Project::new(TIERCE, "", &format!("upstream = [{url:?}]\nhealth.every = \"1h\""))
}

fn connect(project: &Project, begin: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", project.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    stream.write_all(begin.as_bytes()).unwrap();
    stream
}

/// The same from another address of this machine, so that ports are not what is short.
fn connect_from(source: Ipv4Addr, project: &Project, begin: &str) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, project.port)).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    stream.write_all(begin.as_bytes()).unwrap();
    stream
}

/// What the edge holds in memory at present (proc_pid_status(5), `VmRSS`).
fn memory(running: &Running<'_>) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() << 10
}

/// Makes many connections with `connect` and holds the memory of each against `most`, while whoever comes is served.
fn flood<T>(running: &Running<'_>, count: usize, most: usize, connect: impl Fn() -> T) -> Vec<T> {
    assert_eq!(running.client().get("/a").unwrap().status, 200);
    let before = memory(running);
    let mut held = Vec::new();
    for number in 0..count {
        held.push(connect());
        if number % 100 == 0 {
            assert_eq!(running.client().get("/a").unwrap().status, 200, "others are served beside {number}");
        }
    }
    let each = memory(running).saturating_sub(before) / count;
    assert!(each < most, "each of {count} holds {each} bytes");
    held
}

#[test]
fn heads_that_trickle_hold_a_buffer_each_and_end_at_their_deadline() {
    let project = project(2);
    let running = project.up(&["--access-log", "off"]);
    let mut held = flood(&running, MANY, 12 << 10, || connect(&project, "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b"));
    // The deadline is one for the whole head: what comes meanwhile does not put it off.
    held.iter_mut().for_each(|stream| stream.write_all(b"b").unwrap_or_default());
    for mut stream in held {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(running.client().get("/a").unwrap().status, 200);
}

#[test]
fn idle_connections_hold_next_to_nothing() {
    let files = raise_files();
    let count = if FILES <= files { IDLE } else { MANY };
    if count != IDLE {
        let needed =
            format!("{IDLE} connections take {FILES} open files, the limit is {files}: raise it (`ulimit -Hn`)");
        assert!(std::env::var_os("CI").is_none(), "{needed}");
        eprintln!("== only {count} connections: {needed}");
    }
    let project = Project::new(TIERCE, APP, "app = 'app:app'\nworkers = 1\ncores = 2");
    let running = project.up(&["--access-log", "off"]);
    let source = Cell::new(0);
    let held = flood(&running, count, 3 << 10, || {
        source.set((source.get() + 1) % 5);
        let mut stream = connect_from(Ipv4Addr::new(127, 0, 0, 2 + source.get()), &project, GET);
        let mut piece = [0; 4096];
        assert!(0 < stream.read(&mut piece).unwrap());
        stream
    });
    let open = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
    assert!(count < open, "none was closed for another, but {open} of {count} are open");
    // Each of them can go on.
    for mut stream in held.into_iter().step_by(100) {
        stream.write_all(GET.as_bytes()).unwrap();
        assert!(0 < stream.read(&mut [0; 4096]).unwrap());
    }
}

#[test]
fn heads_that_are_huge_or_have_many_fields_hold_no_more_than_their_limit() {
    let project = project(2);
    let running = project.up(&["--access-log", "off"]);
    let long = format!("GET /a HTTP/1.1\r\nHost: a\r\n{}X-Last: ", format!("X-A: {}\r\n", "b".repeat(1000)).repeat(30));
    let many = format!("GET /a HTTP/1.1\r\nHost: a\r\n{}X-Last: ", "X: y\r\n".repeat(98));
    flood(&running, 500, 80 << 10, || (connect(&project, &long), connect(&project, &many)));
    for _ in 0..500 {
        let mut stream = connect(&project, &long);
        // The rest may not be taken any more.
        let _ = stream.write_all("b".repeat(100_000).as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn clients_that_do_not_read_hold_a_window_each() {
    let project = project(4 << 20);
    let running = project.up(&["--access-log", "off"]);
    let before = memory(&running);
    let held = flood(&running, 200, 400 << 10, || connect(&project, GET));
    wait_for("all to be answered", || running.ps()["items"][0]["in_flight"] == 200);
    let each = memory(&running).saturating_sub(before) / 200;
    assert!(each < 400 << 10, "each holds {each} bytes");
    drop(held);
    running.wait_until_idle();
    assert_eq!(running.client().get("/a").unwrap().body.len(), 4 << 20);
}
