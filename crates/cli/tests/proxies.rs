//! Whom is believed what is said of the client.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use testkit::{Client, Project, Response, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");

fn ask(client: &mut Client, fields: &str) -> (Value, Response) {
    client.send(format!("GET / HTTP/1.1\r\nHost: inside\r\n{}\r\n\r\n", fields.replace('\n', "\r\n"))).unwrap();
    let response = client.response().unwrap();
    (serde_json::from_slice(&response.body).unwrap(), response)
}

fn told(environ: &Value, names: [&str; 4]) -> [Option<String>; 4] {
    names.map(|name| environ[name].as_str().map(ToOwned::to_owned))
}

const TOLD: [&str; 4] = ["REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTP_HOST"];

fn some(texts: [&str; 4]) -> [Option<String>; 4] {
    texts.map(|text| Some(text.to_owned()))
}

#[test]
fn a_trusted_proxy_is_believed() {
    let keys = "workers = 1\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
    let project = Project::new(TIERCE, GATEWAY, keys);
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    for (fields, expected) in [
        ("X-Forwarded-For: 192.0.2.1", ["192.0.2.1", "0", "http", "inside"]),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.1:82, 10.1.2.3", ["192.0.2.1", "82", "http", "inside"]),
        ("X-Forwarded-For: 2001:db8::1\nX-Forwarded-Proto: https", ["2001:db8::1", "0", "https", "inside"]),
        (
            "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Host: a.example:444\nX-Forwarded-Proto: http",
            ["192.0.2.1", "0", "http", "a.example:444"],
        ),
        (
            "Forwarded: for=6.6.6.6, for=\"192.0.2.1:82\";proto=https;host=b.example",
            ["192.0.2.1", "82", "https", "b.example"],
        ),
    ] {
        let (environ, _) = ask(&mut client, fields);
        assert_eq!(told(&environ, TOLD), some(expected), "{fields}");
    }
    wait_for("the client in the log", || running.out().contains("\"client.address\":\"2001:db8::1\""));
    // What nobody can have meant: the peer it is.
    for fields in
        ["X-Forwarded-For: unknown\nX-Forwarded-Proto: https", "Forwarded: for=_a;proto=https", "X-Real-IP: 6.6.6.6"]
    {
        let (environ, response) = ask(&mut client, fields);
        assert_eq!(response.status, 200);
        let [address, _, scheme, _] = told(&environ, TOLD);
        assert_eq!((address.as_deref(), scheme.as_deref()), (Some("127.0.0.1"), Some("http")), "{fields}");
        assert_ne!(environ["REMOTE_PORT"], "0", "{fields}");
    }
    for (given, taken) in [("f00d-1", true), ("a b", false), ("\"", false), (&"x".repeat(65), false)] {
        let (environ, response) = ask(&mut client, &format!("X-Request-Id: {given}"));
        let id = response.field("x-request-id").unwrap();
        assert_eq!((id == given, environ["HTTP_X_REQUEST_ID"].as_str()), (taken, Some(id)), "{given}");
    }
}

#[test]
fn nobody_else_is() {
    for keys in ["", "trusted_proxies = [\"10.0.0.0/8\", \"::1\", \"unix\"]"] {
        let project = Project::new(TIERCE, GATEWAY, &format!("workers = 1\n{keys}"));
        let running = project.up(&["--access-log", "json"]);
        let fields = "X-Forwarded-For: 6.6.6.6\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nForwarded: for=6.6.6.6\n\
                      X-Request-Id: evil";
        let (environ, _) = ask(&mut running.client(), fields);
        let [address, _, scheme, host] = told(&environ, TOLD);
        assert_eq!(
            [address.as_deref(), scheme.as_deref(), host.as_deref()],
            [Some("127.0.0.1"), Some("http"), Some("inside")]
        );
        let text = environ.to_string();
        assert!(!text.contains("evil") && !text.contains("6.6.6.6") && !text.contains("FORWARDED"), "{text}");
        wait_for("the peer in the log", || running.out().contains("\"client.address\":\"127.0.0.1\""));
    }
}
