//! A request's body on its way to the worker, never faster than the application reads it.
//!
//! A short body of known length is read whole before the request is queued: a slow client then costs no slot, and the
//! request can go to a second worker. Any other body stays in the client's socket until the application has started,
//! and then moves within the worker's credit. Invariant: what was sent to a worker that had not started is still here.

mod pass; // the same on its way to an upstream

use std::{
    ops::Range,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{BodyDecoder, Framing, RequestHead};
use link::{BODY_WINDOW, BodyLength, Kind, flags};
use units::{Cause, Ending, Phase};

pub(crate) use self::pass::CONTINUE;
use crate::{
    connection::{Connection, Filled},
    deadline::{Deadline, Waits},
    exchange::Attempt,
};

/// Each KiB that a client sends earns it so much more patience, so that an honest slow upload passes and a trickle does not.
const EARNED_PER_KIB: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All of it lies behind the head.
    Whole,
    /// To be read whole before anything else.
    Gathering,
    /// Bytes are moved as the application reads.
    Streaming,
    /// All of it was sent to the worker.
    Sent,
}

/// For whom a streamed body waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    Client,
    Application,
}

/// How far the response is while the request's body is still being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its head is awaited; the application has so long.
    Awaited(Duration),
    /// Its head has been written: nothing of ours may stand behind it, and the application takes its time.
    Begun,
}

/// The body of one request.
#[derive(Debug)]
pub(crate) struct Upload {
    head: usize,
    framing: Framing,
    state: State,
    decoder: BodyDecoder,
    limit: u64,
    received: u64,
    credit: u32,
    /// The most patience that a client can have, and what this one has left.
    most_patience: Duration,
    patience: Duration,
    waits_for: Option<WaitsFor>,
    /// Since when the client is waited for.
    asked: Instant,
    /// When the patience ends. Not the connection's deadline: a response that has begun may wait for the client too.
    stall: Option<Deadline>,
    expects_continue: bool,
    sent_any: bool,
}

impl Upload {
    /// The body behind a head of `length` bytes, with the most that it may have and the patience for it.
    pub(crate) fn new(
        head: &RequestHead,
        length: usize,
        (limit, patience): (u64, Duration),
        now: Instant,
    ) -> Result<Self, Cause> {
        let state = match head.framing {
            Framing::None | Framing::Length(0) => State::Whole,
            Framing::Length(declared) if limit < declared => return Err(Cause::BodyTooLarge),
            Framing::Length(declared) if declared <= u64::from(BODY_WINDOW) && !head.expects_continue => {
                State::Gathering
            }
            Framing::Length(_) | Framing::Chunked => State::Streaming,
        };
        Ok(Self {
            head: length,
            framing: head.framing,
            state,
            decoder: BodyDecoder::new(head.framing),
            limit,
            received: 0,
            credit: BODY_WINDOW,
            most_patience: patience,
            patience,
            waits_for: None,
            asked: now,
            stall: None,
            expects_continue: head.expects_continue,
            sent_any: false,
        })
    }

    /// Reads a short body of known length whole.
    pub(crate) async fn gather(&mut self, connection: &mut Connection) -> Result<(), Ending> {
        let (State::Gathering, Framing::Length(length)) = (self.state, self.framing) else { return Ok(()) };
        let end = self.head + usize::try_from(length).expect("at most the body window");
        while connection.input.len() < end {
            self.ask_client();
            connection.deadline.set(self.asked, self.patience, Waits::Busy);
            let had = connection.input.len();
            match connection.fill().await {
                Filled::More => self.earn(connection.input.len() - had),
                Filled::End | Filled::Broken => return Err(Ending::new(Cause::ClientClosed, Phase::ReadHead)),
                Filled::TimedOut => return Err(Ending::new(Cause::ClientTimedOut, Phase::ReadHead)),
            }
        }
        self.received = length;
        self.state = State::Whole;
        Ok(())
    }

    /// Where the body is that travels inside the Request frame.
    pub(crate) fn inline(&self) -> Range<usize> {
        match (self.state, self.framing) {
            (State::Whole, Framing::Length(length)) => {
                self.head..self.head + usize::try_from(length).expect("it is in memory")
            }
            _ => self.head..self.head,
        }
    }

    /// What the worker is told of its length.
    pub(crate) fn length(&self) -> BodyLength {
        match self.framing {
            Framing::None => BodyLength::None,
            Framing::Length(length) => BodyLength::Known(length),
            Framing::Chunked => BodyLength::Chunked,
        }
    }

    /// The flags of the Request frame that concern it.
    pub(crate) fn flags(&self) -> u8 {
        match (self.state, self.expects_continue) {
            (State::Whole | State::Sent | State::Gathering, _) => 0,
            (State::Streaming, false) => flags::BODY_FOLLOWS,
            (State::Streaming, true) => flags::BODY_FOLLOWS | flags::EXPECTS_CONTINUE,
        }
    }

    /// Whether the client has sent all of it and all of it was taken.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Whole | State::Sent)
    }

    /// Whether all that a worker was given of it is still here.
    pub(crate) fn is_at_hand(&self) -> bool {
        !self.sent_any
    }

    /// Body bytes that the client has sent.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes of `input` belong to this request.
    pub(crate) fn end(&self) -> usize {
        self.inline().end
    }

    /// A worker is about to get the request.
    pub(crate) fn begin_attempt(&mut self) {
        self.credit = BODY_WINDOW;
        self.stop_waiting();
    }

    /// Moves what can be moved from the client to the worker; to be called whenever something may have changed. While
    /// the application waits for more, the client's patience runs, and otherwise the application's time.
    pub(crate) fn pump(
        &mut self,
        connection: &mut Connection,
        attempt: &Attempt,
        answer: Answer,
        context: &mut Context<'_>,
    ) -> Result<(), Cause> {
        while self.state == State::Streaming {
            if !attempt.has_started() {
                return Ok(());
            }
            if !self.is_wanted(connection, attempt, answer) {
                self.wait_for_application(connection, answer);
                return Ok(());
            }
            if self.decode(connection, attempt)? {
                self.state = State::Sent;
                self.wait_for_application(connection, answer);
                return Ok(());
            }
            if self.credit == 0 {
                self.wait_for_application(connection, answer);
                return Ok(());
            }
            let had = connection.input.len();
            connection.make_room();
            match connection.poll_read(context) {
                Poll::Ready(Filled::More) => self.earn(connection.input.len() - had),
                Poll::Ready(_) => {
                    attempt.send(Kind::BodyAborted, 0, &[]);
                    return Err(Cause::ClientClosed);
                }
                Poll::Pending => {
                    if !self.application_waits(attempt) {
                        self.wait_for_application(connection, answer);
                        return Ok(());
                    }
                    return self.wait_for_client(connection, answer, context);
                }
            }
        }
        Ok(())
    }

    /// Whether the application has asked for the body and has read all that was sent to it.
    fn application_waits(&self, attempt: &Attempt) -> bool {
        self.credit == BODY_WINDOW && attempt.mailbox.look(|mail| mail.body_wanted)
    }

    /// Whether body bytes may be read from the client: with `Expect: 100-continue` only once the application has asked,
    /// which the client is then told; a client that did not wait is not told (RFC 9110 §10.1.1), nor one that has the head
    /// of its response, as no interim response may follow that (§15.2).
    fn is_wanted(&mut self, connection: &mut Connection, attempt: &Attempt, answer: Answer) -> bool {
        let (wanted, read) = attempt.mailbox.look(|mail| (mail.body_wanted, std::mem::take(&mut mail.body_read)));
        self.credit = self.credit.saturating_add(read).min(BODY_WINDOW);
        let waits = self.expects_continue && connection.input.len() <= self.head;
        if wanted && waits && answer != Answer::Begun {
            connection.out.extend_from_slice(CONTINUE);
        }
        if wanted {
            self.expects_continue = false;
        }
        !self.expects_continue
    }

    /// Sends on what lies behind the head, as far as credit goes. True when that was the end of the body.
    fn decode(&mut self, connection: &mut Connection, attempt: &Attempt) -> Result<bool, Cause> {
        let mut at = self.head;
        let mut done = self.decoder.is_done();
        while !done && at < connection.input.len() && 0 < self.credit {
            let until = connection.input.len().min(at + self.credit as usize);
            let decoded = match self.decoder.decode(&connection.input[at..until]) {
                Ok(decoded) => decoded,
                Err(refusal) => {
                    attempt.send(Kind::BodyAborted, 0, &[]);
                    return Err(Cause::HttpProtocolError(refusal.status));
                }
            };
            let data = &connection.input[at..][decoded.data.clone()];
            self.received += data.len() as u64;
            if self.limit < self.received {
                attempt.send(Kind::BodyAborted, 0, &[]);
                return Err(Cause::BodyTooLarge);
            }
            if !data.is_empty() {
                self.credit -= u32::try_from(data.len()).expect("at most the credit");
                self.sent_any = true;
                attempt.send(Kind::Body, 0, data);
            }
            at += decoded.consumed;
            done = decoded.done;
            if decoded.consumed == 0 && !done {
                break;
            }
        }
        connection.input.drain(self.head..at);
        if done {
            self.sent_any = true;
            attempt.send(Kind::Body, flags::LAST, &[]);
        }
        Ok(done)
    }

    fn wait_for_client(&mut self, connection: &Connection, answer: Answer, context: &Context<'_>) -> Result<(), Cause> {
        let asks = self.waits_for != Some(WaitsFor::Client);
        if asks {
            self.ask_client();
            if answer != Answer::Begun {
                connection.deadline.clear();
            }
        }
        let stall = self.stall.get_or_insert_with(|| connection.thread.deadlines.register());
        if asks {
            stall.set(self.asked, self.patience, Waits::Busy);
        }
        if stall.poll(context) { Err(Cause::ClientTimedOut) } else { Ok(()) }
    }

    fn wait_for_application(&mut self, connection: &Connection, answer: Answer) {
        if self.waits_for != Some(WaitsFor::Application) {
            self.stop_waiting();
            self.waits_for = Some(WaitsFor::Application);
            if let Answer::Awaited(time) = answer {
                connection.deadline.set(Instant::now(), time, Waits::Busy);
            }
        }
    }

    fn ask_client(&mut self) {
        self.waits_for = Some(WaitsFor::Client);
        self.asked = Instant::now();
    }

    /// The client has sent so many bytes.
    fn earn(&mut self, bytes: usize) {
        self.stop_waiting();
        let earned = EARNED_PER_KIB.mul_f64(bytes as f64 / 1024.0);
        self.patience = (self.patience + earned).min(self.most_patience);
    }

    fn stop_waiting(&mut self) {
        if self.waits_for.take() == Some(WaitsFor::Client) {
            self.patience = self.patience.saturating_sub(self.asked.elapsed());
            if let Some(stall) = &self.stall {
                stall.clear();
            }
        }
    }
}
