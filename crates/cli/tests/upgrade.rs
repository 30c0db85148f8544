//! WebSocket through the edge to other servers, byte by byte; those that misbehave are named by what they do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{Read, Write},
    thread::{scope, spawn},
};

use serde_json::Value;
use testkit::{Caller, Client, Project, Response, Running, Trust, Upstream, certificate, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// One that is probed once, and so has no other connections than those of requests.
fn project(upstreams: &[&Upstream], keys: &str) -> Project {
    let urls: Vec<_> = upstreams.iter().map(|upstream| upstream.url()).collect();
    Project::new(TIERCE, "", &format!("upstream = {urls:?}\nhealth.every = \"1h\"\ntraceparent = \"pass\"\n{keys}"))
}

/// A tunnel that stands.
fn tunnel(running: &Running<'_>, upstream: &Upstream) -> (Client, Caller) {
    let mut client = running.client();
    client.send(ASK).unwrap();
    let mut caller = upstream.accept();
    caller.answer(SWITCH);
    assert_eq!(client.head().unwrap().status, 101);
    (client, caller)
}

fn passes(client: &mut Client, caller: &mut Caller) {
    client.send("there").unwrap();
    assert_eq!(caller.take(5).unwrap(), b"there");
    caller.send("back").unwrap();
    assert_eq!(client.take(4).unwrap(), b"back");
}

/// How the last request has ended: its line in the log.
fn line(running: &Running<'_>) -> Value {
    let find = || running.out().lines().rfind(|line| line.contains("\"/chat\"")).map(ToOwned::to_owned);
    wait_for("its line", || find().is_some());
    serde_json::from_str(&find().unwrap()).unwrap()
}

fn says(response: &Response, status: u16, cause: &str) {
    assert_eq!((response.status, response.text().contains(cause)), (status, true), "{}", response.text());
}

#[test]
fn both_sides_are_told_and_then_bytes_pass_as_they_are() {
    let upstream = Upstream::new();
    let route = "[[route]]\npath = \"/chat\"\nset_header = { X-Frame-Options = \"DENY\" }";
    let project = project(&[&upstream], route);
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    client.send([ASK, "\0early"].concat()).unwrap();
    let mut caller = upstream.accept();
    let head = caller.head().unwrap();
    let id = head.split("X-Request-Id: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    let expected = format!(
        "GET /chat HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Request-Id: {id}\r\n\
         Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    );
    assert_eq!(head, expected);
    // What was sent with the head waits for the switch, and what comes with the switch belongs to it.
    caller.send([SWITCH, "\x01late"].concat()).unwrap();
    let switched = client.head().unwrap();
    let fields: Vec<_> = switched.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let date = switched.field("date").unwrap();
    assert_eq!(
        (switched.status, fields),
        (
            101,
            vec![
                ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                ("x-frame-options", "DENY"),
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("date", date),
                ("x-request-id", &id)
            ]
        )
    );
    assert_eq!((caller.take(6).unwrap(), client.take(5).unwrap()), (b"\0early".to_vec(), b"\x01late".to_vec()));
    passes(&mut client, &mut caller);
    assert_eq!(running.ps()["items"][0]["in_flight"], 1, "it is in flight for as long as it lives");
    caller.end();
    drop(caller);
    assert_eq!(client.rest().unwrap(), b"");
    drop(client);
    let line = line(&running);
    assert_eq!((&line["http.response.status_code"], &line["tierce.ending"]), (&101.into(), &"served".into()), "{line}");
    let bytes = ["http.request.body.size", "http.response.body.size"].map(|name| line[name].as_u64());
    assert_eq!(bytes, [Some(11), Some(9)], "{line}");
    running.wait_until_idle();
}

#[test]
fn without_a_switch_all_of_it_is_ordinary_http() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let mut client = running.client();
    // Whoever takes the offer for the switch itself brings the second request past all rules.
    client.send([ASK, "GET /second HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"].concat()).unwrap();
    let mut caller = upstream.accept();
    caller.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nUpgrade: websocket\r\n\r\nok");
    assert!(caller.has_ended(), "nothing of the second has come to the first");
    let mut caller = upstream.accept();
    let head = caller.answer(OK);
    assert!(head.starts_with("GET /second ") && head.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{head}");
    assert_eq!([(); 2].map(|()| client.response().unwrap().text()), ["ok", "ok"]);
    // Both connections can go on.
    client.send(ASK).unwrap();
    caller.answer("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().unwrap().status, 426);
    client.send(ASK).unwrap();
    caller.answer(SWITCH);
    assert_eq!(client.head().unwrap().status, 101);
    passes(&mut client, &mut caller);
}

#[test]
fn a_switch_that_was_not_asked_for_or_is_not_whole_is_a_502() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let mut client = running.client();
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let offer = |line: &str| ASK.replace("GET /chat HTTP/1.1", line);
    for (request, response, still_offers) in [
        (get, SWITCH.to_owned(), false),
        (offer("POST / HTTP/1.1"), SWITCH.to_owned(), false),
        (ASK.replace("websocket\r\n", "h2c\r\n"), SWITCH.to_owned(), false),
        (ASK.replace("keep-alive, Upgrade", "keep-alive"), SWITCH.to_owned(), false),
        (ASK.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"), SWITCH.to_owned(), false),
        (ASK.to_owned(), SWITCH.replace("Upgrade: WebSocket", "Upgrade: h2c"), true),
        (ASK.to_owned(), SWITCH.replace("Upgrade: WebSocket\r\n", ""), true),
        (ASK.to_owned(), SWITCH.replace("Connection: Upgrade\r\n", ""), true),
        (ASK.to_owned(), SWITCH.replace("Sec-WebSocket-Accept", "X-Accept"), true),
    ] {
        client.send(&request).unwrap();
        let mut caller = upstream.accept();
        let head = caller.answer(&response).to_lowercase();
        let has = ["\r\nupgrade:", "\r\nconnection:"].map(|name| head.contains(name));
        assert_eq!(has, [still_offers; 2], "{head}");
        if request.ends_with('x') {
            assert_eq!(caller.take(1).unwrap(), b"x");
        }
        says(&client.response().unwrap(), 502, "upstream_protocol_error");
        assert!(caller.has_ended(), "{request} {response}");
    }
    let mut old = running.client();
    old.send(offer("GET / HTTP/1.0")).unwrap();
    let head = upstream.accept().answer(OK);
    assert!(!head.contains("Upgrade"), "{head}");
}

#[test]
fn the_end_of_one_side_is_passed_on_and_the_first_has_ended_it() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&["--access-log", "json"]);
    let ending = |from: usize| {
        let lines = || running.out().lines().filter(|line| line.contains("\"/chat\"")).count();
        wait_for("its line", || from < lines());
        line(&running)["tierce.ending"].as_str().unwrap().to_owned()
    };
    let (mut client, mut caller) = tunnel(&running, &upstream);
    client.send("last").unwrap();
    client.end().unwrap();
    assert_eq!(caller.take(4).unwrap(), b"last");
    assert!(caller.has_ended());
    caller.send("still heard").unwrap();
    drop(caller);
    assert_eq!(client.rest().unwrap(), b"still heard");
    assert_eq!(ending(0), "client_closed");

    let (mut client, mut caller) = tunnel(&running, &upstream);
    caller.send("last").unwrap();
    caller.end();
    assert_eq!(client.rest().unwrap(), b"last");
    client.send("still heard").unwrap();
    client.end().unwrap();
    assert_eq!(caller.take(11).unwrap(), b"still heard");
    assert!(caller.has_ended());
    assert_eq!(ending(1), "served");

    let (mut client, caller) = tunnel(&running, &upstream);
    // Closed with bytes that it has not read, a connection is reset.
    client.send("not read").unwrap();
    caller.arrived();
    drop(caller);
    assert!(client.rest().is_err());
    assert_eq!(ending(2), "connection_terminated");

    let (client, mut caller) = tunnel(&running, &upstream);
    caller.send("not read").unwrap();
    client.answer_arrived().unwrap();
    drop(client);
    assert!(caller.take(1).is_err());
    assert_eq!(ending(3), "client_closed");
    running.wait_until_idle();
}

#[test]
fn silence_has_an_end() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "limits.tunnel = \"200ms\"");
    let running = project.up(&["--access-log", "json"]);
    let (mut client, mut caller) = tunnel(&running, &upstream);
    assert_eq!(client.rest().unwrap(), b"");
    assert!(caller.has_ended());
    assert_eq!(line(&running)["tierce.ending"], "tunnel_timeout");
}

#[test]
fn as_much_as_one_likes_goes_both_ways_at_the_pace_of_the_slower() {
    const SIZE: usize = 48 << 20;
    let byte = |at: usize| u8::try_from(at % 251).unwrap();
    let upstream = Upstream::new();
    let project = project(&[&upstream], "");
    let running = project.up(&[]);
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        line.strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    };
    let before = resident();
    let (client, mut caller) = tunnel(&running, &upstream);
    let mut client = client.into_stream();
    let mut writes = client.try_clone().unwrap();
    // The upstream takes nothing before the client has all that is for it, and sends as much meanwhile.
    scope(|threads| {
        threads.spawn(|| {
            for at in 0..SIZE >> 16 {
                writes.write_all(&[byte(at); 1 << 16]).unwrap();
            }
        });
        let mut theirs = caller.stream().try_clone().unwrap();
        threads.spawn(move || {
            for at in 0..SIZE >> 16 {
                theirs.write_all(&[!byte(at); 1 << 16]).unwrap();
            }
        });
        let mut piece = vec![0; 1 << 16];
        for at in 0..SIZE >> 16 {
            client.read_exact(&mut piece).unwrap();
            assert!(piece.iter().all(|got| *got == !byte(at)), "{at}");
        }
        for at in 0..SIZE >> 16 {
            assert!(caller.take(1 << 16).unwrap().iter().all(|got| *got == byte(at)), "{at}");
        }
    });
    assert!(resident() < before + (16 << 20), "from {before} to {}", resident());
}

#[test]
fn a_reload_leaves_it_alone_and_an_end_waits_for_it() {
    let [one, other] = [(); 2].map(|()| Upstream::new());
    let keys =
        |upstream: &Upstream, more: &str| format!("upstream = [{:?}]\nhealth.every = \"1h\"\n{more}", upstream.url());
    let project = Project::new(TIERCE, "", &keys(&one, ""));
    let mut running = project.up(&[]);
    let (mut client, mut caller) = tunnel(&running, &one);
    // Its upstream, its route and its limits have gone.
    let gone = "limits.time = \"1s\"\n[[route]]\npath = \"/chat\"\nrespond = 410";
    project.write("tierce.toml", &project.config(&keys(&other, gone)));
    project.ok(&["reload"]);
    passes(&mut client, &mut caller);
    let down = spawn_down(&project);
    wait_for("the end to begin", || Client::connect(project.port).is_err());
    passes(&mut client, &mut caller);
    caller.end();
    client.end().unwrap();
    assert_eq!(down.join().unwrap(), 0);
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn an_end_waits_no_longer_than_for_others() {
    let upstream = Upstream::new();
    let project = project(&[&upstream], "limits.drain = \"300ms\"");
    let mut running = project.up(&[]);
    let (mut client, _caller) = tunnel(&running, &upstream);
    let finished = project.run(&["down"]);
    assert!(finished.code == 1 && finished.err.contains("1 request was not finished after 300ms"), "{}", finished.err);
    assert_eq!(client.rest().unwrap_or_default(), b"");
    assert_eq!(running.wait(), Some(1));
}

#[test]
fn it_passes_through_tls() {
    let upstream = Upstream::new();
    let made = certificate(&["a.example"]);
    let https = free_port();
    let keys =
        format!("listen = [\"https://127.0.0.1:{https}\"]\ntls = {{ certificate = \"a.pem\", key = \"a.key\" }}");
    let project = Project::new(TIERCE, "", "");
    let urls = format!("upstream = [{:?}]\nhealth.every = \"1h\"\n{keys}\n", upstream.url());
    project.write("tierce.toml", &urls);
    project.write("a.pem", &made.certificate);
    project.write("a.key", &made.key);
    let running = project.up(&["--access-log", "json"]);
    let trust = Trust::new(&[&made.certificate]);
    let mut client = trust.connect(https, "a.example").unwrap();
    client.send(ASK).unwrap();
    let mut caller = upstream.accept();
    assert!(caller.answer(SWITCH).contains("X-Forwarded-Proto: https\r\n"));
    assert_eq!(client.head().unwrap().status, 101);
    let long: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
    caller.send(&long).unwrap();
    assert!(client.take(long.len()).unwrap() == long);
    let echo = spawn(move || {
        let taken = caller.take(3_000_000).unwrap();
        caller.end();
        taken
    });
    client.send(&long).unwrap();
    // The end is said, so that it cannot be taken for an attack.
    assert_eq!(client.rest().unwrap(), b"");
    assert!(echo.join().unwrap() == long);
    client.stream().conn.send_close_notify();
    client.stream().flush().unwrap();
    drop(client);
    assert_eq!(line(&running)["tierce.ending"], "served");
}

#[test]
fn workers_of_ours_are_asked_for_a_response() {
    let app = "def app(environ, start_response):\n    start_response('200 OK', [])\n    \
               return [repr([key for key in environ if 'UPGRADE' in key or 'CONNECTION' in key]).encode()]\n";
    let project = Project::new(TIERCE, app, "workers = 1");
    let running = project.up(&[]);
    let mut client = running.client();
    for _ in 0..2 {
        client.send(ASK).unwrap();
        assert_eq!(client.response().unwrap().text(), "[]");
    }
}

fn spawn_down(project: &Project) -> std::thread::JoinHandle<i32> {
    let mut command = project.command(&["down"]);
    spawn(move || command.output().unwrap().status.code().unwrap())
}
