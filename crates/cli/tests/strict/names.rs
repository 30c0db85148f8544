//! Fields that hide: behind `_`, behind Connection, behind lengths that overflow, behind an empty name.

use super::{project, reading::Message, server::Server, talk};

fn seen(keys: &str, fields: &str) -> Result<Message, u16> {
    let server = Server::new();
    let project = project(&server.url(), keys);
    let _running = project.up(&["--access-log", "off"]);
    let responses = talk(project.port, format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
    let mut read = server.taken();
    assert_eq!((responses.len(), read.len() <= 1), (1, true));
    read.pop().ok_or(responses[0].status)
}

#[test]
fn what_variables_cannot_tell_from_our_own_fields_is_not_passed_on() {
    let fields = "X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\nx_request_id: x\r\nContent_Length: 5\r\n\
                  Transfer_Encoding: chunked\r\nX_Real_IP: 6.6.6.6\r\nKeep_Alive: x\r\nProxy_Connection: x\r\n\
                  X_User: admin\r\nx-user: admin\r\nX-Role: admin\r\nX_ROLE: admin\r\na_b: 1\r\n";
    let keys = "[[route]]\nset_request_header = { X-User = \"nobody\" }\nremove_request_header = [\"X-Role\"]";
    let message = seen(keys, fields).unwrap();
    let theirs = |name: &str| name.starts_with("x-user") || name.contains('_') || name.contains("role");
    let fields: Vec<_> = message.fields.iter().filter(|(name, _)| theirs(name)).collect();
    assert_eq!(fields, [&("a_b".to_owned(), "1".to_owned()), &("x-user".to_owned(), "nobody".to_owned())]);
    assert_eq!(message.values("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn connection_takes_away_what_it_names_and_nothing_of_ours() {
    let fields = "Connection: Foo, b_c,,tracestate , X-Request-Id\r\nFoo: 1\r\nb_c: 1\r\nBar: 1\r\n\
                  traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\
                  TE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy: x\r\n";
    let message = seen("", fields).unwrap();
    let names: Vec<_> = message.fields.iter().map(|(name, _)| name.as_str()).collect();
    let ours = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent"];
    assert_eq!(names, [&["host", "bar"][..], &ours].concat());
    for name in ["Host", "Content-Length", "X-Forwarded-For", "forwarded", "X-Real-Ip", "Cookie", "authorization"] {
        assert_eq!(seen("", &format!("Connection: close, {name}\r\n")).map(|_| ()), Err(400), "{name}");
    }
}

#[test]
fn no_name_is_cut_and_none_is_empty() {
    let server = Server::new();
    let project = project(&server.url(), "");
    let _running = project.up(&["--access-log", "off"]);
    for length in [127, 128, 255, 256, 257, 300, 8_000, 65_535, 65_536, 65_551] {
        let name = format!("Content-Length{}", "a".repeat(length - 14));
        let text = format!("POST /a HTTP/1.1\r\nHost: a\r\n{name}: 5\r\n\r\n");
        let responses = talk(project.port, text.as_bytes()).unwrap();
        let read = server.taken();
        if length <= 8_000 {
            assert_eq!((responses[0].status, read[0].values(&name.to_lowercase())), (200, vec!["5"]), "{length}");
        } else {
            assert_eq!((responses[0].status, read.len()), (431, 0), "{length}");
        }
    }
    for field in [": x", " : x", "\t: x", "x", "A B: x", "A\u{e9}: x", "A(: x", "A: \0", "A: \u{7f}", "A: b\rc"] {
        let text = format!("GET /a HTTP/1.1\r\nHost: a\r\n{field}\r\nContent-Length: 0\r\n\r\n");
        let statuses: Vec<_> = talk(project.port, text.as_bytes()).unwrap().iter().map(|it| it.status).collect();
        assert_eq!((statuses, server.taken()), (vec![400], vec![]), "{field:?}");
    }
    // Bytes that are no ASCII pass as they are.
    let text = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Pass: \xe9\xff\r\n\r\n";
    talk(project.port, text).unwrap();
    assert_eq!(server.taken()[0].values("x-pass"), ["\u{e9}\u{ff}"]);
}

#[test]
fn heads_have_a_size() {
    let server = Server::new();
    let project = project(&server.url(), "");
    let _running = project.up(&["--access-log", "off"]);
    let with = |fields: String| format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (label, text, status) in [
        ("99 more fields", with("A: b\r\n".repeat(99)), 200),
        ("100 more fields", with("A: b\r\n".repeat(100)), 431),
        ("a target of 8,000 bytes", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(7_999)), 200),
        ("one that is longer than 8 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8_192)), 414),
        ("a long field", with(format!("A: {}\r\n", "b".repeat(17_000))), 431),
        ("a long head", with(format!("A: {0}\r\nB: {0}\r\nC: {0}\r\n", "b".repeat(12_000))), 431),
        ("a head without end", format!("GET /a HTTP/1.1\r\nHost: a\r\nA: {}", "b".repeat(1_000_000)), 431),
    ] {
        let statuses: Vec<_> = talk(project.port, text.as_bytes()).unwrap().iter().map(|it| it.status).collect();
        assert_eq!((statuses, server.taken().len()), (vec![status], usize::from(status == 200)), "{label}");
    }
}
