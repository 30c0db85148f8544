//! A real nginx in front: `uwsgi_pass` over TCP and a Unix socket, and `proxy_pass` as a trusted proxy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use testkit::{Client, Nginx, Project, Response, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const GATEWAY: &str = include_str!("apps/gateway.py");

/// The variables that nginx's own file sets.
const PARAMS: &str = "uwsgi_param REQUEST_METHOD $request_method; uwsgi_param REQUEST_URI $request_uri;
    uwsgi_param PATH_INFO $document_uri; uwsgi_param QUERY_STRING $query_string;
    uwsgi_param CONTENT_TYPE $content_type; uwsgi_param CONTENT_LENGTH $content_length;
    uwsgi_param DOCUMENT_ROOT $document_root; uwsgi_param SERVER_PROTOCOL $server_protocol;
    uwsgi_param REQUEST_SCHEME $scheme; uwsgi_param HTTPS $https if_not_empty;
    uwsgi_param REMOTE_ADDR $remote_addr; uwsgi_param REMOTE_PORT $remote_port;
    uwsgi_param SERVER_PORT $server_port; uwsgi_param SERVER_NAME $server_name;";

/// A project that also listens for gateways on a port and on the socket `app.sock`.
fn project(keys: &str) -> (Project, u16) {
    let project = Project::new(TIERCE, GATEWAY, "workers = 1");
    let gateway = free_port();
    let listen = format!(
        "listen = [\"127.0.0.1:{}\", \"unix:http.sock\", \"uwsgi://127.0.0.1:{gateway}\", \"uwsgi:app.sock\"]",
        project.port
    );
    project.write("tierce.toml", &project.config(&format!("{listen}\nworkers = 1\n{keys}")));
    (project, gateway)
}

fn client(nginx: &Nginx) -> Client {
    Client::connect(nginx.port).unwrap()
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

fn told(environ: &Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(environ[name], *value, "{name} in {environ:#}");
    }
}

/// nginx with an application at `/`, and mounted at `/shop` over the socket, with TLS in front.
fn gateway(project: &Project, port: u16) -> Nginx {
    Nginx::start(&format!(
        "uwsgi_request_buffering off;
         location / {{ {PARAMS} uwsgi_param COOKIE own; uwsgi_pass 127.0.0.1:{port}; }}
         location /buffered/ {{ {PARAMS} uwsgi_param SCRIPT_NAME /buffered; uwsgi_request_buffering on; uwsgi_pass 127.0.0.1:{port}; }}
         location /shop {{ {PARAMS}
            uwsgi_param SCRIPT_NAME /shop; uwsgi_param HTTPS on; uwsgi_param REMOTE_USER anna;
            uwsgi_pass unix:{}/app.sock; }}
         location /managed {{ {PARAMS} uwsgi_param SCRIPT_NAME /managed; uwsgi_modifier1 30; uwsgi_pass 127.0.0.1:{port}; }}
         location /perl {{ {PARAMS} uwsgi_modifier1 5; uwsgi_pass 127.0.0.1:{port}; }}",
        project.path().display()
    ))
}

#[test]
fn the_application_is_told_what_nginx_tells() {
    let (project, port) = project("");
    let running = project.up(&["--access-log", "json"]);
    let nginx = gateway(&project, port);
    let mut client = client(&nginx);
    client
        .send(
            "GET /a%20b/%C3%A9?x=%20y HTTP/1.1\r\nHost: shop.example\r\nCookie: a=1\r\nX-One: one\r\nProxy: evil\r\n\
             Expect: 100-continue\r\nX-Request-Id: from-outside.1\r\nX-Forwarded-Proto: https\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.head().unwrap().status, 100, "nginx itself says so");
    let response = client.response().unwrap();
    let environ = json(&response);
    told(
        &environ,
        &[
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/a%20b/%C3%A9?x=%20y"),
            ("PATH_INFO", "/a b/\u{c3}\u{a9}"),
            ("SCRIPT_NAME", ""),
            ("QUERY_STRING", "x=%20y"),
            ("SERVER_NAME", "shop.example"),
            ("SERVER_PORT", &nginx.port.to_string()),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("wsgi.url_scheme", "http"),
            ("HTTP_HOST", "shop.example"),
            ("HTTP_COOKIE", "a=1"),
            ("COOKIE", "own"),
            ("HTTP_X_ONE", "one"),
            ("HTTP_X_REQUEST_ID", "from-outside.1"),
            ("HTTP_X_FORWARDED_PROTO", "https"),
        ],
    );
    assert_eq!(response.field("x-request-id"), Some("from-outside.1"));
    assert!(environ["REMOTE_PORT"].as_str().unwrap().parse::<u16>().unwrap() != 0);
    for absent in ["HTTP_PROXY", "HTTP_EXPECT", "HTTP_CONNECTION", "CONTENT_LENGTH", "CONTENT_TYPE", "REMOTE_USER"] {
        assert_eq!(environ[absent], Value::Null, "{absent}");
    }
    let log = "\"client.address\":\"127.0.0.1\"";
    wait_for("the access log", || running.out().contains(log) && running.out().contains("from-outside.1"));
}

#[test]
fn an_application_can_be_mounted_below_a_path() {
    let (project, port) = project("");
    let _running = project.up(&["--access-log", "off"]);
    let nginx = gateway(&project, port);
    let mut client = client(&nginx);
    for (path, script, info) in [
        ("/shop/cart", "/shop", "/cart"),
        ("/shop", "/shop", ""),
        ("/shop//shop/a", "/shop", "/shop/a"),
        ("/managed/managed/a", "/managed", "/managed/a"),
    ] {
        told(&json(&client.get(path).unwrap()), &[("SCRIPT_NAME", script), ("PATH_INFO", info)]);
    }
    let environ = json(&client.get("/shop/cart").unwrap());
    told(
        &environ,
        &[("wsgi.url_scheme", "https"), ("HTTPS", "on"), ("REMOTE_USER", "anna"), ("REMOTE_ADDR", "127.0.0.1")],
    );
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let (project, port) = project("");
    let running = project.up(&["--access-log", "off"]);
    let nginx = gateway(&project, port);
    let mut client = client(&nginx);
    let body: Vec<u8> = (0..1_000_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for mount in ["", "/shop", "/buffered"] {
        for length in [0, 1, 65_536, 65_537, body.len()] {
            let response = client.post(&format!("{mount}/echo"), &body[..length]).unwrap();
            assert_eq!((response.status, response.body == body[..length]), (200, true), "{mount} {length}");
        }
        client
            .send(format!("POST {mount}/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"))
            .unwrap();
        assert_eq!(client.response().unwrap().text(), "hello world", "{mount}");
        let streamed = client.get(&format!("{mount}/stream")).unwrap().text();
        assert_eq!((streamed.lines().count(), streamed.lines().last()), (2000, Some("block 999")), "{mount}");
        for (method, path, status, length) in [
            ("HEAD", "/echo", 200, Some("0")),
            ("HEAD", "/stream", 200, None),
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, None),
        ] {
            client.send(format!("{method} {mount}{path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            let head = client.head().unwrap();
            assert_eq!((head.status, head.field("content-length")), (status, length), "{method} {mount}{path}");
        }
    }
    running.wait_until_idle();
    assert_eq!(nginx.errors(), "");
}

#[test]
fn large_heads_and_failures() {
    let (project, port) = project("");
    let running = project.up(&["--access-log", "off"]);
    let nginx = gateway(&project, port);
    let mut client = client(&nginx);
    let large: String = (0..3).map(|n| format!("X-Large-{n}: {}\r\n", "z".repeat(10_000))).collect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n")).unwrap();
    assert_eq!(json(&client.response().unwrap())["HTTP_X_LARGE_2"].as_str().unwrap().len(), 10_000);
    assert_eq!(client.get("/large").unwrap().field("x-large").unwrap().len(), 3000);
    let larger: String = (0..6).map(|n| format!("X-Large-{n}: {}\r\n", "z".repeat(10_000))).collect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{larger}\r\n")).unwrap();
    assert_eq!(client.response().unwrap().status, 431);
    assert_eq!(client.get("/raise").unwrap().status, 500);
    assert_eq!(client.get("/perl").unwrap().status, 400);
    wait_for("the reason", || running.err().contains("modifier1 is not 0"));
    assert!(running.err().contains("it begins with the bytes [5, "), "{}", running.err());
    // A response that breaks off never looks whole.
    client.send("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(client.response().is_err());
}

#[test]
fn a_proxy_that_is_trusted_speaks_for_its_clients() {
    let (project, _) = project("trusted_proxies = [\"127.0.0.1\", \"unix\"]");
    let running = project.up(&["--access-log", "json"]);
    let nginx = Nginx::start(&format!(
        "proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
         proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host $host; proxy_set_header Forwarded \"\";
         location / {{ proxy_pass http://127.0.0.1:{}; }}
         location /unix {{ proxy_pass http://unix:{}/http.sock:/; }}",
        project.port,
        project.path().display()
    ));
    let mut client = client(&nginx);
    for path in ["/", "/unix"] {
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 192.0.2.7\r\nForwarded: for=6.6.6.6\r\n\
                 X-Request-Id: one\r\n\r\n"
            ))
            .unwrap();
        let response = client.response().unwrap();
        let environ = json(&response);
        // nginx's own client comes from a trusted address, so what stands before it counts too.
        told(
            &environ,
            &[
                ("REMOTE_ADDR", "192.0.2.7"),
                ("REMOTE_PORT", "0"),
                ("wsgi.url_scheme", "https"),
                ("HTTP_HOST", "shop.example"),
                ("HTTP_X_FORWARDED_FOR", "192.0.2.7, 127.0.0.1"),
                ("HTTP_X_FORWARDED_PROTO", "https"),
                ("HTTP_X_REQUEST_ID", "one"),
            ],
        );
        assert_eq!(response.field("x-request-id"), Some("one"));
    }
    wait_for("the access log", || running.out().matches("\"client.address\":\"192.0.2.7\"").count() == 2);
}
