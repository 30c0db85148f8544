//! The edge between a client and a worker that follows a script, with limits that are short.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scripted; // an edge of one thread and its only worker

use std::time::Duration;

use link::Kind;

use self::scripted::Scripted;

const SHORT: Duration = Duration::from_millis(200);

/// The beginning of a body whose end never comes.
const STALLS: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

#[test]
fn an_application_that_reads_does_not_wait_for_ever() {
    let mut scripted = Scripted::new(|settings| settings.patience = SHORT);
    // One has answered and does not read: whatever its client does not send, nobody waits for it.
    let mut unread = scripted.client();
    unread.send(STALLS).unwrap();
    let other = scripted.request();
    scripted.start(other);
    scripted.respond(other, b"first");
    assert_eq!(unread.head().unwrap().status, 200);
    assert_eq!(unread.chunk().unwrap(), b"first");
    // The other has answered too, and then reads.
    let mut client = scripted.client();
    client.send(STALLS).unwrap();
    let id = scripted.request();
    scripted.start(id);
    scripted.respond(id, b"first");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"first");
    scripted.send(Kind::WantBody, id, &[]);
    assert_eq!(scripted.next_of(id, Kind::Body), b"abc");
    scripted.send(Kind::BodyCredit, id, &3u32.to_le_bytes());
    scripted.next_of(id, Kind::Cancel);
    assert!(client.chunk().is_err(), "the client sees that the answer is not whole");
    scripted.send(Kind::ResponseBody, other, b"second");
    assert_eq!(unread.chunk().unwrap(), b"second");
}

#[test]
fn a_body_that_stalls_before_the_answer_is_a_request_timeout() {
    let mut scripted = Scripted::new(|settings| settings.patience = SHORT);
    let mut client = scripted.client();
    client.send(STALLS).unwrap();
    let id = scripted.request();
    scripted.start(id);
    scripted.send(Kind::WantBody, id, &[]);
    assert_eq!(scripted.next_of(id, Kind::Body), b"abc");
    scripted.send(Kind::BodyCredit, id, &3u32.to_le_bytes());
    let response = client.response().unwrap();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    scripted.next_of(id, Kind::Cancel);
}
