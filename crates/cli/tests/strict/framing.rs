//! How long a request is: attacks by framing that two readers could read differently.

use super::{SMUGGLED, TIERCE, project, server::Server, talk};
use testkit::Project;

/// What each of these becomes: the status that refuses it, or the requests that the upstream gets.
enum Becomes {
    Refused(u16),
    Requests(&'static [(&'static str, &'static str)]),
}

use Becomes::{Refused, Requests};

fn check(set: &str, cases: &[(&str, &str, Becomes)]) {
    let server = Server::new();
    let project = project(&server.url(), "");
    let _running = project.up(&["--access-log", "off"]);
    for (label, request, becomes) in cases {
        let request = request.replace("SMUGGLED", SMUGGLED);
        let responses = talk(project.port, request.as_bytes()).unwrap();
        let got: Vec<_> = server
            .taken()
            .iter()
            .map(|message| (message.first[1].clone(), String::from_utf8_lossy(&message.body).into_owned()))
            .collect();
        match becomes {
            Refused(status) => {
                let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
                assert_eq!((statuses, got), (vec![*status], vec![]), "{set}: {label}");
                assert_eq!(responses[0].field("connection"), Some("close"), "{set}: {label}");
            }
            Requests(expected) => {
                let expected: Vec<_> = expected
                    .iter()
                    .map(|(path, body)| (path.to_string(), body.replace("SMUGGLED", SMUGGLED)))
                    .collect();
                assert_eq!(got, expected, "{set}: {label}");
                assert_eq!(responses.len(), expected.len(), "{set}: {label}");
            }
        }
    }
}

#[test]
fn cl_te_and_te_cl() {
    let cases = [
        ("both", "Content-Length: 6\r\nTransfer-Encoding: chunked", 400),
        ("both, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 6", 400),
        ("both, in other letters", "content-length: 6\r\nTRANSFER-ENCODING: Chunked", 400),
        ("both, with a coding that hides", "Content-Length: 6\r\nTransfer-Encoding: xchunked", 400),
        ("both, with an empty coding", "Content-Length: 6\r\nTransfer-Encoding:", 400),
        ("both, with identity", "Content-Length: 6\r\nTransfer-Encoding: identity", 400),
        ("both, with a coding that is not served", "Content-Length: 6\r\nTransfer-Encoding: gzip, chunked", 501),
    ];
    let texts =
        cases.map(|(_, fields, _)| format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\nXSMUGGLED"));
    let cases: Vec<_> =
        cases.iter().zip(&texts).map(|((label, _, status), text)| (*label, text.as_str(), Refused(*status))).collect();
    check("CL.TE", &cases);
}

#[test]
fn te_te() {
    let mut cases = vec![
        ("two lines".to_owned(), "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".to_owned(), 400),
        (
            "two lines, one of which hides".to_owned(),
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x".to_owned(),
            400,
        ),
        ("a list".to_owned(), "Transfer-Encoding: chunked, chunked".to_owned(), 400),
        ("not the last".to_owned(), "Transfer-Encoding: chunked, identity".to_owned(), 400),
        ("an empty element".to_owned(), "Transfer-Encoding: ,chunked".to_owned(), 400),
        ("in quotes".to_owned(), "Transfer-Encoding: \"chunked\"".to_owned(), 400),
        ("a parameter".to_owned(), "Transfer-Encoding: chunked;a=b".to_owned(), 400),
        ("a space before the colon".to_owned(), "Transfer-Encoding : chunked".to_owned(), 400),
        ("folded".to_owned(), "Transfer-Encoding:\r\n chunked".to_owned(), 400),
        ("behind a folded field".to_owned(), "A: b\r\n Transfer-Encoding: chunked".to_owned(), 400),
        ("behind a line feed".to_owned(), "A: b\nTransfer-Encoding: chunked".to_owned(), 400),
        ("behind a carriage return".to_owned(), "A: b\rTransfer-Encoding: chunked".to_owned(), 400),
        ("another coding first".to_owned(), "Transfer-Encoding: gzip, chunked".to_owned(), 501),
    ];
    // What some readers skip around a value, and others do not.
    for byte in (0..0x20u8).filter(|byte| *byte != b'\t').chain([0x7f]).map(char::from) {
        for text in [format!("{byte}chunked"), format!("chunked{byte}"), format!("chun{byte}ked")] {
            cases.push((format!("{text:?}"), format!("Transfer-Encoding: {text}"), 400));
        }
        cases.push((format!("a name with {byte:?}"), format!("Transfer-Encoding{byte}: chunked"), 400));
    }
    let texts: Vec<_> = cases
        .iter()
        .map(|(_, field, _)| format!("POST /a HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n0\r\n\r\nSMUGGLED"))
        .collect();
    let mut cases: Vec<_> = cases
        .iter()
        .zip(&texts)
        .map(|((label, _, status), text)| (label.as_str(), text.as_str(), Refused(*status)))
        .collect();
    cases.push((
        "HTTP/1.0 has none",
        "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
        Refused(400),
    ));
    check("TE.TE", &cases);
}

#[test]
fn lengths_that_are_none() {
    let lengths = [
        "",
        " ",
        "+6",
        "-0",
        "0x6",
        "6 6",
        "6,6",
        "6, 6",
        "6,",
        ",6",
        "1_0",
        "6.0",
        "6;",
        "\"6\"",
        "٦",
        "1e1",
        "9223372036854775808",
        "18446744073709551616",
        "6\r\nContent-Length: 6",
        "6\r\nContent-Length: 0",
    ];
    let texts = lengths
        .map(|length| format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n0\r\n\r\nXSMUGGLED"));
    let cases: Vec<_> = lengths.iter().zip(&texts).map(|(label, text)| (*label, text.as_str(), Refused(400))).collect();
    check("CL.CL", &cases);
}

#[test]
fn a_body_is_a_body_whatever_the_method_is() {
    check(
        "CL.0",
        &[
            (
                "GET",
                "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nSMUGGLED",
                Requests(&[("/a", "SMUGGLED")]),
            ),
            (
                "HEAD",
                "HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nSMUGGLED",
                Requests(&[("/a", "SMUGGLED")]),
            ),
            (
                "DELETE in chunks",
                "DELETE /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\nSMUGGLED\r\n0\r\n\r\n",
                Requests(&[("/a", "SMUGGLED")]),
            ),
            (
                "OPTIONS",
                "OPTIONS /a HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nSMUGGLEDGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
                Requests(&[("/a", "SMUGGLED"), ("/b", "")]),
            ),
            (
                "leading zeros are one number, and are not passed on",
                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0035\r\n\r\nSMUGGLED",
                Requests(&[("/a", "SMUGGLED")]),
            ),
            (
                "no framing is no body",
                "POST /a HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED",
                Requests(&[("/a", ""), ("/smuggled", "")]),
            ),
            (
                "HTTP/1.0 too",
                "POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nSMUGGLED",
                Requests(&[("/a", ""), ("/smuggled", "")]),
            ),
        ],
    );
}

/// The client says that a body follows, and some reader takes it at its word only later or never.
#[test]
fn zero_cl() {
    check(
        "0.CL",
        &[
            (
                "a client that does not wait for 100",
                "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\nSMUGGLED",
                Requests(&[("/a", "SMUGGLED")]),
            ),
            (
                "the same twice",
                "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\nSMUGGLED",
                Requests(&[("/a", "SMUGGLED")]),
            ),
            (
                "an expectation and no body",
                "GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
                Requests(&[("/a", "")]),
            ),
            (
                "another expectation",
                "POST /a HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\nContent-Length: 35\r\n\r\nSMUGGLED",
                Refused(417),
            ),
            (
                "a folded one",
                "POST /a HTTP/1.1\r\nHost: a\r\nExpect:\r\n 100-continue\r\nContent-Length: 35\r\n\r\nSMUGGLED",
                Refused(400),
            ),
            (
                "a length that hides behind a line feed",
                "POST /a HTTP/1.1\r\nHost: a\r\nA: b\nContent-Length: 35\r\n\r\nSMUGGLED",
                Refused(400),
            ),
            (
                "a length before the first field",
                "POST /a HTTP/1.1\r\n Content-Length: 35\r\nHost: a\r\n\r\nSMUGGLED",
                Refused(400),
            ),
            (
                "a length that ends with a vertical tab",
                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 35\x0b\r\n\r\nSMUGGLED",
                Refused(400),
            ),
        ],
    );
}

#[test]
fn chunks_and_trailers() {
    let bodies = [
        ("a prefix", "0x1\r\na\r\n0\r\n\r\n"),
        ("a sign", "+1\r\na\r\n0\r\n\r\n"),
        ("a separator", "1_0\r\na\r\n0\r\n\r\n"),
        ("a space before", " 1\r\na\r\n0\r\n\r\n"),
        ("a space behind", "1 \r\na\r\n0\r\n\r\n"),
        ("too large by one digit", "00000000000000001\r\na\r\n0\r\n\r\n"),
        ("too large", "10000000000000001\r\na\r\n0\r\n\r\n"),
        ("a line feed", "1\na\r\n0\r\n\r\n"),
        ("a carriage return", "1\ra\r\n0\r\n\r\n"),
        ("two carriage returns", "1\r\r\na\r\n0\r\n\r\n"),
        ("too much data", "1\r\nab\r\n0\r\n\r\n"),
        ("a line feed behind the data", "1\r\na\n0\r\n\r\n"),
        ("nothing behind the data", "1\r\na0\r\n\r\n"),
        ("a semicolon alone", "1;\r\na\r\n0\r\n\r\n"),
        ("an extension with a line feed", "1;a\n\r\na\r\n0\r\n\r\n"),
        ("an extension with a carriage return", "1;a\rb\r\na\r\n0\r\n\r\n"),
        ("a quoted line end", "1;a=\"\r\na\"\r\n0\r\n\r\n"),
        ("an escaped line end", "1;a=\"\\\r\na\"\r\n0\r\n\r\n"),
        ("a quote without end", "1;a=\"b\r\na\r\n0\r\n\r\n"),
        ("an extension with NUL", "1;a=\0\r\na\r\n0\r\n\r\n"),
        ("a line feed for the end", "1\r\na\r\n0\r\n\n"),
        ("a trailer without a name", "1\r\na\r\n0\r\n: x\r\n\r\n"),
        ("a trailer with a space for a name", "1\r\na\r\n0\r\n : x\r\n\r\n"),
        ("a folded trailer", "1\r\na\r\n0\r\nA: b\r\n c\r\n\r\n"),
        ("a trailer with a line feed", "1\r\na\r\n0\r\nA: b\nC: d\r\n\r\n"),
        ("a trailer with a space before the colon", "1\r\na\r\n0\r\nA : b\r\n\r\n"),
    ];
    let texts = bodies
        .map(|(_, body)| format!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}SMUGGLED"));
    let mut cases: Vec<_> =
        bodies.iter().zip(&texts).map(|((label, _), text)| (*label, text.as_str(), Refused(400))).collect();
    // What is right is written anew; the server's reading allows no extensions and no trailers.
    let right = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0001;a=\"\\\"0\";b ; c\t=d\r\na\r\n2 ;x\r\nbc\r\n000;last\r\n\
                 Content-Length: 35\r\nHost: b\r\nTransfer-Encoding: gzip\r\nAuthorization: x\r\n\r\nSMUGGLED";
    cases.push(("all that is allowed", right, Requests(&[("/a", "abc"), ("/smuggled", "")])));
    check("chunks", &cases);
}

#[test]
fn first_lines_and_hosts() {
    let targets = [
        "",
        "a",
        "a:80",
        "*",
        "/a#/../b",
        "/a b",
        "/a\tb",
        "/a\\b",
        "/a<b",
        "/\u{e9}",
        "/%00",
        "/%zz",
        "/..",
        "http://b/",
        "http://u@a/",
        "ftp://a/",
    ];
    let texts = targets.map(|target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED"));
    let mut cases: Vec<_> =
        targets.iter().zip(&texts).map(|(label, text)| (*label, text.as_str(), Refused(400))).collect();
    for (label, text, status) in [
        ("a line feed", "GET /a HTTP/1.1\nHost: a\n\nSMUGGLED", 400),
        ("HTTP/0.9", "GET /a\r\n\r\nSMUGGLED", 400),
        ("HTTP/2", "GET /a HTTP/2.0\r\nHost: a\r\n\r\nSMUGGLED", 505),
        ("a version in small letters", "GET /a http/1.1\r\nHost: a\r\n\r\nSMUGGLED", 400),
        ("two digits", "GET /a HTTP/1.10\r\nHost: a\r\n\r\nSMUGGLED", 400),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nSMUGGLED", 400),
        ("two spaces", "GET  /a HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED", 400),
        ("a tab", "GET\t/a HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED", 400),
        ("a space at the end", "GET /a HTTP/1.1 \r\nHost: a\r\n\r\nSMUGGLED", 400),
        ("two empty lines before it", "\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED", 400),
        ("no host", "GET /a HTTP/1.1\r\n\r\nSMUGGLED", 400),
        ("two hosts", "GET /a HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\nSMUGGLED", 400),
        ("a list of hosts", "GET /a HTTP/1.1\r\nHost: a, b\r\n\r\nSMUGGLED", 400),
        ("a host with a user", "GET /a HTTP/1.1\r\nHost: b@a\r\n\r\nSMUGGLED", 400),
        ("a host with a path", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\nSMUGGLED", 400),
        ("a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED", 405),
        ("TRACE", "TRACE /a HTTP/1.1\r\nHost: a\r\n\r\nSMUGGLED", 405),
    ] {
        cases.push((label, text, Refused(status)));
    }
    cases.push((
        "what is allowed",
        "\r\nX!~ http://a/a?b HTTP/1.9\r\nhost: A:80\r\n\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
        Requests(&[("/a?b", ""), ("/b", "")]),
    ));
    check("first lines", &cases);
}

/// What the edge answers itself leaves no byte of a body that could be taken for a request.
#[test]
fn answers_of_our_own_leave_no_body_behind() {
    let server = Server::new();
    let routes = "[[route]]\npath = \"/moved\"\nredirect = \"/new\"\n[[route]]\npath = \"/gone\"\nrespond = 410\n\
                  [[route]]\npath = \"/shut\"\ndeny = [\"127.0.0.1\"]\nrespond = 200";
    let project = Project::new(
        TIERCE,
        "",
        &format!("upstream = [{:?}]\nhealth.every = \"1h\"\nlimits.body = \"1kB\"\n{routes}", server.url()),
    );
    let _running = project.up(&["--access-log", "off"]);
    for (path, status) in [("/moved", 302), ("/gone", 410), ("/shut", 403), ("/long", 413), ("*", 200)] {
        let length = if path == "/long" { 4000 } else { SMUGGLED.len() };
        let method = if path == "*" { "OPTIONS" } else { "POST" };
        for framing in
            [format!("Content-Length: {length}\r\n\r\n"), format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n")]
        {
            let body = SMUGGLED.repeat(length / SMUGGLED.len() + 1);
            let text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}{}", &body[..length]);
            let text = if framing.starts_with('T') { text + "\r\n0\r\n\r\n" } else { text };
            let statuses: Vec<_> = talk(project.port, text.as_bytes()).unwrap().iter().map(|it| it.status).collect();
            assert_eq!(statuses, [status], "{method} {path} {framing}");
            let read = server.taken();
            assert!(read.is_empty(), "{method} {path} {framing}: {read:?}");
        }
    }
}
