//! Bottle, Pyramid and Falcon as they are: the same shop in each, asked the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Project, Response, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const SHOPS: [(&str, &str); 3] = [
    ("bottle", include_str!("apps/frameworks/bottle_shop.py")),
    ("pyramid", include_str!("apps/frameworks/pyramid_shop.py")),
    ("falcon", include_str!("apps/frameworks/falcon_shop.py")),
];

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const PARTS: &str = "Content-Type: multipart/form-data; boundary=b\r\n";

fn with_each(test: impl Fn(&str, &Project)) {
    for (name, app) in SHOPS {
        let project = Project::new(TIERCE, app, "workers = 2\nthreads = 4");
        project.write("file.txt", &"0123456789\n".repeat(20_000));
        test(name, &project);
    }
}

fn ask(client: &mut Client, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}Content-Length: {length}\r\n\r\n");
    client.send(head + body).unwrap();
    client.response().unwrap()
}

#[test]
fn routes_fields_and_errors() {
    with_each(|name, project| {
        let running = project.up(&["--access-log", "off"]);
        let mut client = running.client();
        assert_eq!(client.get("/text/caf%C3%A9").unwrap().text(), "hello caf\u{e9}", "{name}");
        client.send("HEAD /text/a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().field("content-length"), Some("7"), "{name}");
        let answer = ask(&mut client, "GET", "/cookies", "Cookie: seen=yes\r\nCookie: x=y\r\n", "");
        let cookies = answer.fields.iter().filter(|(field, _)| field == "set-cookie");
        let mut cookies: Vec<_> = cookies.filter_map(|(_, value)| value.split(';').next()).collect();
        cookies.sort_unstable();
        assert_eq!((answer.text().as_str(), cookies), ("yes", vec!["a=1", "b=2"]), "{name}");
        assert_eq!(client.get("/nowhere").unwrap().status, 404, "{name}");
        let moved = client.get("/moved").unwrap();
        assert!([302, 303].contains(&moved.status), "{name}: {}", moved.status);
        assert!(moved.field("location").unwrap().ends_with("/text/moved"), "{name}: {moved:?}");
        assert_eq!(ask(&mut client, "DELETE", "/json", "", "").status / 100, 4, "{name}");
        assert_eq!(client.get("/broken").unwrap().status, 500, "{name}");
        wait_for(name, || running.out().contains("ValueError: broken on purpose"));
        assert_eq!(client.get("/text/after").unwrap().text(), "hello after", "{name}");
    });
}

#[test]
fn forms_json_and_uploads() {
    with_each(|name, project| {
        let running = project.up(&["--access-log", "off"]);
        let mut client = running.client();
        let answer = ask(&mut client, "POST", "/json", JSON, r#"{"name": "caf\u00e9", "n": [1, 2]}"#);
        let got: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(got, serde_json::json!({"got": {"name": "caf\u{e9}", "n": [1, 2]}}), "{name}");
        assert_eq!(ask(&mut client, "POST", "/form", FORM, "name=Ada+L%C3%A9").text(), "Ada L\u{e9}", "{name}");
        // Larger than what frameworks and we keep in memory at once.
        let part = "--b\r\nContent-Disposition: form-data; name=";
        let file = "z".repeat(700_000);
        let body = format!(
            "{part}\"name\"\r\n\r\nAda\r\n{part}\"file\"; filename=\"f.txt\"\r\nContent-Type: text/plain\r\n\r\n{file}\r\n--b--\r\n"
        );
        let answer = ask(&mut client, "POST", "/upload", PARTS, &body);
        assert_eq!(answer.text(), "Ada f.txt 700000", "{name}");
    });
}

#[test]
fn streams_in_both_directions() {
    with_each(|name, project| {
        let running = project.up(&["--access-log", "off"]);
        let mut client = running.client();
        assert_eq!(ask(&mut client, "POST", "/stream-in", "", &"y".repeat(2_000_000)).text(), "2000000", "{name}");
        client.send("GET /stream-out HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.response().unwrap().text(), "line 0\nline 1\nline 2\n", "{name}");
        let file = client.get("/file").unwrap();
        assert_eq!((file.status, file.text() == project.read("file.txt")), (200, true), "{name}");
        assert_eq!(file.field("content-length"), Some("220000"), "{name}");
        if name == "bottle" {
            // It takes a body without Content-Length for an empty one, whatever the server says.
            return;
        }
        client.send("POST /stream-in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..100 {
            client.send(format!("2710\r\n{}\r\n", "c".repeat(10_000))).unwrap();
        }
        client.send("0\r\n\r\n").unwrap();
        assert_eq!(client.response().unwrap().text(), "1000000", "{name}");
    });
}
