//! TLS on listeners, with real clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{ErrorKind, Read},
};

use serde_json::Value;
use testkit::{
    Client, HandshakeKind, Made, Project, Running, Secure, TLS12, TLS13, Trust, certificate, free_port, wait_for,
};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");
const FILES: &str = include_str!("apps/files.py");

/// A project that is served in plain and through TLS.
struct Served {
    project: Project,
    https: u16,
}

impl Served {
    fn new(app: &str, keys: &str, certificates: &[(&str, &Made)]) -> Self {
        let (http, https) = (free_port(), free_port());
        let files =
            certificates.iter().map(|(name, _)| format!("{{ certificate = '{name}.pem', key = '{name}.key' }}"));
        let tls = files.collect::<Vec<_>>().join(", ");
        let cores = if keys.contains("cores") { "" } else { "cores = 2\n" };
        let keys = format!(
            "listen = ['http://127.0.0.1:{http}', 'https://127.0.0.1:{https}']\ntls = [{tls}]\nworkers = 1\n{cores}{keys}"
        );
        let mut project = Project::new(TIERCE, app, &keys);
        project.port = http;
        let served = Self { project, https };
        certificates.iter().for_each(|(name, made)| served.put(name, made));
        served
    }

    fn put(&self, name: &str, made: &Made) {
        self.project.write(&format!("{name}.pem"), &made.certificate);
        self.project.write(&format!("{name}.key"), &made.key);
    }

    fn up(&self) -> Running<'_> {
        self.project.up(&["--access-log", "json"])
    }
}

fn environ(client: &mut Client<Secure>) -> Value {
    serde_json::from_slice(&client.get("/").unwrap().body).unwrap()
}

fn kind(client: &mut Client<Secure>) -> HandshakeKind {
    client.stream().conn.handshake_kind().unwrap()
}

#[test]
fn both_versions_are_spoken_and_the_application_knows() {
    let made = certificate(&["a.example"]);
    let served = Served::new(GATEWAY, "", &[("a", &made)]);
    let running = served.up();
    let address = format!("https://127.0.0.1:{}", served.https);
    wait_for(&address, || running.err().contains(&address));
    for version in [&TLS12, &TLS13] {
        let trust = Trust::only(&[&made.certificate], &[version], &[b"h2", b"http/1.1"]);
        let mut client = trust.connect(served.https, "a.example").unwrap();
        assert_eq!(client.stream().conn.protocol_version(), Some(version.version));
        assert_eq!(client.stream().conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let told = environ(&mut client);
        assert_eq!([&told["wsgi.url_scheme"], &told["HTTPS"], &told["REMOTE_ADDR"]], ["https", "on", "127.0.0.1"]);
        assert_eq!(told["SERVER_PORT"], served.https.to_string());
        // The connection serves more.
        let body = vec![b'z'; 5 << 20];
        assert!(client.post("/echo", &body).unwrap().body == body);
        assert_eq!(client.get("/204").unwrap().status, 204);
    }
    let plain = running.client().get("/").unwrap().text();
    assert!(plain.contains("\"http\"") && !plain.contains("HTTPS"), "{plain}");
    // Who speaks only what is not spoken here is told so.
    assert!(Trust::only(&[&made.certificate], &[&TLS13], &[b"h2"]).connect(served.https, "a.example").is_err());
    assert!(Trust::new(&[&certificate(&["a.example"]).certificate]).connect(served.https, "a.example").is_err());
}

#[test]
fn clients_get_the_certificate_that_has_their_name() {
    let [first, wild] = [certificate(&["a.example", "127.0.0.1"]), certificate(&["b.example", "*.b.example"])];
    let served = Served::new(GATEWAY, "", &[("first", &first), ("wild", &wild)]);
    let _running = served.up();
    for (name, made) in [("a.example", &first), ("b.example", &wild), ("x.b.example", &wild), ("127.0.0.1", &first)] {
        let client = Trust::new(&[&made.certificate]).connect(served.https, name);
        assert_eq!(client.unwrap().get("/").unwrap().status, 200, "{name}");
    }
    // A name that none has gets the first, which is not for it.
    let both = [first.certificate.as_str(), &wild.certificate];
    assert!(Trust::new(&both).connect(served.https, "x.y.b.example").is_err());
}

#[test]
fn new_certificates_are_taken_without_closing_a_connection() {
    let [old, new] = [certificate(&["a.example"]), certificate(&["a.example"])];
    let served = Served::new(GATEWAY, "", &[("a", &old)]);
    let running = served.up();
    let (trusts_old, trusts_new) = (Trust::new(&[&old.certificate]), Trust::new(&[&new.certificate]));
    let mut kept = trusts_old.connect(served.https, "a.example").unwrap();
    assert_eq!(kept.get("/").unwrap().status, 200);

    served.project.write("a.key", "broken");
    wait_for("the broken key to be told", || running.err().contains("the certificates from before stay in use"));
    assert!(running.err().contains("holds no key in PEM"), "{}", running.err());
    assert!(Trust::new(&[&old.certificate]).connect(served.https, "a.example").is_ok());
    let refused = served.project.run(&["reload"]);
    assert_eq!(refused.code, 78, "{}", refused.err);
    assert!(refused.err.contains("holds no key") && refused.err.contains("nothing was changed"), "{}", refused.err);

    served.put("a", &new);
    wait_for("the new certificate", || trusts_new.connect(served.https, "a.example").is_ok());
    assert!(Trust::new(&[&old.certificate]).connect(served.https, "a.example").is_err());
    assert_eq!(kept.get("/").unwrap().status, 200);

    // The same at once, by a reload.
    served.put("a", &old);
    served.project.ok(&["reload"]);
    assert!(Trust::new(&[&old.certificate]).connect(served.https, "a.example").is_ok());
    assert_eq!(kept.get("/").unwrap().status, 200);
}

#[test]
fn sessions_are_resumed_by_all_threads_and_after_a_reload() {
    let made = certificate(&["a.example"]);
    let served = Served::new(GATEWAY, "", &[("a", &made)]);
    let _running = served.up();
    for version in [&TLS12, &TLS13] {
        let trust = Trust::only(&[&made.certificate], &[version], &[b"http/1.1"]);
        let visit = || {
            let mut client = trust.connect(served.https, "a.example").unwrap();
            assert_eq!(client.get("/").unwrap().status, 200);
            kind(&mut client)
        };
        assert_ne!(visit(), HandshakeKind::Resumed);
        // The kernel spreads them over both threads.
        for _ in 0..20 {
            assert_eq!(visit(), HandshakeKind::Resumed);
        }
        served.project.ok(&["reload"]);
        assert_eq!(visit(), HandshakeKind::Resumed);
    }
}

#[test]
fn files_and_streams_arrive_whole() {
    let made = certificate(&["a.example"]);
    let served = Served::new(FILES, "", &[("a", &made)]);
    let content: Vec<u8> =
        (0..20 << 20).map(|at: u32| u8::try_from((at ^ at >> 8 ^ at >> 16) & 0xff).unwrap()).collect();
    fs::write(served.project.path().join("big.bin"), &content).unwrap();
    let running = served.up();
    let mut client = Trust::new(&[&made.certificate]).connect(served.https, "a.example").unwrap();
    for _ in 0..2 {
        let response = client.get("/whole").unwrap();
        assert!(response.body == content, "{} bytes", response.body.len());
    }
    wait_for("its size in the log", || running.out().contains("\"http.response.body.size\":20971520"));
    // One that is written and closed: the end is said, so that nobody can have cut it off.
    client.send("GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().text(), "ok");
    assert!(client.rest().unwrap().is_empty(), "an end without close_notify is an error here");
}

#[test]
fn a_client_that_takes_nothing_holds_no_memory() {
    let made = certificate(&["a.example"]);
    let served = Served::new(FILES, "", &[("a", &made)]);
    fs::write(served.project.path().join("big.bin"), vec![7; 200 << 20]).unwrap();
    let running = served.up();
    let trust = Trust::new(&[&made.certificate]);
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        line.strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    };
    assert_eq!(trust.connect(served.https, "a.example").unwrap().get("/ok").unwrap().status, 200);
    let before = resident();
    let mut slow = trust.connect(served.https, "a.example").unwrap();
    slow.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    // Others are served meanwhile.
    assert_eq!(trust.connect(served.https, "a.example").unwrap().get("/ok").unwrap().status, 200);
    assert!(slow.take(200 << 20).unwrap().iter().all(|byte| *byte == 7));
    assert!(resident() < before + (16 << 20), "from {before} to {}", resident());
}

#[test]
fn plain_http_on_a_tls_port_is_told_so() {
    let made = certificate(&["a.example"]);
    let served = Served::new(GATEWAY, "", &[("a", &made)]);
    let running = served.up();
    let mut plain = Client::connect(served.https).unwrap();
    let response = plain.get("/").unwrap();
    assert_eq!((response.status, response.field("connection")), (400, Some("close")));
    assert!(response.text().contains("this port speaks HTTPS"), "{}", response.text());
    wait_for("its line in the log", || running.out().contains("http_on_https_port"));
    // What is neither gets no page.
    let mut other = Client::connect(served.https).unwrap();
    other.send("\x01\x02\x03\x04\x05\x06\x07\x08").unwrap();
    assert!(!String::from_utf8_lossy(&other.rest().unwrap_or_default()).contains("HTTP"));
}

#[test]
fn handshakes_that_do_not_end_are_ended() {
    let made = certificate(&["a.example"]);
    let served = Served::new(GATEWAY, "", &[("a", &made)]);
    let _running = served.up();
    let mut slow = Client::connect(served.https).unwrap();
    slow.send([0x16, 3, 1, 2, 0]).unwrap();
    // The deadline of the client is longer than that of a handshake.
    let mut byte = [0];
    assert!(!matches!(slow.stream().read(&mut byte), Ok(1..)));
    assert!(Trust::new(&[&made.certificate]).connect(served.https, "a.example").is_ok());
}

#[test]
fn of_too_many_handshakes_the_oldest_is_given_up() {
    const MAX: usize = 512;
    let made = certificate(&["a.example"]);
    let served = Served::new(GATEWAY, "cores = 1", &[("a", &made)]);
    let _running = served.up();
    let begin = || {
        let mut client = Client::connect(served.https).unwrap();
        client.send([0x16, 3, 1, 2, 0]).unwrap();
        client
    };
    let mut begun: Vec<_> = (0..=MAX).map(|_| begin()).collect();
    assert!(!matches!(begun[0].stream().read(&mut [0]), Ok(1..)));
    // Whoever ends its handshake is served; that costs the next oldest its own at most.
    let mut client = Trust::new(&[&made.certificate]).connect(served.https, "a.example").unwrap();
    assert_eq!(client.get("/").unwrap().status, 200);
    // The others go on: their time is not up, as little as that of the first was.
    let other = begun[10].stream();
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn plain_requests_are_sent_to_https() {
    let made = certificate(&["a.example"]);
    let served = Served::new(GATEWAY, "https_redirect = true\ntrusted_proxies = ['127.0.0.1']", &[("a", &made)]);
    let running = served.up();
    let https = served.https;
    let mut client = running.client();
    let mut ask = |request: &str| {
        client.send(request).unwrap();
        client.response().unwrap()
    };
    for (target, location) in [("/", "/"), ("/a%20b//c?x=1&y=%3f", "/a%20b//c?x=1&y=%3f"), ("http://b/c", "/c")] {
        let host = if target.contains("//b") { "b" } else { "a.example:81" };
        let response = ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let host = host.split(':').next().unwrap();
        assert_eq!(response.status, 308);
        assert_eq!(response.field("location"), Some(format!("https://{host}:{https}{location}").as_str()));
    }
    let response = ask("GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status, 200);
    // Who came through TLS to a proxy is where it should be.
    let response = ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(response.status, 200);
    let trust = Trust::new(&[&made.certificate]);
    let mut secure = trust.connect(https, "a.example").unwrap();
    assert_eq!(secure.get("/").unwrap().status, 200);
    let response = ask("POST / HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(response.field("location"), Some(format!("https://[::1]:{https}/").as_str()));
    let mut old = running.client();
    old.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(old.response().unwrap().status, 400);
}

#[test]
fn localhost_has_a_certificate_of_a_local_authority() {
    let (port, home) = (free_port(), "home");
    let project = Project::new(TIERCE, GATEWAY, &format!("listen = ['https://localhost:{port}']\nworkers = 1"));
    let mut command = project.command(&["up"]);
    command.env("XDG_DATA_HOME", project.path().join(home));
    let running = project.start(command);
    let root = project.path().join("home/tierce/ca/root.pem");
    wait_for("where the authority is", || running.err().contains(root.to_str().unwrap()));
    let root = fs::read_to_string(root).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let mut client = Trust::new(&[&root]).connect(port, name).unwrap();
        assert_eq!(environ(&mut client)["wsgi.url_scheme"], "https");
    }
}

#[test]
fn what_is_wrong_with_certificates_is_said_before_anything_starts() {
    let [a, b] = [certificate(&["a.example"]), certificate(&["b.example"])];
    let served = Served::new(GATEWAY, "", &[("a", &a), ("b", &b), ("c", &a)]);
    served.project.write("a.key", &b.key);
    fs::remove_file(served.project.path().join("c.pem")).unwrap();
    for words in [&["check"][..], &["up"]] {
        let finished = served.project.run(words);
        assert_eq!(finished.code, 78, "{}", finished.err);
        for part in
            ["a.key is not the key of the certificate in", "c.pem cannot be read: No such file", "tierce.toml:3:8"]
        {
            assert!(finished.err.contains(part), "{words:?}: {part}: {}", finished.err);
        }
    }
}
