//! Files that the edge sends itself (`static`): which they are, under which conditions, and which nobody gets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, os::unix::fs::symlink};

use testkit::{Project, Running, ask, field, get, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");

/// Tells what it was asked for.
const APP: &str = r#"
def app(environ, start_response):
    start_response("200 OK", [("X-From", "app")])
    return [(environ["REQUEST_METHOD"] + " " + environ["PATH_INFO"]).encode("latin-1")]
"#;

const CSS: &str = "body { color: red }\n";

fn project(keys: &str) -> Project {
    let project = Project::new(TIERCE, APP, &format!("workers = 1\n{keys}"));
    project.write("secret.txt", "secret");
    project.write("assets/a.css", CSS);
    project.write("assets/space and ü.txt", "umlaut");
    project.write("assets/.env", "secret");
    project.write("assets/.git/config", "secret");
    project.write("assets/.well-known/x", "known");
    project.write("assets/empty.txt", "");
    project.write("assets/app.js", "plain");
    project.write("assets/app.js.gz", "gzipped");
    project.write("assets/app.js.br", "brotli");
    project.write("assets/only.css.gz", "gzipped");
    project.write("assets/pic.png", "png");
    project.write("assets/pic.png.gz", "gzipped");
    project.write("assets/docs/index.html", "<p>index");
    project.write("assets/bare/x.txt", "x");
    symlink("../secret.txt", project.path().join("assets/out.txt")).unwrap();
    symlink("a.css", project.path().join("assets/inner.css")).unwrap();
    project
}

const KEYS: &str = "static = { \"/static\" = \"assets\" }";

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "json"])
}

#[test]
fn files_are_sent_with_type_and_validators_and_what_is_none_is_the_applications() {
    let project = project(KEYS);
    let running = up(&project);
    let mut client = running.client();
    let response = get(&mut client, "/static/a.css?v=1", "");
    assert_eq!((response.status, response.text().as_str()), (200, CSS));
    for (name, value) in [
        ("content-type", "text/css; charset=utf-8"),
        ("accept-ranges", "bytes"),
        ("vary", "Accept-Encoding"),
        ("x-from", ""),
    ] {
        assert_eq!(field(&response, name), value, "{name}");
    }
    assert!(!field(&response, "etag").is_empty() && field(&response, "last-modified").ends_with(" GMT"));
    assert!(!field(&response, "x-request-id").is_empty() && !field(&response, "date").is_empty());
    let head = ask(&mut client, "HEAD", "/static/a.css", "");
    assert_eq!((head.status, field(&head, "content-length")), (200, "20"));
    assert_eq!(field(&head, "etag"), field(&response, "etag"));
    for (path, text) in [
        ("/static/space%20and%20%C3%BC.txt", "umlaut"),
        ("/%73tatic//a.css", "GET /static//a.css"),
        ("//static/inner.css", CSS),
        ("/%73tatic/%61.css", CSS),
        ("/static/.well-known/x", "known"),
        ("/static/empty.txt", ""),
        ("/static/docs/", "<p>index"),
        ("/static/missing.css", "GET /static/missing.css"),
        ("/static/bare", "GET /static/bare"),
        ("/static/bare/", "GET /static/bare/"),
        ("/static", "GET /static"),
        ("/static/only.css", "GET /static/only.css"),
        ("/staticx", "GET /staticx"),
        ("/", "GET /"),
    ] {
        let response = get(&mut client, path, "");
        assert_eq!((response.status, response.text().as_str()), (200, text), "{path}");
    }
    let response = get(&mut client, "/static/docs?a=b", "");
    assert_eq!((response.status, field(&response, "location")), (301, "/static/docs/?a=b"));
    let response = ask(&mut client, "DELETE", "/static/a.css", "");
    assert_eq!((response.status, field(&response, "allow")), (405, "GET, HEAD"));
    client.send("POST /static/a.css HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    assert_eq!(client.response().unwrap().status, 405, "and the connection goes on, as the body was read");
    assert_eq!(ask(&mut client, "DELETE", "/static/none", "").text(), "DELETE /static/none");
    wait_for("the file in the log", || running.out().contains("/static/a.css"));
}

#[test]
fn nothing_outside_and_nothing_hidden_is_sent() {
    let project = project(KEYS);
    let running = up(&project);
    for path in [
        "/static/../secret.txt",
        "/static/..%2fsecret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/%2e%2e%2fsecret.txt",
        "/static/.%2e/secret.txt",
        "/static/%2E./secret.txt",
        "/static/bare/../../secret.txt",
        "/static/bare/%2e%2e/%2e%2e/secret.txt",
        "/static//../secret.txt",
        "/static/./../secret.txt",
        "/static/%252e%252e/secret.txt",
        "/static/..%252fsecret.txt",
        "/static/..%5csecret.txt",
        "/static/..\\secret.txt",
        "/static/%c0%ae%c0%ae/secret.txt",
        "/static/..;/secret.txt",
        "/static/%00/../secret.txt",
        "/static/a.css%00.png",
        "/static/out.txt",
        "/static/.env",
        "/static/%2eenv",
        "/static/.git/config",
        "/static/bare/../.env",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static../secret.txt",
        "/static%2f../secret.txt",
        "/static%2f%2e%2e%2fsecret.txt",
        "http://test/static/../secret.txt",
    ] {
        let response = get(&mut running.client(), path, "");
        let text = response.text();
        assert!(!text.contains("secret\n") && text != "secret" && !text.contains("root:"), "{path}: {text}");
        assert!(response.status == 400 || response.field("x-from").is_some(), "{path}: {}", response.status);
    }
}

#[test]
fn conditions_and_ranges() {
    let project = project(KEYS);
    let running = up(&project);
    let mut client = running.client();
    let whole = get(&mut client, "/static/a.css", "");
    let (etag, modified) = (field(&whole, "etag").to_owned(), field(&whole, "last-modified").to_owned());
    for (fields, status, text, range) in [
        (format!("If-None-Match: {etag}\r\n"), 304, "", ""),
        (format!("If-None-Match: \"x\", W/{etag}\r\n"), 304, "", ""),
        (format!("If-Modified-Since: {modified}\r\n"), 304, "", ""),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200, CSS, ""),
        ("If-Match: \"x\"\r\n".to_owned(), 412, "", ""),
        ("Range: bytes=0-3\r\n".to_owned(), 206, "body", "bytes 0-3/20"),
        ("Range: bytes=-2\r\n".to_owned(), 206, "}\n", "bytes 18-19/20"),
        ("Range: bytes=17-\r\n".to_owned(), 206, " }\n", "bytes 17-19/20"),
        ("Range: bytes=20-\r\n".to_owned(), 416, "", "bytes */20"),
        ("Range: bytes=0-0,2-3\r\n".to_owned(), 200, CSS, ""),
        ("Range: bytes=3-1\r\n".to_owned(), 200, CSS, ""),
        (format!("Range: bytes=0-3\r\nIf-Range: {etag}\r\n"), 206, "body", "bytes 0-3/20"),
        ("Range: bytes=0-3\r\nIf-Range: \"x\"\r\n".to_owned(), 200, CSS, ""),
        (format!("Range: bytes=0-3\r\nIf-None-Match: {etag}\r\n"), 304, "", ""),
    ] {
        let response = get(&mut client, "/static/a.css", &fields);
        let got = (response.status, response.text());
        assert_eq!((got.0, got.1.as_str(), field(&response, "content-range")), (status, text, range), "{fields}");
        if status == 304 {
            assert_eq!(field(&response, "etag"), etag);
            assert_eq!((response.field("content-length"), response.field("content-type")), (None, None));
        }
    }
    let head = ask(&mut client, "HEAD", "/static/a.css", "Range: bytes=0-3\r\n");
    assert_eq!((head.status, field(&head, "content-length")), (200, "20"), "a range is for GET");
    project.write("assets/a.css", "changed");
    let response = get(&mut client, "/static/a.css", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((response.status, response.text().as_str()), (200, "changed"));
}

#[test]
fn compressed_files_beside_are_sent_to_whom_takes_them() {
    let project = project(KEYS);
    let running = up(&project);
    let mut client = running.client();
    let mut etags = Vec::new();
    for (path, accept, coding, text) in [
        ("/static/app.js", "gzip, deflate, br, zstd", "br", "brotli"),
        ("/static/app.js", "gzip", "gzip", "gzipped"),
        ("/static/app.js", "br;q=0.1, gzip", "gzip", "gzipped"),
        ("/static/app.js", "br;q=0, *", "gzip", "gzipped"),
        ("/static/app.js", "zstd", "", "plain"),
        ("/static/app.js", "identity", "", "plain"),
        ("/static/a.css", "gzip, br", "", CSS),
    ] {
        let response = get(&mut client, path, &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!((response.text().as_str(), field(&response, "content-encoding")), (text, coding), "{accept}");
        assert_eq!(field(&response, "vary"), "Accept-Encoding");
        let kind = field(&response, "content-type");
        assert!(kind.starts_with("text/javascript") || kind.starts_with("text/css"), "{kind}");
        etags.push((coding.to_owned(), field(&response, "etag").to_owned()));
    }
    assert_ne!(etags[0].1, etags[1].1);
    assert_ne!(etags[1].1, etags[4].1);
    let response = get(&mut client, "/static/app.js", "Accept-Encoding: gzip\r\nRange: bytes=0-3\r\n");
    assert_eq!(
        (response.status, response.text().as_str(), field(&response, "content-encoding")),
        (206, "gzip", "gzip")
    );
    let response = get(&mut client, "/static/pic.png", "Accept-Encoding: gzip\r\n");
    assert_eq!(
        (response.text().as_str(), response.field("vary")),
        ("png", None),
        "pictures are compressed as they are"
    );
}

#[test]
fn large_files_go_whole_to_many_at_a_time_and_no_descriptor_is_left() {
    let project = project(KEYS);
    let content: Vec<u8> = (0..3_000_001_usize).map(|at| u8::try_from((at ^ at >> 8) & 0xff).unwrap()).collect();
    fs::write(project.path().join("assets/big.bin"), &content).unwrap();
    let running = up(&project);
    running.accepts();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
    assert_eq!(running.client().get("/static/big.bin").unwrap().body, content);
    let before = descriptors();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = running.client();
                for _ in 0..3 {
                    let response = client.get("/static/big.bin").unwrap();
                    assert!(response.status == 200 && response.body == content);
                    let part = get(&mut client, "/static/big.bin", "Range: bytes=1000000-2999999\r\n");
                    assert!(part.status == 206 && part.body == content[1_000_000..3_000_000]);
                }
            });
        }
        // Who leaves in the middle keeps nothing open.
        let mut leaver = running.client();
        leaver.send("GET /static/big.bin HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        leaver.answer_arrived().unwrap();
    });
    wait_for("all files to be closed", || descriptors() <= before);
}

#[test]
fn a_root_and_a_longer_path_and_a_directory_that_comes_later() {
    let project = project("static = { \"/\" = \"public\", \"/static/\" = \"assets/\" }");
    let running = up(&project);
    let mut client = running.client();
    assert_eq!(client.get("/robots.txt").unwrap().text(), "GET /robots.txt");
    project.write("public/robots.txt", "User-agent: *\n");
    project.write("public/static/a.css", "the other");
    assert_eq!(client.get("/robots.txt").unwrap().text(), "User-agent: *\n");
    assert_eq!(client.get("/static/a.css").unwrap().text(), CSS);
    assert_eq!(client.get("/").unwrap().text(), "GET /");
    project.write("public/index.html", "<p>home");
    assert_eq!(client.get("/").unwrap().text(), "<p>home");
}

#[test]
fn a_reload_changes_them_and_closes_no_connection() {
    let project = project("");
    let running = up(&project);
    let mut client = running.client();
    assert_eq!(client.get("/static/a.css").unwrap().text(), "GET /static/a.css");
    project.write("tierce.toml", &project.config(&format!("workers = 1\n{KEYS}")));
    project.ok(&["reload"]);
    wait_for("the file", || client.get("/static/a.css").unwrap().text() == CSS);
    project.write("tierce.toml", &project.config("workers = 1"));
    project.ok(&["reload"]);
    wait_for("the application", || client.get("/static/a.css").unwrap().text() == "GET /static/a.css");
}

/// Names files in place of a body.
const SENDER: &str = r#"
import os

def app(environ, start_response):
    path = environ["PATH_INFO"]
    fields = [("X-From", "app"), ("Set-Cookie", "a=b"), ("ETag", '"app"')]
    if path.startswith("/sendfile"):
        fields.append(("X-Sendfile", os.getcwd() + path.removeprefix("/sendfile")))
    elif path.startswith("/accel"):
        fields.append(("X-Accel-Redirect", environ["REQUEST_URI"].removeprefix("/accel")))
    if environ["QUERY_STRING"] == "typed":
        fields.append(("Content-Type", "application/x-own"))
    start_response("200 OK", fields)
    return iter([b"of the application", b", in two parts"])
"#;

#[test]
fn the_application_names_a_file_in_place_of_a_body() {
    let project = Project::new(TIERCE, SENDER, "workers = 1\ninternal = { \"/protected\" = \"files\" }");
    project.write("secret.txt", "secret");
    project.write("files/a.txt", "a file");
    symlink("../secret.txt", project.path().join("files/out.txt")).unwrap();
    let running = up(&project);
    let mut client = running.client();
    for (path, text) in [
        ("/accel/protected/a.txt", "a file"),
        ("/accel/protected/%61.txt", "a file"),
        ("/sendfile/files/a.txt", "a file"),
    ] {
        let response = get(&mut client, path, "");
        assert_eq!((response.status, response.text().as_str()), (200, text), "{path}");
        assert_eq!((field(&response, "x-from"), field(&response, "set-cookie")), ("app", "a=b"));
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        assert_eq!((response.field("x-accel-redirect"), response.field("x-sendfile")), (None, None), "{path}");
        assert_eq!(response.fields.iter().filter(|(name, _)| name == "etag").count(), 1);
        let part = get(&mut client, path, "Range: bytes=2-5\r\n");
        assert_eq!((part.status, part.text().as_str()), (206, "file"));
    }
    assert_eq!(field(&get(&mut client, "/accel/protected/a.txt?typed", ""), "content-type"), "application/x-own");
    for path in [
        "/accel/protected/none",
        "/accel/protected/out.txt",
        "/accel/protected/..%2f..%2fsecret.txt",
        "/accel/elsewhere/a.txt",
        "/accel/protected/",
        "/sendfile/secret.txt",
        "/sendfile/files",
    ] {
        let response = get(&mut client, path, "");
        assert_eq!(response.status, 404, "{path}: {}", response.text());
    }
    assert_eq!(
        get(&mut client, "/protected/a.txt", "").text(),
        "of the application, in two parts",
        "nobody else can ask for it"
    );
    wait_for("the log to tell", || {
        running.err().contains("which is no file") || running.out().contains("which is no file")
    });
    running.wait_until_idle();
}

#[test]
fn without_a_directory_for_them_such_fields_are_the_clients() {
    let project = Project::new(TIERCE, SENDER, "workers = 1");
    project.write("files/a.txt", "a file");
    let running = up(&project);
    let response = get(&mut running.client(), "/accel/protected/a.txt", "");
    assert_eq!(response.text(), "of the application, in two parts");
    assert_eq!(response.field("x-accel-redirect"), Some("/protected/a.txt"));
}
