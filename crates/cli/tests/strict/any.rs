//! Messages put together at random from pieces that are right, wrong and ambiguous, and a reader of its own as the judge.
//!
//! The same messages in every run: what fails once fails again.

use std::{
    cell::Cell,
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread::spawn,
};

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use testkit::{Client, Response, free_port};

use super::{
    SMUGGLED, project,
    reading::{self, By, Not},
    server::Server,
    talk,
};

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// One of the first so many times out of ten, else one of the others.
fn mostly(usual: &'static [&'static str], odd: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![19 => select(usual), 1 => select(odd)].prop_map(str::to_owned)
}

fn line_end() -> impl Strategy<Value = String> {
    prop_oneof![80 => Just("\r\n"), 1 => select(&["\n", "\r", "\r\r\n", "\n\r", " \r\n", "\0\r\n", "\r\n "][..])]
        .prop_map(str::to_owned)
}

fn field() -> impl Strategy<Value = String> {
    let framing = select(
        &[
            "Content-Length: 5",
            "Content-Length: 0",
            "content-length: 35",
            "Content-Length:5",
            "Content-Length: 005",
            "Transfer-Encoding: chunked",
            "transfer-encoding: Chunked",
            "Transfer-Encoding: chunked",
        ][..],
    );
    let plain = select(
        &[
            "X-Pass: a",
            "X-Pass:  b \t",
            "x-pass:",
            "Accept: */*",
            "Cookie: a=b",
            "Expect: 100-continue",
            "Connection: keep-alive",
            "Connection: close",
            "Connection: x-pass",
            "X-Forwarded-For: 6.6.6.6",
            "TE: trailers",
            "Upgrade: websocket",
            "Content_Length: 5",
            "Transfer_Encoding: chunked",
            "X_Forwarded_For: 6.6.6.6",
            "Trailer: x",
            "X-Request-Id: mine",
        ][..],
    );
    let odd = select(
        &[
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length : 5",
            "Content-Length:\t5\x0b",
            "Content-Length: 0x5",
            "Content-Length: 5 5",
            "Content-Length: 18446744073709551616",
            "Content-Length",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\x0b",
            "Transfer-Encoding\t: chunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
            "X: a\r\n Transfer-Encoding: chunked",
            "X: a\nTransfer-Encoding: chunked",
            "X: a\rContent-Length: 5",
            " X: a",
            ": a",
            "X\0: a",
            "X: \0",
            "Host: b",
            "Connection: Host",
            "Connection: content-length, close",
            "Expect: x",
        ][..],
    );
    prop_oneof![6 => framing, 12 => plain, 1 => odd].prop_map(str::to_owned)
}

fn body() -> impl Strategy<Value = String> {
    let usual = [
        "",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        SMUGGLED,
        "23\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n",
    ];
    let odd = [
        "5\nhello\n0\n\n",
        "5\r\nhello0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a\nx\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA\r\n\r\n",
        "5\r\nhelloGET /smuggled",
        "0\r\n\r",
        "5\r\nhel",
        "fffffffffffffffff\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n",
        "0\r\nContent-Length: 5\n\r\n",
    ];
    prop_oneof![4 => proptest::sample::select(usual.to_vec()), 1 => proptest::sample::select(odd.to_vec())]
        .prop_map(str::to_owned)
}

fn request() -> impl Strategy<Value = String> {
    let first = (
        mostly(&["", "", "", "\r\n"], &["\n", "\r\n\r\n", " "]),
        mostly(&["GET", "POST", "HEAD", "PUT", "OPTIONS", "X!"], &["", "G(T", "GET\t", "CONNECT", "get "]),
        mostly(
            &["/a", "/a?b=c", "/%61/../b", "http://a/x", "http://a?y", "//a/b", "*"],
            &["", "a", "/a b", "/a#b", "/\u{e9}", "http://b/"],
        ),
        mostly(
            &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.5"],
            &["HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", ""],
        ),
        line_end(),
    );
    let first =
        first.prop_map(|(before, method, target, version, end)| format!("{before}{method} {target} {version}{end}"));
    let host = mostly(&["Host: a\r\n"], &["", "Host: a, b\r\n", "Host:\r\n", "Host: a\r\nHost: a\r\n", "Host : a\r\n"]);
    let fields = proptest::collection::vec((field(), line_end()), 0..4);
    (first, host, fields, line_end(), body()).prop_map(|(first, host, fields, end, body)| {
        let fields: String = fields.into_iter().map(|(field, end)| field + &end).collect();
        format!("{first}{host}{fields}{end}{body}")
    })
}

/// The central promise: what an upstream gets is a sequence of requests that can be read in one way only, and they are those,
/// in order and from the first on, which the client has sent by the rules. Each has its own answer.
#[test]
fn upstreams_get_what_was_asked_and_nothing_else() {
    let server = Server::new();
    let project = project(&server.url(), "cores = 1");
    let _running = project.up(&["--access-log", "off"]);
    let several = proptest::collection::vec(request(), 1..4).prop_map(|requests| requests.concat());
    let (whole, refused) = (Cell::new(0), Cell::new(0));
    let result = runner(4000).run(&several, |text| {
        // One byte a character, as a client would send it.
        let bytes: Vec<u8> = text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
        let responses = talk(project.port, &bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let got = server.taken();
        let (meant, _) = reading::requests(&bytes, By::Anybody);
        let meant: Vec<_> = meant.iter().filter(|message| message.first[1] != "*").collect();
        prop_assert!(got.len() <= meant.len(), "{got:?}");
        for (got, meant) in got.iter().zip(&meant) {
            let path = meant.first[1].strip_prefix("http://a").unwrap_or(&meant.first[1]);
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            prop_assert_eq!((&got.first[0], &got.first[1], &got.body), (&meant.first[0], &path, &meant.body));
            let named = meant.values("connection").iter().any(|value| value.contains("x-pass"));
            let passed = if named { vec![] } else { meant.values("x-pass") };
            prop_assert_eq!(got.values("x-pass"), passed);
        }
        let answered: Vec<_> = responses.iter().filter_map(|response| response.field("x-seen")).collect();
        let ids: Vec<_> = got.iter().map(|message| message.values("x-request-id")[0]).collect();
        prop_assert_eq!(answered, ids);
        let theirs = responses.iter().filter(|response| response.field("x-seen").is_some());
        prop_assert!(theirs.clone().all(|response| response.field("x-seen") == response.field("x-request-id")));
        whole.update(|count| count + got.len());
        refused.update(|count| count + responses.len() - theirs.count());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let (whole, refused) = (whole.get(), refused.get());
    assert!(
        1000 < whole && 1000 < refused,
        "{whole} were passed on and {refused} refused: the pieces have to give both"
    );
}

fn response() -> impl Strategy<Value = String> {
    let status = mostly(
        &[
            "HTTP/1.1 200 OK",
            "HTTP/1.1 204 No",
            "HTTP/1.1 304 Not",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 500 X",
            "HTTP/1.1 200",
        ],
        &[
            "HTTP/1.1 2000 OK",
            "HTTP/2 200",
            "ICY 200 OK",
            " HTTP/1.1 200 OK",
            "HTTP/1.1 101 Switching",
            "HTTP/1.1 200 \0",
        ],
    );
    let framing = prop_oneof![
        8 => select(&["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 0\r\n", ""][..]),
        2 => select(&["Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5,5\r\n",
            "Content-Length: +5\r\n", "Transfer-Encoding: chunked\r\n x\r\n", "Transfer-Encoding: xchunked\r\n", "Content-Length: 5\n", "Content-Length : 5\r\n"][..]),
    ];
    let field = mostly(
        &[
            "",
            "X: a\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive\r\n",
            "Keep-Alive: timeout=5\r\n",
            "Set-Cookie: a\r\n",
        ],
        &["X: a\r\n b\r\n", "X: \0\r\n", "X\r\n", ": a\r\n", "X: a\rb\r\n"],
    );
    let before = mostly(
        &["", "", "", "HTTP/1.1 103 Early\r\nLink: a\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"],
        &["\r\n", "HTTP/1.1 199 \n\n"],
    );
    (
        before,
        status,
        framing,
        field,
        line_end(),
        body(),
        select(&["", "", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"][..]),
    )
        .prop_map(|(before, status, framing, field, end, body, behind)| {
            format!("{before}{status}\r\n{framing}{field}{end}{body}{behind}")
        })
}

/// Answers each request with the bytes that are set, and those that ask for `/mine` with nothing but that. Ends a connection
/// whose answer has no end of its own.
fn scripted(answer: Arc<Mutex<(Vec<u8>, bool)>>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            spawn(move || {
                let (mut input, mut piece) = (Vec::new(), [0; 4096]);
                loop {
                    while let Ok(message) = reading::request(&input, By::Tierce) {
                        input.drain(..message.length);
                        if message.first[1].starts_with("/mine") {
                            let body = &message.first[1];
                            let mine = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                            let _ = stream.write_all(mine.as_bytes());
                            continue;
                        }
                        let (bytes, stays) = answer.lock().unwrap().clone();
                        let _ = stream.write_all(&bytes);
                        if !stays {
                            return;
                        }
                    }
                    match stream.read(&mut piece) {
                        Ok(count) if 0 < count => input.extend_from_slice(&piece[..count]),
                        _ => return,
                    }
                }
            });
        }
    });
    port
}

/// The same the other way: a client gets what the upstream has said, if that can be read in one way only, and otherwise a 502
/// or half of it; and the next client gets its own answer.
#[test]
fn clients_get_what_was_answered_and_nothing_else() {
    let answer = Arc::new(Mutex::new((Vec::new(), true)));
    let port = scripted(Arc::clone(&answer));
    let project = project(&format!("http://127.0.0.1:{port}"), "cores = 1");
    let running = project.up(&["--access-log", "off"]);
    let (number, whole, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let result = runner(1500).run(&response(), |text| {
        let bytes = text.into_bytes();
        let meant = reading::response(&bytes);
        *answer.lock().unwrap() = (bytes.clone(), meant.is_ok());
        let mut client: Client = running.client();
        client.send("GET /any HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let got = std::iter::repeat_with(|| client.response())
            .find(|response: &std::io::Result<Response>| {
                !response.as_ref().is_ok_and(|response| response.status / 100 == 1)
            })
            .unwrap();
        match (&meant, &got) {
            (Ok((meant, _)), Ok(got)) if got.status != 502 => {
                prop_assert_eq!((got.status, &got.body), (meant.status(), &meant.body));
                whole.update(|count| count + 1);
            }
            (Err(Not::Ended(begin)), Ok(got)) if got.status != 502 => prop_assert_eq!(&got.body[..], &bytes[*begin..]),
            (_, Ok(got)) => {
                prop_assert!(got.status == 502 && got.text().contains("_"), "{meant:?} {got:?}");
                refused.update(|count| count + 1);
            }
            // It had begun before it was seen to be wrong.
            (Err(_), Err(_)) => refused.update(|count| count + 1),
            (Ok(_), Err(error)) => prop_assert!(false, "{meant:?} {error}"),
        }
        number.update(|number| number + 1);
        let mine = format!("/mine/{}", number.get());
        let next = running.client().get(&mine).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!((next.status, next.text()), (200, mine));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let (whole, refused) = (whole.get(), refused.get());
    assert!(300 < whole && 300 < refused, "{whole} were passed on and {refused} refused: the pieces have to give both");
}
