//! The codec beside hyper's. The oracle is one-way: what we accept hyper accepts too, with the same method, target, fields,
//! framing and body; what we refuse may be anything. Where that is not so, the reason stands in one of two tables.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::{
    BodyDecoder, Framing, Limits, ReceivedBody, ReceivedHead, RequestHead, Version, parse_request, parse_response,
};
use hyper::{
    HeaderMap, Request, Response,
    body::{Body, Incoming},
    client, rt, server,
    service::service_fn,
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// A message as either of us reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    /// Method, path and query; or the status.
    first: (String, String, String),
    /// By name, in order.
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    body: Vec<u8>,
}

/// What a difference is called, and whether this message has it.
type Difference<H> = (&'static str, fn(&[u8], &H) -> bool);

/// What hyper does not accept, or reads otherwise, although we are right to accept it.
const OF_REQUESTS: [Difference<RequestHead>; 2] = [
    // RFC 9110 §2.5: a higher minor version is read as the highest one that is known; httparse knows 0 and 1.
    ("HTTP/1.2 to 1.9", |input, _| has_other_minor(input)),
    // RFC 3986 does not have it; browsers send it, and nobody takes it for anything else.
    ("a grave accent in a path", |input, head| head.path.of(input).contains(&b'`')),
];

const OF_RESPONSES: [Difference<ReceivedHead>; 2] = [
    ("HTTP/1.2 to 1.9", |input, _| has_other_minor(input)),
    // RFC 9112 §6.1: what it means there is not known. We read chunks and do not use the connection again; hyper refuses.
    ("chunks in HTTP/1.0", |input, head| {
        input.starts_with(b"HTTP/1.0") && head.body == ReceivedBody::Framed(Framing::Chunked)
    }),
];

fn has_other_minor(input: &[u8]) -> bool {
    let versions = input.windows(8).filter(|eight| eight.starts_with(b"HTTP/1."));
    versions.into_iter().any(|version| matches!(version[7], b'2'..=b'9'))
}

// --- how we read ---

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn by_name(fields: &[http::Field], input: &[u8]) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut named: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for field in fields {
        named.entry(text(field.name.of(input)).to_lowercase()).or_default().push(field.value.of(input).to_vec());
    }
    named
}

/// The data, and how many bytes it takes; nothing when it is not all here or not right.
fn body(framing: Framing, input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at) = (Vec::new(), 0);
    while !decoder.is_done() {
        let decoded = decoder.decode(&input[at..]).ok()?;
        data.extend_from_slice(&input[at..][decoded.data]);
        at += decoded.consumed;
        if decoded.consumed == 0 && !decoded.done {
            return None;
        }
    }
    Some((data, at))
}

/// The requests at the beginning of `input` that we accept, each with whether hyper is known to differ.
fn our_requests(mut input: &[u8]) -> Vec<(Read, bool)> {
    let (mut head, mut requests) = (RequestHead::default(), Vec::new());
    while let Ok(Some(length)) = parse_request(input, &Limits::default(), &mut head) {
        let Some((body, taken)) = body(head.framing, &input[length..]) else { break };
        let path = text(head.path.of(input));
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let first = (text(head.method.of(input)), path, text(head.query.of(input)));
        let differs = OF_REQUESTS.iter().any(|(_, known)| known(&input[..length], &head));
        requests.push((Read { first, fields: by_name(&head.fields, input), body }, differs));
        if !head.keep_alive || head.version == Version::Http10 {
            break;
        }
        input = &input[length + taken..];
    }
    requests
}

/// The final response at the beginning of `input`, if we accept it.
fn our_response(mut input: &[u8], to_head: bool) -> Option<(Read, bool)> {
    let mut head = ReceivedHead::default();
    let mut before = 0;
    let length = loop {
        let length = parse_response(input, &Limits { fields: 100, ..Limits::default() }, to_head, &mut head).ok()??;
        if !head.is_interim() {
            break length;
        }
        before += 1;
        if head.status == 101 || 16 < before {
            return None;
        }
        input = &input[length..];
    };
    let body = match head.body {
        ReceivedBody::Framed(framing) => body(framing, &input[length..])?.0,
        ReceivedBody::UntilClose => input[length..].to_vec(),
    };
    let differs = OF_RESPONSES.iter().any(|(_, known)| known(input, &head));
    let first = (head.status.to_string(), String::new(), String::new());
    Some((Read { first, fields: by_name(&head.fields, input), body }, differs))
}

// --- how hyper reads ---

/// A connection on which all is there at once, after something was written if need be.
struct Replay {
    input: Vec<u8>,
    at: usize,
    is_open: Rc<Cell<bool>>,
}

impl rt::Read for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_open.get() {
            return Poll::Pending;
        }
        let count = buffer.remaining().min(self.input.len() - self.at);
        buffer.put_slice(&self.input[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Replay {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_open.set(true);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Everything is ready, or never will be: a few looks are enough.
const LOOKS: usize = 100;

async fn collect(mut body: Incoming) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(bytes) = frame.ok()?.into_data() {
            data.extend_from_slice(&bytes);
        }
    }
    Some(data)
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<Vec<u8>>> {
    let values = |name| headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
    headers.keys().map(|name| (name.as_str().to_owned(), values(name))).collect()
}

fn hyper_requests(input: &[u8]) -> Vec<Read> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let noted = Rc::clone(&noted);
        async move {
            let uri = request.uri().clone();
            let first =
                (request.method().to_string(), uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
            let fields = headers(request.headers());
            if let Some(body) = collect(request.into_body()).await {
                noted.borrow_mut().push(Read { first, fields, body });
            }
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let replay = Replay { input: input.to_vec(), at: 0, is_open: Rc::new(Cell::new(true)) };
    let mut builder = server::conn::http1::Builder::new();
    let mut serving = pin!(builder.half_close(true).header_read_timeout(None).serve_connection(replay, service));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..LOOKS {
        if serving.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    seen.take()
}

fn hyper_response(input: &[u8], method: &str) -> Option<Read> {
    let replay = Replay { input: input.to_vec(), at: 0, is_open: Rc::default() };
    let mut context = Context::from_waker(Waker::noop());
    let mut shaking = pin!(client::conn::http1::handshake::<_, String>(replay));
    let Poll::Ready(Ok((mut sender, connection))) = shaking.as_mut().poll(&mut context) else { return None };
    let request = Request::builder().method(method).uri("/").header("host", "a").body(String::new()).unwrap();
    let mut connection = pin!(connection);
    let mut asking = pin!(async {
        let response = sender.send_request(request).await.ok()?;
        let first = (response.status().as_str().to_owned(), String::new(), String::new());
        let fields = headers(response.headers());
        Some(Read { first, fields, body: collect(response.into_body()).await? })
    });
    let mut over = false;
    for _ in 0..LOOKS {
        if let Poll::Ready(read) = asking.as_mut().poll(&mut context) {
            return read;
        }
        over = over || connection.as_mut().poll(&mut context).is_ready();
    }
    None
}

// --- what is read ---

fn runner() -> TestRunner {
    let config = Config { cases: 4000, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn some(usual: &'static [&'static str], odd: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![12 => select(usual), 1 => select(odd)].prop_map(str::to_owned)
}

fn line_end() -> impl Strategy<Value = String> {
    some(&["\r\n"], &["\r\n", "\n", "\r", " \r\n", "\t\r\n", "\x0b\r\n"])
}

fn field() -> impl Strategy<Value = String> {
    some(
        &[
            "Content-Length: 5",
            "content-length:5\t",
            "Content-Length: 005",
            "Transfer-Encoding: chunked",
            "transfer-encoding:\tChunked",
            "X-A: b",
            "x-a:",
            "X-A:  b  c\t",
            "X!#$%&'*+-.^_`|~9: b",
            "X: \u{e9}\u{ff}",
            "Connection: keep-alive",
            "Connection: x-a, close",
            "Expect: 100-continue",
            "TE: trailers",
            "Upgrade: x",
            "X: \"a\\\"\"",
            "Keep-Alive: timeout=5",
        ],
        &[
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: x",
            "X : a",
            ": a",
            "X",
            "X: \0",
            "X: a\r\n b",
            "Host: b",
            "Connection: host",
        ],
    )
}

fn data() -> impl Strategy<Value = String> {
    some(
        &[
            "",
            "hello",
            "5\r\nhello\r\n0\r\n\r\n",
            "005;a=\"b;c\" ; d\r\nhello\r\n00\r\nX-T: a\r\nx-t:\r\n\r\n",
            "0\r\n\r\n",
            "a ;x\r\n0123456789\r\nF\r\n0123456789abcde\r\n0;y\r\n\r\n",
        ],
        &[
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\n",
            "5\r\nhello\r\n0\r\nX\r\n\r\n",
            "hel",
        ],
    )
}

fn request() -> impl Strategy<Value = String> {
    let first = (
        some(&["", "\r\n"], &["\n", "\r\n\r\n"]),
        some(&["GET", "POST", "HEAD", "DELETE", "OPTIONS", "PATCH", "X!#$%&'*+-.^_`|~9"], &["", "G(T", "get"]),
        some(
            &[
                "/",
                "/a/b;c=d?e=f?g",
                "//a",
                "/%61%2f..",
                "/a!$&'()*+,;=:@-._~",
                "/?",
                "http://a",
                "http://a/b?c",
                "http://A:80?d",
                "/{}|^[]",
                "/a?{}|^`[]",
            ],
            &["*", "/`", "", "a", "/#", "/\u{e9}", "/\"", "/<", "http://b/"],
        ),
        some(&["HTTP/1.1", "HTTP/1.0", "HTTP/1.1"], &["HTTP/1.5", "HTTP/2.0", "http/1.1"]),
        line_end(),
    );
    let host = some(&["Host: a\r\n", "host:a\r\n"], &["", "Host: a,b\r\n"]);
    let fields = proptest::collection::vec((field(), line_end()), 0..4);
    (first, host, fields, line_end(), data()).prop_map(
        |((before, method, target, version, end), host, fields, last, data)| {
            let fields: String = fields.into_iter().map(|(field, end)| field + &end).collect();
            format!("{before}{method} {target} {version}{end}{host}{fields}{last}{data}")
        },
    )
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

#[test]
fn what_we_accept_of_clients_is_what_hyper_reads() {
    let (accepted, excepted) = (Cell::new(0), Cell::new(0));
    let several = proptest::collection::vec(request(), 1..3).prop_map(|requests| requests.concat());
    let result = runner().run(&several, |text| {
        let input = bytes(&text);
        let theirs = hyper_requests(&input);
        for (at, (ours, differs)) in our_requests(&input).iter().enumerate() {
            if *differs {
                excepted.set(excepted.get() + 1);
                break;
            }
            prop_assert_eq!(Some(ours), theirs.get(at));
            accepted.set(accepted.get() + 1);
        }
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
    assert!(500 < accepted.get() && 0 < excepted.get(), "{accepted:?} {excepted:?}");
}

#[test]
fn what_we_accept_of_upstreams_is_what_hyper_reads() {
    let (accepted, excepted) = (Cell::new(0), Cell::new(0));
    let first = some(
        &[
            "HTTP/1.1 200 OK",
            "HTTP/1.1 204 ",
            "HTTP/1.1 304 Not",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 599 \u{e9}",
            "HTTP/1.1 200",
        ],
        &["HTTP/1.5 200 OK", "HTTP/2 200 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 200 \0"],
    );
    let before = some(&["", "", "HTTP/1.1 103 Early\r\nLink: a\r\n\r\n"], &["\r\n", "HTTP/1.1 101 Switch\r\n\r\n"]);
    let fields = proptest::collection::vec((field(), line_end()), 0..4);
    let message =
        (before, first, line_end(), fields, line_end(), data()).prop_map(|(before, first, end, fields, last, data)| {
            let fields: String = fields.into_iter().map(|(field, end)| field + &end).collect();
            format!("{before}{first}{end}{fields}{last}{data}")
        });
    let result = runner().run(&(message, any::<bool>()), |(text, to_head)| {
        let input = bytes(&text);
        match our_response(&input, to_head) {
            Some((_, true)) => excepted.set(excepted.get() + 1),
            Some((ours, false)) => {
                prop_assert_eq!(Some(ours), hyper_response(&input, if to_head { "HEAD" } else { "GET" }));
                accepted.set(accepted.get() + 1);
            }
            None => {}
        }
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
    assert!(500 < accepted.get() && 0 < excepted.get(), "{accepted:?} {excepted:?}");
}
