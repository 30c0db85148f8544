//! The same body on its way to an upstream, framed anew, never faster than the upstream takes it.

use std::task::{Context, Poll};

use http::Framing;
use link::BODY_WINDOW;
use units::Cause;

use super::{Answer, State, Upload};
use crate::{
    connection::{Connection, Filled, Sent},
    deadline::Waits,
};

/// No more is read from the client while so much waits for the upstream.
const PASS_MAX: usize = 64 * 1024;

/// What a client waits for that has sent `Expect: 100-continue`.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Upload {
    /// How the body is framed towards the upstream.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client waits to be told that its body is wanted.
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue && self.state == State::Streaming
    }

    /// The upstream wants the body; true when the client is to be told (RFC 9110 §10.1.1).
    pub(crate) fn go_on(&mut self, connection: &Connection) -> bool {
        let waits = self.expects_continue() && connection.input.len() <= self.head;
        self.expects_continue = false;
        waits
    }

    /// For an upstream to which no body can be sent without its length: reads one in chunks whole, if it fits into the window.
    pub(crate) async fn measure(&mut self, connection: &mut Connection) -> Result<(), Cause> {
        if self.framing != Framing::Chunked {
            return Ok(());
        }
        if self.go_on(connection) {
            connection.out.extend_from_slice(CONTINUE);
            if connection.flush().await != Sent::All {
                return Err(Cause::ClientClosed);
            }
        }
        while !self.unchunk(connection)? {
            self.ask_client();
            connection.deadline.set(self.asked, self.patience, Waits::Busy);
            let had = connection.input.len();
            match connection.fill().await {
                Filled::More => self.earn(connection.input.len() - had),
                Filled::End | Filled::Broken => return Err(Cause::ClientClosed),
                Filled::TimedOut => return Err(Cause::ClientTimedOut),
            }
        }
        self.framing = Framing::Length(self.received);
        self.state = State::Whole;
        Ok(())
    }

    /// Takes the chunks apart where they lie, so that their data follows the head in one piece. True at the end of the body.
    fn unchunk(&mut self, connection: &mut Connection) -> Result<bool, Cause> {
        let input = &mut connection.input;
        let mut end = self.head + usize::try_from(self.received).expect("at most the window");
        let mut at = end;
        let mut done = false;
        while !done && at < input.len() {
            let decoded = self.decoder.decode(&input[at..]);
            let decoded = decoded.map_err(|refusal| Cause::HttpProtocolError(refusal.status))?;
            self.received += decoded.data.len() as u64;
            if self.limit < self.received {
                return Err(Cause::BodyTooLarge);
            }
            if u64::from(BODY_WINDOW) < self.received {
                return Err(Cause::HttpProtocolError(411));
            }
            input.copy_within(at + decoded.data.start..at + decoded.data.end, end);
            end += decoded.data.len();
            at += decoded.consumed;
            done = decoded.done;
            if decoded.consumed == 0 {
                break;
            }
        }
        input.drain(end..at);
        Ok(done)
    }

    /// The connection has left HTTP: moves what lies behind the request to `out`, as it is.
    pub(crate) fn hand_over(&mut self, connection: &mut Connection, out: &mut Vec<u8>) {
        let behind = &connection.input[self.end()..];
        self.received += behind.len() as u64;
        out.extend_from_slice(behind);
        connection.input.truncate(self.end());
    }

    /// Moves what can be moved from the client to `out`; to be called whenever something may have changed. While nothing is
    /// there to be sent the client's patience runs, and otherwise the upstream's time.
    pub(crate) fn pass(
        &mut self,
        connection: &mut Connection,
        out: &mut Vec<u8>,
        answer: Answer,
        context: &mut Context<'_>,
    ) -> Result<(), Cause> {
        while self.state == State::Streaming {
            if self.decode_into(connection, out)? {
                self.state = State::Sent;
                self.wait_for_application(connection, answer);
                return Ok(());
            }
            if PASS_MAX <= out.len() {
                self.wait_for_application(connection, answer);
                return Ok(());
            }
            let had = connection.input.len();
            connection.make_room();
            match connection.poll_read(context) {
                Poll::Ready(Filled::More) => {
                    // A client that does not wait to be told is taken at its word.
                    self.expects_continue = false;
                    self.earn(connection.input.len() - had);
                }
                Poll::Ready(_) => return Err(Cause::ClientClosed),
                Poll::Pending if self.expects_continue || !out.is_empty() => {
                    self.wait_for_application(connection, answer);
                    return Ok(());
                }
                Poll::Pending => return self.wait_for_client(connection, answer, context),
            }
        }
        Ok(())
    }

    /// Frames what lies behind the head. True when that was the end of the body.
    fn decode_into(&mut self, connection: &mut Connection, out: &mut Vec<u8>) -> Result<bool, Cause> {
        let mut at = self.head;
        let mut done = self.decoder.is_done();
        while !done && at < connection.input.len() && out.len() < PASS_MAX {
            let decoded = self.decoder.decode(&connection.input[at..]);
            let decoded = decoded.map_err(|refusal| Cause::HttpProtocolError(refusal.status))?;
            let data = &connection.input[at..][decoded.data.clone()];
            self.received += data.len() as u64;
            if self.limit < self.received {
                return Err(Cause::BodyTooLarge);
            }
            if !data.is_empty() {
                self.sent_any = true;
                if self.framing == Framing::Chunked {
                    http::write_chunk_head(out, data.len());
                    out.extend_from_slice(data);
                    out.extend_from_slice(http::CHUNK_END);
                } else {
                    out.extend_from_slice(data);
                }
            }
            at += decoded.consumed;
            done = decoded.done;
            if decoded.consumed == 0 && !done {
                break;
            }
        }
        connection.input.drain(self.head..at);
        if done && self.framing == Framing::Chunked {
            self.sent_any = true;
            out.extend_from_slice(http::LAST_CHUNK);
        }
        Ok(done)
    }
}
