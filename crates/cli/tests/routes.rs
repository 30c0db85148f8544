//! `[[route]]`: which requests it is for, and what becomes of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use testkit::{Client, Project, Response, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");

fn project(keys: &str) -> Project {
    let project = Project::new(TIERCE, GATEWAY, &format!("workers = 1\n{keys}"));
    project.write("public/a.txt", "a file");
    project
}

fn ask(client: &mut Client, line: &str, fields: &str) -> Response {
    client.send(format!("{line} HTTP/1.1\r\n{}\r\n\r\n", fields.replace('\n', "\r\n"))).unwrap();
    client.response().unwrap()
}

fn environ(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn clients_are_sent_elsewhere_or_answered_at_once() {
    let project = project(
        r#"
[[route]]
host = "old.example"
redirect = { to = "https://new.example{uri}", status = 308 }
[[route]]
path = "/moved"
redirect = "/new{rest}"
[[route]]
host = ["*.example"]
path = "/secure"
redirect = { to = "https://{host}{uri}", status = 301 }
[[route]]
path = "/robots.txt"
method = ["GET", "HEAD"]
respond = { body = "User-agent: *\n", type = "text/plain" }
set_header = { Cache-Control = "max-age=60" }
[[route]]
path = "/gone"
header = { X-Old = "1" }
respond = 410
"#,
    );
    let running = project.up(&[]);
    let mut client = running.client();
    for (line, fields, status, location) in [
        ("GET /a%20b?c=d", "Host: OLD.example:8080", 308, "https://new.example/a%20b?c=d"),
        ("GET http://old.example?x", "Host: old.example", 308, "https://new.example/?x"),
        ("GET /moved/a?b", "Host: a", 302, "/new/a?b"),
        ("GET /moved", "Host: a", 302, "/new"),
        ("GET //moved//evil", "Host: a", 302, "/new//evil"),
        ("GET /%6doved%2fx", "Host: a", 302, "/new/%2fx"),
        ("GET /secure?x", "Host: shop.example:81", 301, "https://shop.example:81/secure?x"),
        ("GET /robots.txt", "Host: a", 200, ""),
        ("GET /gone", "Host: a\nX-Old: 1", 410, ""),
    ] {
        let response = ask(&mut client, line, fields);
        assert_eq!((response.status, response.field("location").unwrap_or("")), (status, location), "{line}");
    }
    for (line, fields) in [
        ("GET /movedx", "Host: a"),
        ("GET /secure", "Host: example"),
        ("GET /gone", "Host: a"),
        ("GET /gone", "Host: a\nX-Old: 2"),
    ] {
        assert!(ask(&mut client, line, fields).body.starts_with(b"{"), "{line}: the application answers");
    }
    let response = client.get("/robots.txt").unwrap();
    assert_eq!((response.text().as_str(), response.field("cache-control")), ("User-agent: *\n", Some("max-age=60")));
    client.send("HEAD /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("content-length"), Some("14"));
    client.send("POST /moved HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    assert_eq!(client.response().unwrap().status, 302);
    assert_eq!(client.get("/gone").unwrap().status, 200, "the body was read, the connection goes on");
}

#[test]
fn the_application_is_told_another_path_and_other_fields() {
    let project = project(
        r#"
[[route]]
path = "/shop"
strip_prefix = true
set_request_header = { X-Part = "shop" }
remove_request_header = ["X-Secret", "Cookie"]
set_header = { X-Frame-Options = "DENY", Server = "ours" }
remove_header = ["Content-Type"]
[[route]]
path = "/v1"
rewrite = "/api/v1"
"#,
    );
    let running = project.up(&[]);
    let mut client = running.client();
    for (target, script, path, query) in [
        ("/shop/a%20b?c", "/shop", "/a b", "c"),
        ("/shop", "/shop", "/", ""),
        ("//sh%6fp//x", "/shop", "//x", ""),
        ("/v1/x?y", "", "/api/v1/x", "y"),
        ("/v1", "", "/api/v1", ""),
        ("/v10", "", "/v10", ""),
    ] {
        let told = environ(&ask(&mut client, &format!("GET {target}"), "Host: a"));
        let got = ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"].map(|name| told[name].as_str().unwrap_or(""));
        assert_eq!(got, [script, path, query], "{target}");
    }
    let response = ask(&mut client, "GET /shop/", "Host: a\nX-Part: evil\nx-secret: 1\nCookie: a=b\nX-Other: 2");
    let told = environ(&response);
    assert_eq!((told["HTTP_X_PART"].as_str(), told["HTTP_X_OTHER"].as_str()), (Some("shop"), Some("2")));
    assert_eq!((told.get("HTTP_X_SECRET"), told.get("HTTP_COOKIE")), (None, None));
    assert_eq!((response.field("x-frame-options"), response.field("server")), (Some("DENY"), Some("ours")));
    assert_eq!(response.field("content-type"), None);
}

#[test]
fn who_may_come_is_decided_by_the_clients_address_in_any_spelling_of_the_path() {
    let project = project(
        r#"
trusted_proxies = ["127.0.0.1"]
[[route]]
path = "/admin"
allow = ["10.0.0.0/8"]
deny = ["10.6.6.6"]
"#,
    );
    let running = project.up(&[]);
    for (path, from, status) in [
        ("/admin", "10.0.0.1", 200),
        ("/admin", "10.6.6.6", 403),
        ("/admin", "192.0.2.1", 403),
        ("/admin/x", "192.0.2.1", 403),
        ("//admin", "192.0.2.1", 403),
        ("/%61dmin", "192.0.2.1", 403),
        ("/%2fadmin", "192.0.2.1", 403),
        ("/admin%2fx", "192.0.2.1", 403),
        ("/a/../admin", "192.0.2.1", 400),
        ("/a/%2e%2e/admin", "192.0.2.1", 400),
        ("/./admin", "192.0.2.1", 400),
        ("/other", "192.0.2.1", 200),
    ] {
        let response = ask(&mut running.client(), &format!("GET {path}"), &format!("Host: a\nX-Forwarded-For: {from}"));
        assert_eq!(response.status, status, "{path} {from}");
    }
    let mut client = running.client();
    client.send("POST /admin HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().status, 403, "the body is not waited for");
}

#[test]
fn limits_are_those_of_the_route() {
    let project = project("limits.body = \"10B\"\n[[route]]\npath = \"/echo\"\nlimits = { body = \"1MB\" }");
    let running = project.up(&[]);
    let body = vec![b'x'; 200_000];
    assert_eq!(running.client().post("/echo", &body).unwrap().body, body);
    assert_eq!(running.client().post("/other", &body[..11]).unwrap().status, 413);
    let mut client = running.client();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().status, 413);
}

#[test]
fn the_first_route_counts_and_files_are_behind_it() {
    let project = project(
        r#"
static = { "/" = "public" }
[[route]]
path = "/a.txt"
header = { X-Hide = "*" }
respond = 404
[[route]]
path = "/files"
static = "public"
set_header = { X-Kind = "file" }
[[route]]
set_header = { X-Kind = "any" }
"#,
    );
    let running = project.up(&[]);
    let mut client = running.client();
    for (target, fields, status, kind) in [
        ("GET /a.txt", "Host: a\nX-Hide: 1", 404, None),
        ("GET /a.txt", "Host: a", 200, Some("any")),
        ("GET /files/a.txt", "Host: a", 200, Some("file")),
        ("GET /files/none", "Host: a", 200, Some("file")),
    ] {
        let response = ask(&mut client, target, fields);
        assert_eq!((response.status, response.field("x-kind")), (status, kind), "{target}");
        let is_file = status == 200 && !target.contains("none");
        assert_eq!(response.text() == "a file", is_file, "{target}");
    }
}

#[test]
fn a_reload_changes_routes_and_a_wrong_one_changes_nothing() {
    let project = project("[[route]]\npath = \"/x\"\nrespond = 410");
    let running = project.up(&[]);
    let mut client = running.client();
    assert_eq!(client.get("/x").unwrap().status, 410);
    project.write("tierce.toml", &project.config("workers = 1\n[[route]]\npath = \"/x\"\nresponds = 200"));
    let refused = project.run(&["reload"]);
    assert_eq!(refused.code, 78, "{}", refused.err);
    assert!(refused.err.contains("did you mean `route.respond`?"), "{}", refused.err);
    assert_eq!(client.get("/x").unwrap().status, 410);
    project.write("tierce.toml", &project.config("workers = 1\n[[route]]\npath = \"/x\"\nrespond = 451"));
    project.ok(&["reload"]);
    wait_for("the new route", || client.get("/x").unwrap().status == 451);
}

#[test]
fn a_password_is_asked_for() {
    let project = project("[[route]]\npath = \"/admin\"\nbasic_auth = \"users\"\nset_header = { X-Part = \"admin\" }");
    project
        .write("users", "# as htpasswd writes it\nana:$2y$05$.xQP76eSW4izfqkLmwW8U.HZfmu21yxNoik121ebMPmXSXnAlsgcW\n");
    let running = project.up(&[]);
    let mut client = running.client();
    for (path, credentials, status) in [
        ("/admin", "Basic YW5hOm9wZW46c2VzYW1lIMO8", 200),
        ("/admin", "basic YW5hOm9wZW46c2VzYW1lIMO8", 200),
        ("/admin/x", "Basic YW5hOm9wZW46c2VzYW1lIMO8", 200),
        ("/admin", "Basic YW5hOndyb25n", 401),
        ("/admin", "Basic ZXZlOm9wZW46c2VzYW1lIMO8", 401),
        ("/admin", "Basic YW5h", 401),
        ("/admin", "Basic %%%", 401),
        ("/admin", "Bearer x", 401),
        ("/%61dmin", "x", 401),
        ("/admin", "Basic YW5hOm9wZW46c2VzYW1lIMO8\nAuthorization: Basic YW5hOm9wZW46c2VzYW1lIMO8", 401),
        ("/other", "x", 200),
    ] {
        let response = ask(&mut client, &format!("GET {path}"), &format!("Host: a\nAuthorization: {credentials}"));
        assert_eq!(response.status, status, "{path} {credentials}");
        let challenge = response.field("www-authenticate").unwrap_or("");
        assert_eq!(challenge.starts_with("Basic realm="), status == 401, "{challenge}");
    }
    let response = client.get("/admin").unwrap();
    assert_eq!((response.status, response.field("x-part")), (401, Some("admin")));
    project.write("users", "ana:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n");
    let refused = project.run(&["reload"]);
    assert!(refused.code == 78 && refused.err.contains("htpasswd -B"), "{}", refused.err);
    assert_eq!(client.get("/admin").unwrap().status, 401);
    std::fs::remove_file(project.path().join("users")).unwrap();
    assert_eq!(project.run(&["check"]).code, 78, "a file that is missing opens no door");
}
