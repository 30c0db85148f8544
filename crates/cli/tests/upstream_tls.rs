//! TLS on the way to other servers, with real ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{scope, spawn},
};

use testkit::{
    Caller, HandshakeKind, Identity, Made, Project, Response, Running, TLS12, TLS13, Upstream, certificate,
    expired_certificate, wait_for,
};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const NAME: &str = "app.internal";

/// A project whose upstream is this one, with an authority in `ca.pem`. It is probed once when it is well.
fn project(upstreams: &[&Upstream], ca: &Made, way: &str) -> Project {
    let table = |upstream: &&Upstream| format!("{{ url = 'https://127.0.0.1:{}', {way} }}", upstream.port);
    let tables = upstreams.iter().map(table).collect::<Vec<_>>().join(", ");
    let project = Project::new(TIERCE, "", &format!("upstream = [{tables}]\nhealth.every = '1h'\ncores = 2"));
    project.write("ca.pem", &ca.certificate);
    project
}

const WAY: &str = "server_name = 'app.internal', ca = 'ca.pem'";

fn any(made: &Made) -> Identity {
    Identity::new(made, &[&TLS12, &TLS13], &[])
}

fn says(response: &Response, status: u16, cause: &str) {
    assert_eq!((response.status, response.text().contains(cause)), (status, true), "{}", response.text());
}

/// Answers the handshakes of probes until `running` shows this trouble; no request may come.
fn is_in_trouble(running: &Running<'_>, upstream: &Upstream, expected: &str, meet: impl Fn(TcpStream) + Sync) {
    let seen = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            while !seen.load(Relaxed) {
                meet(upstream.accept_any());
            }
        });
        // However this ends.
        let _end = End { seen: &seen, port: upstream.port };
        wait_for(expected, || {
            let item = &running.ps()["items"][0];
            item["isolation"].as_str().unwrap().contains(expected) && item["state"] != "ready"
        });
    });
}

/// Lets who waits for connections at a port go.
struct End<'a> {
    seen: &'a AtomicBool,
    port: u16,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.seen.store(true, Relaxed);
        // It may wait for one more.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

#[test]
fn requests_and_answers_of_any_length_pass_and_sessions_are_resumed() {
    for version in [&TLS12, &TLS13] {
        let (upstream, made) = (Upstream::new(), certificate(&[NAME]));
        let server = Identity::new(&made, &[version], &[]);
        let project = project(&[&upstream], &made, WAY);
        let running = project.up(&[]);
        let body = Arc::new(vec![b'z'; 3 << 20]);
        let (mut client, sent) = (running.client(), Arc::clone(&body));
        let asking = spawn(move || (client.post("/", &sent).unwrap(), client));
        let mut caller = server.accept(&upstream);
        assert!(caller.head().unwrap().starts_with("POST / HTTP/1.1\r\nHost: "));
        assert_eq!(caller.stream().conn.server_name(), Some(NAME));
        assert_eq!(caller.stream().conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(caller.take(body.len()).unwrap() == *body);
        caller.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).unwrap();
        caller.send(&*body).unwrap();
        let (response, mut client) = asking.join().unwrap();
        assert!(response.body == *body);
        // The connection serves more, and its end is told.
        client.send(GET).unwrap();
        caller.answer(LAST);
        assert_eq!(client.response().unwrap().text(), "ok");
        assert!(caller.head().is_err_and(|error| !error.to_string().contains("close_notify")));
        // So the next one need not begin anew, whichever thread of the edge has it.
        let mut client = running.client();
        client.send(GET).unwrap();
        let mut caller = server.accept(&upstream);
        caller.answer(OK);
        assert_eq!(caller.stream().conn.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        assert_eq!(client.response().unwrap().status, 200);
    }
}

#[test]
fn who_cannot_be_trusted_is_asked_for_nothing() {
    let (made, other) = (certificate(&[NAME]), certificate(&["other.internal"]));
    let old = expired_certificate(&[NAME]);
    for (shown, ca, expected) in [
        (&other, &other, "its certificate is not for app.internal, but for other.internal; name"),
        (&made, &other, "its certificate is of an authority that is not trusted here; if it is yours, name it in `ca`"),
        (&old, &old, "its certificate has expired"),
    ] {
        let upstream = Upstream::new();
        let project = project(&[&upstream], ca, WAY);
        let running = project.up(&[]);
        let server = any(shown);
        is_in_trouble(&running, &upstream, expected, |stream| assert!(server.over(stream, b"").is_err()));
        wait_for("word of it", || running.err().contains(&format!("gets no requests yet: {expected}")));
    }
}

#[test]
fn what_comes_before_the_end_of_a_handshake_is_no_answer() {
    let (upstream, made) = (Upstream::new(), certificate(&[NAME]));
    let project = project(&[&upstream], &made, WAY);
    let running = project.up(&[]);
    is_in_trouble(&running, &upstream, "what it sends is not TLS", |mut stream| {
        // It may have been refused already; what is read to its end is not reset.
        let _ = stream.write_all(OK.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let server = Identity::new(&made, &[&TLS13], &[]);
    is_in_trouble(&running, &upstream, "it has answered before it was asked", |stream| {
        let _ = server.over(stream, OK.as_bytes());
    });
    let server = any(&made);
    wait_for("it to be well", || {
        let _ = server.over(upstream.accept_any(), b"");
        running.ps()["items"][0]["state"] == "ready"
    });
}

/// Is at this port from now on, with this certificate; until the process ends.
fn stand_in(port: u16, server: Identity) {
    let upstream = Upstream::at(port);
    spawn(move || {
        loop {
            let stream = upstream.accept_any();
            let mut rest = stream.try_clone().unwrap();
            if server.over(stream, b"").is_err() {
                // What it has said arrives only if nothing was left unread.
                let _ = rest.read_to_end(&mut Vec::new());
            }
        }
    });
}

#[test]
fn a_request_goes_elsewhere_when_one_cannot_be_trusted_any_more() {
    let (made, other) = (certificate(&[NAME]), certificate(&[NAME]));
    let server = any(&made);
    let become_ready = |running: &Running<'_>, upstreams: &[&Upstream]| {
        for upstream in upstreams {
            server.over(upstream.accept_any(), b"").unwrap();
        }
        wait_for("all to be ready", || {
            running.ps()["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready")
        });
    };
    let (first, second) = (Upstream::new(), Upstream::new());
    let two = project(&[&first, &second], &made, WAY);
    let running = two.up(&[]);
    become_ready(&running, &[&first, &second]);
    let port = first.port;
    drop(first);
    stand_in(port, any(&other));
    let mut client = running.client();
    for _ in 0..4 {
        client.send(POST).unwrap();
        let mut caller = server.accept(&second);
        caller.head().unwrap();
        caller.take(3).unwrap();
        caller.send(LAST).unwrap();
        assert_eq!(client.response().unwrap().status, 200);
    }
    let told = format!("127.0.0.1:{port}: its certificate is of an authority that is not trusted");
    wait_for("word of it", || running.err().contains(&told));
    // Where there is nobody else, that is the answer.
    let alone = Upstream::new();
    let one = project(&[&alone], &made, WAY);
    let running = one.up(&[]);
    become_ready(&running, &[&alone]);
    let port = alone.port;
    drop(alone);
    stand_in(port, any(&other));
    let mut client = running.client();
    client.send(POST).unwrap();
    says(&client.response().unwrap(), 502, "tls_certificate_error");
}

#[test]
fn a_certificate_is_shown_to_whom_asks_for_one() {
    let (made, ours) = (certificate(&[NAME]), certificate(&["tierce"]));
    for version in [&TLS12, &TLS13] {
        let upstream = Upstream::new();
        let server = Identity::new(&made, &[version], &[&ours.certificate]);
        let way = format!("{WAY}, certificate = 'own.pem', key = 'own.key'");
        let project = project(&[&upstream], &made, &way);
        project.write("own.pem", &ours.certificate);
        project.write("own.key", &ours.key);
        let running = project.up(&[]);
        let mut client = running.client();
        client.send(GET).unwrap();
        let mut caller = server.accept(&upstream);
        assert_eq!(caller.stream().conn.peer_certificates().map(<[_]>::len), Some(1));
        caller.answer(OK);
        assert_eq!(client.response().unwrap().status, 200);
    }
    // In TLS 1.3 the upstream's refusal comes after the handshake.
    let upstream = Upstream::new();
    let project = project(&[&upstream], &made, WAY);
    let running = project.up(&[]);
    let port = upstream.port;
    drop(upstream);
    stand_in(port, Identity::new(&made, &[&TLS13], &[&ours.certificate]));
    let mut client = running.client();
    client.send(POST).unwrap();
    says(&client.response().unwrap(), 502, "tls_protocol_error");
    let told = "TLS: it asks for a certificate of ours; name one in `certificate` and `key`";
    wait_for("word of it", || running.err().contains(told));
}

#[test]
fn a_body_that_somebody_has_cut_off_is_not_whole() {
    let (upstream, made) = (Upstream::new(), certificate(&[NAME]));
    let project = project(&[&upstream], &made, WAY);
    let running = project.up(&["--access-log", "json"]);
    let server = any(&made);
    let mut client = running.client();
    client.send(GET).unwrap();
    let mut caller = server.accept(&upstream);
    caller.answer("HTTP/1.0 200 OK\r\n\r\nall of it");
    caller.stream().conn.send_close_notify();
    caller.stream().flush().unwrap();
    drop(caller);
    assert_eq!(client.response().unwrap().text(), "all of it");
    client.send(GET).unwrap();
    let mut caller = server.accept(&upstream);
    caller.answer("HTTP/1.0 200 OK\r\n\r\nall of it");
    drop(caller);
    assert!(client.response().is_err());
    wait_for("how it ended", || running.out().contains("\"http_response_incomplete\""));
}

#[test]
fn a_route_leads_there_too_and_what_has_left_http_stays_in_it() {
    let (upstream, made) = (Upstream::new(), certificate(&[NAME]));
    let route =
        format!("[[route]]\npath = '/chat'\nupstream = {{ url = 'https://127.0.0.1:{}', {WAY} }}", upstream.port);
    let project = Project::new(TIERCE, "", &format!("health.every = '1h'\n{route}"));
    project.write("ca.pem", &made.certificate);
    let running = project.up(&[]);
    let server = any(&made);
    let tunnel = || {
        let mut client = running.client();
        client.send(ASK).unwrap();
        let mut caller = server.accept(&upstream);
        caller.answer(SWITCH);
        assert_eq!(client.head().unwrap().status, 101);
        client.send("there").unwrap();
        assert_eq!(caller.take(5).unwrap(), b"there");
        caller.send("back").unwrap();
        assert_eq!(client.take(4).unwrap(), b"back");
        (client, caller)
    };
    let (mut client, mut caller) = tunnel();
    caller.stream().conn.send_close_notify();
    caller.stream().flush().unwrap();
    assert_eq!(client.rest().unwrap(), b"");
    drop(client);
    assert!(caller.head().is_err_and(|error| !error.to_string().contains("close_notify")));
    wait_for("how it ended", || running.out().contains("\"served\""));
    // One that has not said that it ends may have been cut off.
    let (_client, caller) = tunnel();
    drop(caller);
    wait_for("how it ended", || running.out().contains("\"connection_terminated\""));
    // What is wrong with it is told as with any other.
    project.write("ca.pem", "nothing");
    for words in [["check"], ["reload"]] {
        let finished = project.run(&words);
        let told = finished.err.contains("ca.pem holds no certificate in PEM");
        assert_eq!((finished.code, told), (78, true), "{}", finished.err);
    }
}

#[test]
fn the_machine_says_whom_to_trust_unless_nobody_is_to_be_verified() {
    let (upstream, made) = (Upstream::new(), certificate(&["127.0.0.1"]));
    let server = any(&made);
    let get = |running: &Running<'_>| {
        let mut client = running.client();
        client.send(GET).unwrap();
        server.accept(&upstream).answer(LAST);
        assert_eq!(client.response().unwrap().status, 200);
    };
    // An address is verified as such, and is no name to ask for.
    let project = project(&[&upstream], &made, "weight = 1");
    let mut command = project.command(&["up"]);
    command.env("SSL_CERT_FILE", project.path().join("ca.pem"));
    let running = project.start(command);
    get(&running);
    assert!(!running.err().contains("warning"), "{}", running.err());
    drop(running);
    let way =
        format!("upstream = [{{ url = 'https://127.0.0.1:{}', server_name = 'x', verify = false }}]", upstream.port);
    project.write("tierce.toml", &project.config(&way));
    let running = project.up(&[]);
    get(&running);
    let warning = format!("warning: 127.0.0.1:{} is not verified (`verify = false`): anybody", upstream.port);
    assert!(running.err().contains(&warning), "{}", running.err());
}

#[test]
fn files_that_cannot_be_used_are_told_of_before_anything_starts_or_changes() {
    let (upstream, made) = (Upstream::new(), certificate(&[NAME]));
    let project = project(&[&upstream], &made, WAY);
    let running = project.up(&[]);
    project.write("ca.pem", "nothing");
    for words in [["check"], ["reload"]] {
        let finished = project.run(&words);
        assert_eq!(finished.code, 78, "{}", finished.err);
        let (what, place) = ("ca.pem holds no certificate in PEM", format!("the upstream 127.0.0.1:{}", upstream.port));
        assert!(finished.err.contains(what) && finished.err.contains(&place), "{}", finished.err);
    }
    // Another authority counts from a reload on.
    let other = certificate(&[NAME]);
    project.write("ca.pem", &other.certificate);
    project.ok(&["reload"]);
    let server = any(&other);
    let mut client = running.client();
    client.send(GET).unwrap();
    loop {
        // Probes from before may be on their way.
        let Ok(accepted) = server.over(upstream.accept_any(), b"") else { continue };
        let mut caller = Caller::over(accepted);
        if caller.has_come() {
            caller.answer(OK);
            break;
        }
    }
    assert_eq!(client.response().unwrap().status, 200);
}

#[test]
fn a_name_that_nobody_knows_is_a_state_and_no_obstacle() {
    let there = Upstream::new();
    let keys = format!("upstream = ['http://nobody.invalid:80', '{}']", there.url());
    let project = Project::new(TIERCE, "", &keys);
    there.answer_all(OK);
    let running = project.up(&[]);
    wait_for("both to be known", || {
        let ps = running.ps();
        let item = &ps["items"][0];
        item["state"] == "unhealthy"
            && item["isolation"] == "nobody.invalid has no address: there is no such name"
            && ps["items"][1]["state"] == "ready"
    });
    let told = "\nnobody.invalid:80: nobody.invalid has no address: there is no such name";
    assert!(project.ok(&["ps"]).out.contains(told), "{}", project.ok(&["ps"]).out);
    assert_eq!(running.client().get("/").unwrap().status, 200);
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    // It is on one of the two that the name mostly stands for.
    let there = Upstream::new();
    let project = Project::new(TIERCE, "", &format!("upstream = ['http://localhost:{}']", there.port));
    there.answer_all(OK);
    let running = project.up(&[]);
    let mut client = running.client();
    for _ in 0..4 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.response().unwrap().status, 200);
    }
}
