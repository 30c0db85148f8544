//! "environ Variables" and "URL Reconstruction".

use testkit::Project;

use crate::{APP, TIERCE, get, project, up};

#[test]
fn it_is_a_dict_of_native_strings_with_all_that_must_be_there() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send(b"GET /violations HTTP/1.1\r\nHost: a\r\nX-Latin: caf\xe9\r\nCookie: \xc3\xa9\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().text(), "");
    assert_eq!(client.post("/violations", b"body").unwrap().text(), "");
    client.send("GET /violations HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().text(), "");
}

#[test]
fn variables_say_what_the_request_says() {
    let project = project();
    let running = up(&project);
    let port = format!("'{}'", project.port);
    let rows = [
        // Request line: percent-decoded once, in latin-1; nothing is collapsed or cut.
        ("GET /value?REQUEST_METHOD", "", "'GET'"),
        ("PURGE /value?REQUEST_METHOD", "", "'PURGE'"),
        ("GET /value?SCRIPT_NAME", "", "''"),
        ("GET /value/a?PATH_INFO", "", "'/value/a'"),
        ("GET /value/caf%C3%A9?PATH_INFO", "", r"'/value/caf\xc3\xa9'"),
        ("GET /value/a%2Fb//c;d=e?PATH_INFO", "", "'/value/a/b//c;d=e'"),
        ("GET /value/%2561+%20?PATH_INFO", "", "'/value/%61+ '"),
        ("GET http://a/value/x?PATH_INFO", "", "'/value/x'"),
        ("GET http://a?PATH_INFO", "", "'/'"),
        ("GET /value/%2561?REQUEST_URI", "", "'/value/%2561?REQUEST_URI'"),
        ("GET /value/%2561?RAW_URI", "", "'/value/%2561?RAW_URI'"),
        ("GET /value?QUERY_STRING", "", "'QUERY_STRING'"),
        ("GET /value?wsgi.url_scheme", "", "'http'"),
        ("GET /value?SERVER_PROTOCOL", "", "'HTTP/1.1'"),
        ("GET /value?SERVER_PORT", "", &port),
        // Fields: CONTENT_* without prefix and only where they were sent.
        ("GET /value?CONTENT_LENGTH", "", "None"),
        ("GET /value?CONTENT_TYPE", "", "None"),
        ("POST /value?CONTENT_LENGTH", "Content-Length: 0\r\n", "'0'"),
        ("POST /value?CONTENT_TYPE", "Content-Type: Text/X; y=z\r\n", "'Text/X; y=z'"),
        ("POST /value?HTTP_CONTENT_TYPE", "Content-Type: text/x\r\n", "None"),
        ("POST /value?HTTP_CONTENT_LENGTH", "Content-Length: 0\r\n", "None"),
        ("POST /value?CONTENT_LENGTH", "Transfer-Encoding: chunked\r\n", "None"),
        ("POST /value?HTTP_TRANSFER_ENCODING", "Transfer-Encoding: chunked\r\n", "None"),
        ("GET /value?HTTP_X_A", "x-A:  b c\t\r\n", "'b c'"),
        ("GET /value?HTTP_X_A", "X-A: \r\n", "''"),
        ("GET /value?HTTP_X_NOT_SENT", "", "None"),
        // What the server says of itself.
        ("GET /value?wsgi.version", "", "(1, 0)"),
        ("GET /value?wsgi.run_once", "", "False"),
        ("GET /value?wsgi.input_terminated", "", "True"),
    ];
    for (line, fields, expected) in rows {
        let mut client = running.client();
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap();
        if fields.contains("chunked") {
            client.send("0\r\n\r\n").unwrap();
        }
        assert_eq!(client.response().unwrap().text(), expected, "{line} {fields}");
    }
    let mut old = running.client();
    old.send("GET /value?SERVER_PROTOCOL HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!(old.response().unwrap().text(), "'HTTP/1.0'");
    old.send("GET /value?HTTP_HOST HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(old.response().unwrap().text(), "None", "no Host is made up");
}

#[test]
fn threads_and_processes_are_told_truthfully() {
    for (keys, multithread) in [("workers = 1", "True"), ("workers = 1\nthreads = 1", "False"), ("workers = 2", "True")]
    {
        let project = Project::new(TIERCE, APP, keys);
        let running = up(&project);
        assert_eq!(get(&mut running.client(), "value", "wsgi.multithread").text(), multithread, "{keys}");
        // A reload, a replacement, or `scale` can put a second process beside it at any time.
        assert_eq!(get(&mut running.client(), "value", "wsgi.multiprocess").text(), "True", "{keys}");
    }
}

#[test]
fn the_application_may_change_it() {
    let project = project();
    let running = up(&project);
    for _ in 0..3 {
        assert_eq!(get(&mut running.client(), "changed", "").text(), "(None, True)");
    }
}
