//! What is answered in the application's place, in the form that the client likes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Project, Response, Running};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = r#"
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(5)
    raise ValueError("a secret of the application")
"#;

fn send(running: &Running<'_>, target: &str, accept: &str) -> Response {
    let mut client = running.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{accept}\r\n")).unwrap();
    client.response().unwrap()
}

#[test]
fn an_ending_has_a_page_in_the_form_that_is_liked() {
    let project = Project::new(TIERCE, APP, "app = 'app:app'\nworkers = 1\nlimits = { time = '200ms' }");
    let running = project.up(&["--access-log", "off"]);
    let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
    for (accept, kind, part) in [
        ("", "text/plain; charset=utf-8", "app_exception: "),
        ("Accept: */*\r\n", "text/plain; charset=utf-8", "500 Internal Server Error\n"),
        (browser, "text/html; charset=utf-8", "<h1>500 Internal Server Error</h1>"),
        ("Accept: application/json\r\n", "application/problem+json", "\"status\":500"),
        ("Accept: application/json, text/plain, */*\r\n", "application/problem+json", "\"ending\":\"app_exception\""),
    ] {
        let response = send(&running, "/script", accept);
        let fields = ["content-type", "cache-control", "proxy-status"].map(|name| response.field(name).unwrap());
        assert_eq!((response.status, fields), (500, [kind, "no-store", "tierce; error=app_exception"]), "{accept}");
        let (text, id) = (response.text(), response.field("x-request-id").unwrap());
        assert!(text.contains(part) && text.contains(id), "{accept}: {text}");
        for inside in ["secret", "app.py", "Traceback", "script", project.path().to_str().unwrap()] {
            assert!(!text.contains(inside), "{inside}: {text}");
        }
    }
    let problem = send(&running, "/", "Accept: application/problem+json\r\n");
    let value: serde_json::Value = serde_json::from_slice(&problem.body).unwrap();
    for (name, expected) in [
        ("type", "about:blank".into()),
        ("title", "Internal Server Error".into()),
        ("status", serde_json::json!(500)),
        ("ending", "app_exception".into()),
        ("request_id", problem.field("x-request-id").unwrap().into()),
    ] {
        assert_eq!(value[name], expected, "{name}");
    }
    let late = send(&running, "/slow", "Accept: application/json\r\n");
    assert_eq!((late.status, late.field("proxy-status")), (504, Some("tierce; error=http_response_timeout")));
}

#[test]
fn what_is_refused_says_so_and_an_answer_of_the_application_does_not() {
    let app = "def app(environ, start_response):\n    start_response('404 Not Found', [])\n    return [b'mine']\n";
    let project = Project::new(TIERCE, app, "app = 'app:app'\nworkers = 1\nlimits = { body = '10B' }");
    let running = project.up(&["--access-log", "off"]);
    let own = send(&running, "/", "Accept: application/json\r\n");
    assert_eq!((own.status, own.field("proxy-status"), own.text().as_str()), (404, None, "mine"));
    let mut client = running.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: 11\r\n\r\n").unwrap();
    let large = client.response().unwrap();
    let expected = "tierce; error=http_request_error; details=\"body_too_large\"";
    assert_eq!((large.status, large.field("proxy-status")), (413, Some(expected)));
    assert_eq!(large.field("content-type"), Some("application/problem+json"));
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\n\r\n").unwrap();
    let refused = client.response().unwrap();
    let expected = "tierce; error=http_request_error; details=\"http_protocol_error\"";
    assert_eq!((refused.status, refused.field("proxy-status")), (400, Some(expected)));
}

#[test]
fn the_answer_to_head_has_the_length_and_no_body() {
    let project = Project::new(TIERCE, APP, "app = 'app:app'\nworkers = 1");
    let running = project.up(&["--access-log", "off"]);
    for accept in ["", "Accept: text/html\r\n", "Accept: application/json\r\n"] {
        let length = send(&running, "/", accept).body.len();
        let mut client = running.client();
        client.send(format!("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{accept}\r\n")).unwrap();
        let head = client.head().unwrap();
        assert_eq!((head.status, head.field("content-length")), (500, Some(length.to_string().as_str())), "{accept}");
        assert_eq!(client.rest().unwrap(), b"");
    }
}
