//! A connection that has left HTTP: bytes in both directions, as they come.
//!
//! Invariant: of each direction at most [`WAITING_MAX`] and one read wait here; whoever sends more waits for whoever takes it.
//! Nothing is limited in time but silence: `limits.tunnel` while both sides are there, [`HALF_TIME`] when one has ended.

use std::{
    future::poll_fn,
    mem,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::ResponseFraming;
use units::{Cause, Ending, Phase};

use super::{
    ask::WEBSOCKET,
    attempt::Answered,
    relay,
    wire::{Came, Expects, Wire},
};
use crate::{
    body::Upload,
    connection::{Connection, Filled, Sent},
    deadline::Waits,
    record::Story,
    request::Request,
    respond::{self, Framed},
};

/// Nothing more is read while so much waits to be sent.
const WAITING_MAX: usize = 64 * 1024;

/// In WebSocket one side that has ended has nothing to wait for: the other ends too, or has gone without a word.
const HALF_TIME: Duration = Duration::from_secs(30);

/// Tells the client that the upstream has switched, and moves bytes until both sides have ended. Returns who ended first.
pub(super) async fn run(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    answered: Answered,
    story: &mut Story,
) -> Ending {
    let Answered { mut wire, head, length, .. } = answered;
    let mut out = mem::take(&mut connection.out);
    let start = relay::write_start(&mut out, connection, request, (&head, &wire.input));
    out.extend_from_slice(WEBSOCKET);
    let framed = Framed { framing: ResponseFraming::NoBody, length: None, date: start.has_date, now: Instant::now() };
    respond::finish_head(connection, &mut out, Some(request), story, &framed);
    connection.out = out;
    story.answered(head.status);
    // No request follows on it.
    connection.closing = true;
    wire.input.drain(..length);
    drop(head);
    connection.deadline.clear();
    let idle = connection.thread.settings().tunnel;
    let mut tunnel = Tunnel { up: Way::Open, down: Way::Open, first: None, idle, has_moved: false };
    let ended = poll_fn(|context| tunnel.poll(connection, upload, &mut wire, story, context)).await;
    match tunnel.first.unwrap_or(ended) {
        Cause::Served => Ending::SERVED,
        Cause::TunnelTimeout => Ending::new(Cause::TunnelTimeout, Phase::Done),
        cause => {
            connection.break_off();
            Ending::new(cause, Phase::SendBody)
        }
    }
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// All of it has come; what waits here is to be sent.
    Ending,
    /// Nothing more goes this way, and whoever is at its end knows.
    Over,
}

#[derive(Debug)]
struct Tunnel {
    /// From the client.
    up: Way,
    /// To the client.
    down: Way,
    /// Who has ended first.
    first: Option<Cause>,
    idle: Duration,
    /// Since the deadline was last set.
    has_moved: bool,
}

impl Tunnel {
    /// Ready with the reason when it is over.
    fn poll(
        &mut self,
        connection: &mut Connection,
        upload: &mut Upload,
        wire: &mut Wire,
        story: &mut Story,
        context: &mut Context<'_>,
    ) -> Poll<Cause> {
        let moved = self.move_up(connection, upload, wire, context);
        if let Err(cause) = moved.and_then(|()| self.move_down(connection, wire, story, context)) {
            return Poll::Ready(cause);
        }
        if (self.up, self.down) == (Way::Over, Way::Over) {
            return Poll::Ready(Cause::Served);
        }
        if mem::take(&mut self.has_moved) || !connection.deadline.is_set() {
            let idle = if self.first.is_some() { self.idle.min(HALF_TIME) } else { self.idle };
            connection.deadline.set(Instant::now(), idle, Waits::Busy);
        }
        if connection.deadline.poll(context) {
            return Poll::Ready(Cause::TunnelTimeout);
        }
        // One that is silent holds no memory but for its head.
        if wire.input.is_empty() && wire.out.is_empty() {
            wire.rest(&connection.thread);
        }
        if connection.out.is_empty() {
            let out = mem::take(&mut connection.out);
            connection.thread.buffers.put(out);
        }
        Poll::Pending
    }

    fn move_up(
        &mut self,
        connection: &mut Connection,
        upload: &mut Upload,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Result<(), Cause> {
        while self.up != Way::Over {
            upload.hand_over(connection, &mut wire.out);
            let waiting = wire.out.len();
            let is_sent = wire.poll_flush(context).is_ready();
            self.has_moved |= wire.out.len() < waiting;
            if wire.is_deaf {
                // How it has ended, reading tells.
                self.up = Way::Over;
            } else if self.up == Way::Ending {
                if !is_sent || wire.poll_end(context).is_pending() {
                    break;
                }
                self.up = Way::Over;
            } else if WAITING_MAX <= wire.out.len() {
                break;
            } else {
                match connection.poll_read(context) {
                    Poll::Ready(Filled::More) => self.has_moved = true,
                    Poll::Ready(Filled::End) => {
                        self.up = Way::Ending;
                        self.ended(Cause::ClientClosed);
                    }
                    Poll::Ready(_) => return Err(Cause::ClientClosed),
                    Poll::Pending => break,
                }
            }
        }
        Ok(())
    }

    fn move_down(
        &mut self,
        connection: &mut Connection,
        wire: &mut Wire,
        story: &mut Story,
        context: &mut Context<'_>,
    ) -> Result<(), Cause> {
        while self.down != Way::Over {
            story.sent(wire.input.len() as u64);
            if connection.out.is_empty() {
                mem::swap(&mut connection.out, &mut wire.input);
            } else {
                connection.out.append(&mut wire.input);
            }
            let waiting = connection.out.len();
            let sent = connection.poll_send(context);
            self.has_moved |= connection.out.len() < waiting;
            if let Poll::Ready(Sent::Broken | Sent::TimedOut) = sent {
                return Err(Cause::ClientClosed);
            }
            if self.down == Way::Ending {
                if sent.is_pending() || connection.poll_end(context).is_pending() {
                    break;
                }
                self.down = Way::Over;
            } else if WAITING_MAX <= connection.out.len() {
                break;
            } else {
                match wire.poll_read(context, &connection.thread, Expects::Body) {
                    Poll::Ready(Came::More) => self.has_moved = true,
                    Poll::Ready(Came::End) => {
                        self.down = Way::Ending;
                        self.ended(Cause::Served);
                    }
                    Poll::Ready(Came::Broken) => return Err(Cause::ConnectionTerminated),
                    Poll::Pending => break,
                }
            }
        }
        Ok(())
    }

    /// One side sends nothing more.
    fn ended(&mut self, cause: Cause) {
        self.first.get_or_insert(cause);
        self.has_moved = true;
    }
}
