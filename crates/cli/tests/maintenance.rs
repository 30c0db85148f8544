//! What clients see in the application's place: maintenance, pages of one's own, files of an application in the browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Project, Response, Upstream, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/held.py");
const GATEWAY: &str = include_str!("apps/gateway.py");
const HTML: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
const JSON: &str = "Accept: application/json";

fn project(keys: &str) -> Project {
    let project = Project::new(TIERCE, APP, &keys_of(keys));
    project.write("down.html", "<h1>back soon</h1>");
    project.write("sorry.html", "<h1>sorry</h1>");
    project.write("forbidden.html", "<h1>not for you</h1>");
    project.write("public/a.css", "a file");
    project
}

fn keys_of(keys: &str) -> String {
    format!("workers = 1\ntrusted_proxies = [\"127.0.0.1\"]\n{keys}")
}

fn ask(client: &mut Client, line: &str, fields: &str) -> Response {
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).unwrap();
    client.response().unwrap()
}

#[test]
fn in_maintenance_nobody_gets_to_the_application_but_who_may() {
    let keys = r#"
static = { "/static" = "public" }
[[route]]
path = "/old"
redirect = "/new"
[[route]]
path = "/health"
maintenance = false
"#;
    let down = r#"maintenance = { page = "down.html", retry_after = "5min", allow = ["10.0.0.0/8"] }"#;
    let project = project(&format!("{down}{keys}"));
    let running = project.up(&["--access-log", "json"]);
    let mut client = running.client();
    let page = ask(&mut client, "GET /", HTML);
    assert_eq!((page.status, page.text().as_str()), (503, "<h1>back soon</h1>"));
    assert_eq!(
        (page.field("retry-after"), page.field("content-type")),
        (Some("300"), Some("text/html; charset=utf-8"))
    );
    let problem = ask(&mut client, "GET /", JSON);
    assert_eq!((problem.status, problem.field("content-type")), (503, Some("application/problem+json")));
    assert!(problem.text().contains("\"ending\":\"maintenance\""), "{}", problem.text());
    for (line, fields, status) in [
        ("GET /", "X-Forwarded-For: 10.1.2.3", 200),
        ("GET /", "X-Forwarded-For: 192.0.2.1", 503),
        ("GET /static/a.css", HTML, 200),
        ("GET /static/missing", HTML, 503),
        ("GET /old", HTML, 302),
        ("GET /health", HTML, 200),
    ] {
        assert_eq!(ask(&mut client, line, fields).status, status, "{line} {fields}");
    }
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 503);
    project.write("tierce.toml", &project.config(&keys_of(keys)));
    project.ok(&["reload"]);
    assert_eq!(client.get("/").unwrap().status, 200, "the connection has stayed");
    project.write("tierce.toml", &project.config(&keys_of(&format!("maintenance = {{ page = \"none.html\" }}{keys}"))));
    assert_eq!(project.run(&["reload"]).code, 78, "a page that is missing is no page");
    assert_eq!(client.get("/").unwrap().status, 200);
}

#[test]
fn a_route_alone_can_be_in_maintenance() {
    let project = project("[[route]]\npath = \"/shop\"\nmaintenance = true");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let refused = ask(&mut client, "POST /shop", "Content-Length: 0");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("60")));
    assert_eq!(client.get("/").unwrap().status, 200);
}

#[test]
fn browsers_see_pages_of_ones_own_for_what_tierce_says() {
    let project = project(
        r#"
error_pages = { "5xx" = "sorry.html", "403" = "forbidden.html" }
[[route]]
path = "/admin"
deny = ["0.0.0.0/0"]
"#,
    );
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (line, fields, status, text) in [
        ("GET /raise", HTML, 500, "<h1>sorry</h1>"),
        ("GET /admin", HTML, 403, "<h1>not for you</h1>"),
        ("GET /missing", HTML, 404, "the application's own"),
    ] {
        let response = ask(&mut client, line, fields);
        assert_eq!((response.status, response.text().as_str()), (status, text), "{line}");
    }
    for (line, fields) in [("GET /raise", JSON), ("GET /admin", JSON), ("GET /raise", "Accept: */*")] {
        assert!(!ask(&mut client, line, fields).text().contains("<h1>"), "{line} {fields}");
    }
}

#[test]
fn an_application_in_the_browser_has_one_page_for_all_its_paths() {
    let project = project("[[route]]\npath = \"/api\"\n[[route]]\nstatic = \"dist\"\nfallback = \"index.html\"");
    project.write("dist/index.html", "the page");
    project.write("dist/a.js", "a script");
    project.write("secret", "secret");
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    for (line, text) in [
        ("GET /", "the page"),
        ("GET /a.js", "a script"),
        ("GET /users/7?x=1", "the page"),
        ("GET /a.js/b", "the page"),
        ("GET /%2e%2e%2fsecret", ""),
        ("GET /.hidden", "/.hidden"),
        ("GET /a/..%5csecret", "/a/..\\secret"),
        ("GET /api/x", "/api/x"),
        ("POST /users", "/users"),
    ] {
        let response = ask(&mut client, line, "Content-Length: 0");
        assert!(text.is_empty() && response.status == 400 || response.text() == text, "{line}: {}", response.text());
        if response.status == 400 {
            client = running.client();
        }
    }
    let page = client.get("/users/7").unwrap();
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let etag = page.field("etag").unwrap();
    assert_eq!(ask(&mut client, "GET /users/8", &format!("If-None-Match: {etag}")).status, 304);
}

#[test]
fn a_route_tells_the_application_and_upstreams_one_host() {
    let keys = "[[route]]\nset_request_header = { host = \"inner.example:81\", traceparent = \"x\" }";
    let project = Project::new(TIERCE, GATEWAY, &format!("workers = 1\n{keys}"));
    let running = project.up(&["--access-log", "off"]);
    let told: serde_json::Value = serde_json::from_slice(&running.client().get("/").unwrap().body).unwrap();
    assert_eq!((told["HTTP_HOST"].as_str(), told["HTTP_TRACEPARENT"].as_str()), (Some("inner.example:81"), Some("x")));
    drop(running);

    let upstream = Upstream::new();
    let project =
        Project::new(TIERCE, "", &format!("upstream = [\"{}\"]\nhealth.every = \"1h\"\n{keys}", upstream.url()));
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    let head = upstream.accept().answer("HTTP/1.1 204 No Content\r\n\r\n").to_ascii_lowercase();
    assert!(head.starts_with("get / http/1.1\r\nhost: inner.example:81\r\n"), "{head}");
    assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
    assert!(head.contains("x-forwarded-host: shop.example\r\n"), "{head}");
    wait_for("the answer", || client.answer_arrived().is_ok());
}
