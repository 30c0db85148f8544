//! The edge between a client and a worker that follows a script, with limits that are short.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod panics; // mistakes of ours
mod scripted; // an edge of one thread and its only worker

use std::time::Duration;

use http::RequestHead;
use link::Kind;
use testkit::wait_for;

use self::scripted::Scripted;

/// Where a request is to make us panic, which its path says.
pub(crate) fn panic_at(place: &str, head: &RequestHead, input: &[u8]) {
    let wanted = head.path.of(input).strip_prefix(b"/panic/");
    assert!(wanted != Some(place.as_bytes()), "a test wants this");
}

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

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn what_no_worker_starts_in_time_was_only_queued() {
    for request in [GET, STALLS] {
        let mut scripted = Scripted::new(|settings| {
            settings.time = SHORT;
            settings.queue = SHORT * 3;
        });
        let mut client = scripted.client();
        client.send(request).unwrap();
        let id = scripted.request();
        let response = client.response().unwrap();
        assert_eq!((response.status, response.field("retry-after")), (503, Some("1")), "{request}");
        assert!(response.text().contains("queue_timeout"), "{}", response.text());
        assert!(scripted.is_taken_back(id), "the worker must not start it after this answer");
    }
}

#[test]
fn the_time_of_a_handler_begins_when_it_is_called() {
    // Long enough for what is between a start and its answer here, on a machine that has other things to do.
    let mut scripted = Scripted::new(|settings| settings.time = SHORT * 5);
    let [mut waits, mut hangs] = [(); 2].map(|()| scripted.client());
    waits.send(GET).unwrap();
    let waiting = scripted.request();
    hangs.send(GET).unwrap();
    let hanging = scripted.request();
    scripted.start(hanging);
    let late = hangs.response().unwrap();
    assert_eq!(late.status, 504);
    assert!(late.text().contains("http_response_timeout"), "{}", late.text());
    scripted.next_of(hanging, Kind::Cancel);
    // The other was handed over before, and has all its time still before it, but not more.
    scripted.start(waiting);
    scripted.respond(waiting, b"in time");
    assert_eq!(waits.head().unwrap().status, 200);
    hangs.send(GET).unwrap();
    let hanging = scripted.request();
    waits_longer(&mut scripted);
    scripted.start(hanging);
    assert_eq!(hangs.response().unwrap().status, 504);
}

/// Until the time of a handler has passed once more.
fn waits_longer(scripted: &mut Scripted) {
    let mut client = scripted.client();
    client.send(GET).unwrap();
    let id = scripted.request();
    scripted.start(id);
    assert_eq!(client.response().unwrap().status, 504);
}

#[test]
fn who_has_connected_where_nobody_listens_any_more_is_served() {
    /// A thread takes so many connections at least, however few descriptors there are.
    const MOST: usize = 16;
    let mut scripted = Scripted::with_descriptors(1, |_| ());
    let ask = |scripted: &Scripted| {
        let mut client = scripted.client();
        client.send(GET).unwrap();
        client
    };
    let begin = |scripted: &mut Scripted| {
        let id = scripted.request();
        scripted.start(id);
        id
    };
    let served: Vec<_> = (0..MOST).map(|_| ask(&scripted)).collect();
    let begun: Vec<_> = (0..MOST).map(|_| begin(&mut scripted)).collect();
    // The kernel has these, as there is no room for them.
    let waiting: Vec<_> = (0..5).map(|_| ask(&scripted)).collect();
    scripted.listen(&[]);
    begun.into_iter().for_each(|id| scripted.answer(id, b"first"));
    for mut client in served {
        assert_eq!(client.response().unwrap().text(), "first");
    }
    for _ in &waiting {
        let id = begin(&mut scripted);
        scripted.answer(id, b"second");
    }
    for mut client in waiting {
        assert_eq!(client.response().unwrap().text(), "second");
    }
    wait_for("the port to be closed", || testkit::Client::connect(scripted.port()).is_err());
}
