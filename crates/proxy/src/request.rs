//! The life of a request, from its head to its ending; the steps are in files of their own.

use std::time::{Duration, Instant};

use http::RequestHead;
use units::{Cause, Ending, Phase, RequestId};

use crate::{
    body::Upload,
    client::{self, Told},
    connection::Connection,
    exchange, queue,
    record::{self, Story},
    respond, upstream,
};

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request may follow.
    Keep,
    /// The answer was the last, and the client knows.
    Close,
    /// The same, but the client may still be sending.
    Linger,
    /// The client is gone, or is to see that the answer is not whole.
    Drop,
}

/// One request whose head lies at the beginning of the connection's input.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) id: RequestId,
    /// What a trusted proxy tells of the client.
    pub(crate) told: Option<Told>,
    /// `limits.time`.
    pub(crate) time: Duration,
}

impl Request<'_> {
    pub(crate) fn method<'i>(&self, input: &'i [u8]) -> &'i [u8] {
        self.head.method.of(input)
    }
}

/// Serves the request whose head takes the first `length` bytes of the input. Every request ends here, once.
pub(crate) async fn run(connection: &mut Connection, head: &RequestHead, length: usize) -> After {
    let began = Instant::now();
    let settings = connection.thread.settings();
    let told = client::told(&connection.peer, &settings.trusted_proxies, head, &connection.input);
    let id = told.as_ref().and_then(|_| client::request_id(head, &connection.input));
    let id = id.unwrap_or_else(|| connection.thread.make_id());
    let mut story = Story::begin(began, id);
    let request = Request { head, id, told, time: settings.time };
    let (ended, after, end) = match Upload::new(head, length, &settings, story.began) {
        Ok(mut upload) => {
            let ended = answer(connection, &request, &mut upload, &mut story).await;
            let ended = match ended {
                Ok(ending) => ending,
                Err(ending) => {
                    connection.closing |= !upload.is_complete();
                    refused(connection, &request, ending, &mut story).await
                }
            };
            story.received(upload.received());
            (ended, respond::after(connection, &request, &upload, ended), upload.end())
        }
        Err(cause) => {
            let ending = Ending::new(cause, Phase::ReadHead);
            (refused(connection, &request, ending, &mut story).await, After::Linger, length)
        }
    };
    record::record(connection, Some(&request), &story, ended);
    connection.consume(end);
    after
}

/// The way of a request that meets no obstacle. `Err` as long as nothing of a response has gone to the client.
async fn answer(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    story: &mut Story,
) -> Result<Ending, Ending> {
    upload.gather(connection).await?;
    if request.head.is_asterisk {
        connection.closing |= !upload.is_complete();
        return Ok(respond::tell_options(connection, request, story).await);
    }
    let now = Instant::now();
    let start_by = now + connection.thread.settings().queue;
    let turn = connection.thread.shared.admit(now);
    let lease = queue::wait(connection, turn, start_by, upload.end()).await?;
    story.granted(Instant::now());
    if connection.thread.upstreams().is_some() {
        return upstream::run(connection, request, upload, lease, start_by, story).await;
    }
    let attempt = exchange::run(connection, request, upload, lease, start_by, story).await?;
    Ok(respond::forward(connection, request, upload, attempt, story).await)
}

/// Answers in the application's place where there is anybody to answer.
async fn refused(connection: &mut Connection, request: &Request<'_>, ending: Ending, story: &mut Story) -> Ending {
    match ending.status() {
        Some(status) => respond::refuse(connection, Some(request), status, ending, story).await,
        None => ending,
    }
}

/// Ends a request whose head could not be read; the connection is over.
pub(crate) async fn refuse(connection: &mut Connection, ending: Ending) {
    let mut story = Story::begin(Instant::now(), connection.thread.make_id());
    let ending = match ending.status() {
        Some(status) if ending.cause != Cause::ClientClosed => {
            respond::refuse(connection, None, status, ending, &mut story).await
        }
        _ => ending,
    };
    record::record(connection, None, &story, ending);
}
