//! "Input and Error Streams".

use testkit::{Client, wait_for};

use crate::{escaped, notes, project, up};

const BODY: &str = "one\ntwo\n\nfour";

/// The same bytes: with a length; in chunks that end inside of lines; and so long that they are not sent at once.
fn send(client: &mut Client, path: &str, framing: &str) {
    match framing {
        "length" => {
            client
                .send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len()))
                .unwrap();
        }
        "chunked" => {
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")).unwrap();
            for piece in ["2\r\non\r\n", "5\r\ne\ntwo\r\n", "2\r\n\n\n\r\n", "4\r\nfour\r\n", "0\r\n\r\n"] {
                client.send(piece).unwrap();
            }
        }
        _ => {
            let expects = "Expect: 100-continue\r\n";
            client
                .send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{expects}Content-Length: {}\r\n\r\n", BODY.len()))
                .unwrap();
            assert_eq!(client.head().unwrap().status, 100);
            client.send(BODY).unwrap();
        }
    }
}

#[test]
fn every_form_of_reading() {
    let project = project();
    let running = up(&project);
    let whole = r"b'one\ntwo\n\nfour'";
    let lines = r"[b'one\n', b'two\n', b'\n', b'four']";
    for (expression, expected) in [
        ("i.read()", whole),
        ("i.read(-1)", whole),
        ("i.read(None)", whole),
        ("i.read(99)", whole),
        ("[i.read(0), i.read(5)]", r"[b'', b'one\nt']"),
        ("[i.read(5), i.read(5), i.read(5), i.read(5)]", r"[b'one\nt', b'wo\n\nf', b'our', b'']"),
        ("[i.read(), i.read(), i.read(1), i.readline(), i.readlines(), list(i)]", r"[WHOLE, b'', b'', b'', [], []]"),
        ("i.readline()", r"b'one\n'"),
        ("[i.readline(-1), i.readline(None)]", r"[b'one\n', b'two\n']"),
        ("[i.readline(2), i.readline(2), i.readline(0), i.readline(99)]", r"[b'on', b'e\n', b'', b'two\n']"),
        ("[i.readline(4), i.readline(4)]", r"[b'one\n', b'two\n']"),
        ("i.readlines()", lines),
        ("i.readlines(None)", lines),
        ("i.readlines(-1)", lines),
        ("i.readlines(0)", lines),
        ("i.readlines(1)", r"[b'one\n']"),
        ("i.readlines(5)", r"[b'one\n', b'two\n']"),
        ("[i.readlines(1), i.readlines()]", r"[[b'one\n'], [b'two\n', b'\n', b'four']]"),
        ("list(i)", lines),
        ("[next(i), i.read(1), i.readline(), [*i]]", r"[b'one\n', b't', b'wo\n', [b'\n', b'four']]"),
        ("iter(i) is i", "True"),
        ("i.close()", "None"),
    ] {
        for framing in ["length", "chunked", "expected"] {
            if framing == "expected" && matches!(expression, "iter(i) is i" | "i.close()") {
                continue; // It is asked for by nobody.
            }
            let mut client = running.client();
            send(&mut client, &format!("/input?{}", escaped(expression)), framing);
            let expected = expected.replace("WHOLE", whole);
            assert_eq!(client.response().unwrap().text(), expected, "{expression} of a body with {framing}");
        }
    }
    assert_eq!(running.client().get("/input?i.read()").unwrap().text(), "b''", "there is none");
    assert_eq!(running.client().get("/input?list(i)").unwrap().text(), "[]");
}

#[test]
fn lines_and_blocks_are_whole_however_long_they_are() {
    let project = project();
    let running = up(&project);
    let body = [vec![b'x'; 200_000], b"\n".to_vec(), vec![b'y'; 100_000]].concat();
    for (expression, expected) in [
        ("[len(line) for line in i]", "[200001, 100000]"),
        ("[len(i.readline(150000)), len(i.readline()), len(i.read())]", "[150000, 50001, 100000]"),
        ("[len(i.read(65537)), len(i.read(7)), len(i.read())]", "[65537, 7, 234457]"),
        ("sum(len(piece) for piece in iter(lambda: i.read(1000), b''))", "300001"),
    ] {
        let mut client = running.client();
        assert_eq!(client.post(&format!("/input?{}", escaped(expression)), &body).unwrap().text(), expected);
    }
}

#[test]
fn what_follows_the_body_is_not_part_of_it() {
    let project = project();
    let running = up(&project);
    for (fields, body) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")]
    {
        let mut client = running.client();
        let next = "GET /value?REQUEST_METHOD HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!("POST /input?i.read() HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}{next}")).unwrap();
        assert_eq!(client.response().unwrap().text(), "b'hello'", "{fields}");
        assert_eq!(client.response().unwrap().text(), "'GET'", "{fields}");
    }
}

#[test]
fn no_more_is_waited_for_than_is_asked_for() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello").unwrap();
    assert_eq!(client.response().unwrap().text(), "b'hello'");
}

#[test]
fn a_body_that_ends_early_is_no_end_of_file() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello").unwrap();
    wait_for("it to read", || notes(&project, "cut begins") == 1);
    drop(client);
    wait_for("an exception", || notes(&project, "cut ConnectionAbortedError") == 1);
    running.wait_until_idle();
}

#[test]
fn what_is_written_to_wsgi_errors_is_in_the_log() {
    let project = project();
    let running = up(&project);
    assert_eq!(running.client().get("/errors").unwrap().status, 200);
    for line in ["written caf\u{e9} \u{20ac} \\udcff\n", "| one line\n", "| another line\n"] {
        wait_for(line, || running.out().contains(line));
    }
}
