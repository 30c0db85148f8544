//! A panic ends one request: its slot, its connection's place and its counts are given back, and others go on.

use link::Kind;
use testkit::wait_for;

use super::scripted::Scripted;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn a_panic_ends_one_request_and_gives_back_what_that_had() {
    let mut scripted = Scripted::new(|_| ());
    let mut other = scripted.client();
    other.send(get("/other")).unwrap();
    let waiting = scripted.request();
    for path in ["/panic/begun", "/panic/leased"] {
        let mut client = scripted.client();
        client.send(get(path) + &get("/behind")).unwrap();
        let response = client.response().unwrap();
        assert_eq!((response.status, response.field("connection")), (500, Some("close")), "{path}");
        assert!(response.text().contains("proxy_internal_error"), "{}", response.text());
        assert_eq!(client.rest().unwrap(), b"", "{path}: nothing behind it is served");
    }
    // Behind a head the answer cannot be taken back; that it is not whole is seen.
    let mut client = scripted.client();
    client.send(get("/panic/answering")).unwrap();
    let id = scripted.request();
    scripted.start(id);
    scripted.respond(id, b"first");
    assert!(client.response().is_err());
    scripted.next_of(id, Kind::Cancel);
    scripted.send(Kind::Done, id, &[]);
    // The same thread goes on with what it has.
    scripted.start(waiting);
    scripted.respond(waiting, b"other");
    assert_eq!((other.head().unwrap().status, other.chunk().unwrap()), (200, b"other".to_vec()));
    assert_eq!(scripted.in_flight(), 1, "of the others nothing is in flight");
    scripted.send(Kind::ResponseAborted, waiting, &[]);
    assert!(other.chunk().is_err());
    scripted.send(Kind::Done, waiting, &[]);
    wait_for("all to be given back", || scripted.in_flight() == 0);
    let counted = scripted.drained();
    for line in ["http_server_active_requests 0\n", "tierce_connections_open 0\n", "proxy_internal_error"] {
        assert!(counted.contains(line), "{counted}");
    }
}
