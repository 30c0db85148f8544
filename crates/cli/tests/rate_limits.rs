//! How often clients may come, and how much they may hold at a time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::thread::scope;

use testkit::{Client, Project, Response, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/held.py");

fn project(keys: &str) -> Project {
    let project = Project::new(TIERCE, APP, &format!("workers = 1\ntrusted_proxies = [\"127.0.0.1\"]\n{keys}"));
    project.write("public/a.txt", "a file");
    project
}

/// A request of a client that a proxy names.
fn send(client: &mut Client, path: &str, from: &str, fields: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {from}\r\n{fields}\r\n")).unwrap();
}

fn ask(client: &mut Client, path: &str, from: &str) -> Response {
    send(client, path, from, "");
    client.response().unwrap()
}

fn notes(project: &Project, wanted: &str) -> usize {
    project.read("notes.txt").lines().filter(|line| line.starts_with(wanted)).count()
}

#[test]
fn who_comes_too_often_is_told_when_to_come_again() {
    let project = project(
        "rate_limit = { rate = \"1/h\", burst = 3 }\nstatic = { \"/static\" = \"public\" }\n\
         [[route]]\npath = \"/old\"\nredirect = \"/new\"",
    );
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/static/a.txt", "192.0.2.1").status, 200);
        assert_eq!(ask(&mut client, "/old", "192.0.2.1").status, 302);
    }
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/", "192.0.2.1").status, 200);
    }
    let refused = ask(&mut client, "/", "192.0.2.1");
    assert_eq!((refused.status, refused.text().contains("rate_limited")), (429, true), "{}", refused.text());
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert!(refused.field("proxy-status").unwrap().contains("rate_limited"));
    assert_eq!(ask(&mut client, "/", "192.0.2.2").status, 200, "the connection and other clients go on");
    for (from, status) in [("2001:db8::1", 200), ("2001:db8::2", 200), ("2001:db8::3:1", 200), ("2001:db8::4", 429)] {
        assert_eq!(ask(&mut client, "/", from).status, status, "{from}: a network is one client");
    }
    wait_for("the log", || running.out().contains("\"tierce.ending\":\"rate_limited\""));
    project.ok(&["reload"]);
    assert_eq!(ask(&mut running.client(), "/", "192.0.2.1").status, 429, "a reload forgets nobody");
}

#[test]
fn a_rate_is_exact_over_all_threads() {
    let project = project("cores = 4\nrate_limit = { rate = \"1/h\", burst = 50 }");
    let running = project.up(&["--access-log", "off"]);
    let served: usize = scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = running.client();
                    (0..20).filter(|_| ask(&mut client, "/", "192.0.2.1").status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(served, 50);
}

#[test]
fn a_route_has_its_own_rate_and_clients_may_be_keys() {
    let project = project(
        r#"
rate_limit = { rate = "1/h", burst = 1 }
[[route]]
path = "/free"
rate_limit = "off"
[[route]]
path = "/api"
rate_limit = { rate = "1/h", burst = 2, by = "header:X-Key" }
[[route]]
path = "/teapot"
rate_limit = { rate = "1/h", burst = 1 }
respond = 418
"#,
    );
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (path, key, status) in [
        ("/", "", 200),
        ("/", "", 429),
        ("/free", "", 200),
        ("/free", "", 200),
        ("/api", "X-Key: a\r\n", 200),
        ("/api", "X-Key: b\r\n", 200),
        ("/api", "x-key: a\r\n", 200),
        ("/api", "X-Key: a\r\n", 429),
        ("/api/x", "X-Key: b\r\n", 200),
        ("/api", "", 200),
        ("/api", "", 200),
        ("/api", "", 429),
        ("/teapot", "", 418),
        ("/teapot", "", 429),
    ] {
        send(&mut client, path, "192.0.2.1", key);
        assert_eq!(client.response().unwrap().status, status, "{path} {key}");
    }
}

#[test]
fn a_client_has_so_many_requests_in_flight_as_long_as_they_are_worked_on() {
    let project = project("limits = { client_in_flight = 2 }");
    let running = project.up(&["--access-log", "json"]);
    let (mut first, mut gone) = (running.client(), running.client());
    send(&mut first, "/held/1", "192.0.2.1", "");
    // With an unread answer before, dropping the connection resets it: then nobody can be there to read.
    send(&mut gone, "/", "192.0.2.1", "");
    send(&mut gone, "/held/2", "192.0.2.1", "");
    gone.answer_arrived().unwrap();
    wait_for("both to begin", || notes(&project, "begin") == 2);
    let refused = ask(&mut running.client(), "/", "192.0.2.1");
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")));
    assert!(refused.text().contains("client_in_flight"), "{}", refused.text());
    assert_eq!(ask(&mut running.client(), "/", "192.0.2.2").status, 200);
    drop(gone);
    wait_for("it to be gone", || running.out().contains("\"tierce.ending\":\"client_closed\""));
    let mut client = running.client();
    for _ in 0..20 {
        assert_eq!(ask(&mut client, "/", "192.0.2.1").status, 429, "the work of one that has gone goes on");
    }
    project.write("go", "");
    assert_eq!(first.response().unwrap().status, 200);
    running.wait_until_idle();
    assert_eq!(ask(&mut client, "/", "192.0.2.1").status, 200);
}

#[test]
fn an_address_has_so_many_connections() {
    let plain = Project::new(TIERCE, APP, "workers = 1\nlimits = { client_connections = 2 }");
    let running = plain.up(&["--access-log", "off"]);
    let mut clients = [running.client(), running.client()];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").unwrap().status, 200));
    let mut third = running.client();
    assert!(third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").and_then(|()| third.response()).is_err(), "it is closed");
    wait_for("the word of it", || running.err().contains("limits.client_connections"));
    drop(clients);
    wait_for("room for another", || running.client().get("/").is_ok_and(|response| response.status == 200));
    drop(running);

    let trusted = project("limits = { client_connections = 2 }");
    let running = trusted.up(&["--access-log", "off"]);
    let mut clients = [(); 4].map(|()| running.client());
    clients.iter_mut().for_each(|client| assert_eq!(ask(client, "/", "192.0.2.1").status, 200, "those of a proxy"));
    drop(running);

    let named = project("proxy_protocol = true\nlimits = { client_connections = 1 }");
    let running = named.up(&["--access-log", "off"]);
    let connect = |from: &str| {
        let mut client = running.client();
        let sent = client.send(format!("PROXY TCP4 {from} 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        sent.and_then(|()| client.response()).map(|response| (response.status, client))
    };
    let first = connect("192.0.2.1").unwrap();
    assert!(connect("192.0.2.1").is_err());
    assert_eq!(connect("192.0.2.2").unwrap().0, 200);
    drop(first);
    wait_for("room for another", || connect("192.0.2.1").is_ok());
}

#[test]
fn passwords_are_hashes_of_argon2_too_and_cannot_be_guessed_at_speed() {
    let project = project("[[route]]\npath = \"/admin\"\nbasic_auth = \"users\"");
    project
        .write("users", "ben:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let mut try_as = |credentials: &str, from: &str| {
        send(&mut client, "/admin", from, &format!("Authorization: Basic {credentials}\r\n"));
        client.response().unwrap()
    };
    const RIGHT: &str = "YmVuOnBhc3N3b3Jk";
    const WRONG: &str = "YmVuOndyb25n";
    assert_eq!(try_as(RIGHT, "192.0.2.1").status, 200);
    let answers: Vec<_> = (0..60).map(|_| try_as(WRONG, "192.0.2.2")).collect();
    let tried = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((20..40).contains(&tried), "{tried} were compared");
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(refused.field("retry-after").is_some() && refused.text().contains("rate_limited"));
    assert_eq!(try_as(WRONG, "192.0.2.1").status, 401, "others can try");
    assert_eq!(try_as(RIGHT, "192.0.2.2").status, 200, "what is known to be right needs no try");
}
