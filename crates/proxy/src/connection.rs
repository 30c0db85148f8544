//! One client's connection: its buffers, reading and writing under a deadline, one request after the other.
//!
//! Invariants: a request's head stays where it is in `input` until the request has ended, so that spans into it hold;
//! `input` never holds more than a head, a window of body and one read.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use config::Protocol;
use http::{HeadScan, RequestHead, Scheme};
use units::{Cause, Ending, Phase};

use crate::{
    clients::Share,
    deadline::{Deadline, Waits},
    file::{Broken, FileBody},
    listener::Entry,
    request::{self, After},
    stream::Stream,
    thread::Thread,
};

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `None` for a Unix socket.
    pub(crate) ip: Option<IpAddr>,
    /// The same as text; empty for a Unix socket.
    pub(crate) address: String,
    pub(crate) port: u16,
    /// How the client has reached us, or the proxy that passes its bytes on.
    pub(crate) scheme: Scheme,
    /// Where it came in.
    pub(crate) entry: Entry,
    /// By which the connection counts among those of its address.
    pub(crate) share: Option<Share>,
}

/// Room for the first read, which holds nearly every request: a thousand connections that wait cost a few megabytes.
const FIRST_ROOM: usize = 4 * 1024;

/// With less room than this it is doubled before a read.
const LEAST_ROOM: usize = 1024;

/// Room for reads of a body that is being moved.
const BODY_ROOM: usize = 16 * 1024;

/// Bytes that may wait in `input` behind a request that is being answered: pipelined requests, mostly.
const AHEAD_MAX: usize = 64 * 1024;

/// The whole head has to be there so long after its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A connection without a request is closed after this.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(75);

/// Its last request is taken for one of many as long as this, and what it needs is kept for the next one.
const QUIET_TIME: Duration = Duration::from_millis(50);

/// The same while the edge drains: long enough for what is already on its way.
pub(crate) const IDLE_TIME_DRAINING: Duration = Duration::from_secs(1);

/// A client that takes nothing for so long is given up.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// A lingering close reads at most so much, for at most so long, so that the client sees the answer and not a reset.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Some bytes.
    More,
    /// The client will send nothing more; it may still read.
    End,
    /// The connection is broken.
    Broken,
    /// The deadline passed.
    TimedOut,
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    pub(crate) peer: Peer,
    pub(crate) thread: Rc<Thread>,
    pub(crate) input: Vec<u8>,
    pub(crate) out: Vec<u8>,
    pub(crate) deadline: Deadline,
    /// The response under way is the last of this connection.
    pub(crate) closing: bool,
    /// The client has closed its side.
    ended: bool,
}

impl Connection {
    pub(crate) fn new(stream: Stream, peer: Peer, thread: Rc<Thread>) -> Self {
        let deadline = thread.deadlines.register();
        Self { stream, peer, thread, input: Vec::new(), out: Vec::new(), deadline, closing: false, ended: false }
    }

    /// Serves one request after the other until the connection is to be closed. By reference: what is handed to a future by value
    /// takes its room twice.
    pub(crate) async fn serve(&mut self) {
        let mut limit = IDLE_TIME;
        while self.has_more(limit).await {
            // Apart, so that what a request needs costs no memory while there is none.
            match Box::pin(self.serve_awhile()).await {
                Then::Idle => limit = IDLE_TIME - QUIET_TIME,
                Then::Over => break,
            }
        }
        self.thread.buffers.put(std::mem::take(&mut self.input));
        self.thread.buffers.put(std::mem::take(&mut self.out));
    }

    /// Waits for the first byte of a request; closes otherwise.
    async fn has_more(&mut self, limit: Duration) -> bool {
        let limit = if self.thread.is_draining() { IDLE_TIME_DRAINING } else { limit };
        self.deadline.set(Instant::now(), limit, Waits::Idle);
        match self.fill().await {
            Filled::More => true,
            Filled::Broken => false,
            Filled::End | Filled::TimedOut => {
                self.say_goodbye().await;
                false
            }
        }
    }

    /// Serves requests as long as they come one after the other.
    async fn serve_awhile(&mut self) -> Then {
        let mut head = self.thread.take_head();
        let then = loop {
            match self.read_head(&mut head).await {
                Head::Complete(length) => match request::run(self, &head, length).await {
                    After::Keep => continue,
                    After::Linger => self.close_gently().await,
                    After::Close => self.say_goodbye().await,
                    After::Drop => {}
                },
                Head::Refused(ending) => {
                    request::refuse(self, ending).await;
                    self.close_gently().await;
                }
                Head::Quiet => break Then::Idle,
                Head::None => self.say_goodbye().await,
            }
            break Then::Over;
        };
        self.thread.put_head(head);
        then
    }

    /// Where the client has come in; a socket in the file system has no such address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.stream.local_address()
    }

    /// Serves nothing, and says why.
    pub(crate) async fn turn_away(mut self, cause: Cause) {
        self.deadline.set(Instant::now(), HEAD_TIME, Waits::Busy);
        // Some of what it is, so that HEAD is answered as such.
        if self.fill().await == Filled::More {
            request::refuse(&mut self, Ending::new(cause, Phase::ReadHead)).await;
            self.close_gently().await;
        }
    }

    async fn read_head(&mut self, head: &mut RequestHead) -> Head {
        let mut scan = HeadScan::default();
        let mut timed = false;
        loop {
            if !self.input.is_empty() {
                match self.parse_head(&mut scan, head) {
                    Ok(Some(length)) => return Head::Complete(length),
                    Ok(None) => {}
                    Err(ending) => return Head::Refused(ending),
                }
                if !timed {
                    timed = true;
                    self.deadline.set(Instant::now(), HEAD_TIME, Waits::Busy);
                }
            } else if self.ended {
                return Head::None;
            } else {
                self.deadline.set(Instant::now(), QUIET_TIME, Waits::Idle);
                self.thread.buffers.put(std::mem::take(&mut self.out));
            }
            if self.ended {
                return Head::None;
            }
            match self.fill().await {
                Filled::More => {}
                Filled::End if self.input.is_empty() => return Head::None,
                Filled::End => return Head::Refused(Ending::new(Cause::ClientClosed, Phase::ReadHead)),
                Filled::Broken => return Head::None,
                Filled::TimedOut if self.input.is_empty() => {
                    let is_over = self.thread.is_draining() || self.deadline.was_cut_short();
                    return if is_over { Head::None } else { Head::Quiet };
                }
                Filled::TimedOut => return Head::Refused(Ending::new(Cause::ClientTimedOut, Phase::ReadHead)),
            }
        }
    }

    /// The length of the head at the beginning of `input`, when all of it is there.
    fn parse_head(&mut self, scan: &mut HeadScan, head: &mut RequestHead) -> Result<Option<usize>, Ending> {
        let limits = &self.thread.settings().head;
        let parsed = match self.peer.entry.protocol {
            Protocol::Http | Protocol::Https if !scan.may_be_complete(&self.input, limits) => return Ok(None),
            Protocol::Http | Protocol::Https => http::parse_request(&self.input, limits, head),
            Protocol::Uwsgi => http::parse_uwsgi(&mut self.input, limits, head).inspect_err(|refusal| {
                self.thread.complain(&self.peer, &self.input, refusal.why);
            }),
        };
        parsed.map_err(|refusal| Ending::new(Cause::HttpProtocolError(refusal.status), Phase::ReadHead))
    }

    /// Waits for more bytes in `input`, or the deadline.
    pub(crate) async fn fill(&mut self) -> Filled {
        poll_fn(|context| self.poll_fill(context)).await
    }

    /// The same within a larger wait.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Filled> {
        // Reading first: what has arrived in time counts, however late this task was woken.
        match self.poll_read(context) {
            Poll::Pending if self.deadline.poll(context) => Poll::Ready(Filled::TimedOut),
            read => read,
        }
    }

    /// Reads what has arrived, without regard to the deadline.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Filled> {
        if self.ended {
            return Poll::Ready(Filled::End);
        }
        if self.input.capacity() == 0 {
            self.input = self.thread.buffers.take_short();
        }
        if self.input.capacity() - self.input.len() < LEAST_ROOM {
            self.input.reserve(FIRST_ROOM.max(self.input.len()));
        }
        let read = match self.stream.poll_read(context, &mut self.input) {
            Poll::Pending => {
                // An idle connection holds no memory.
                if self.input.is_empty() {
                    self.thread.buffers.put(std::mem::take(&mut self.input));
                }
                return Poll::Pending;
            }
            Poll::Ready(read) => read,
        };
        Poll::Ready(match read {
            Ok(0) => {
                self.ended = true;
                Filled::End
            }
            Ok(_) => Filled::More,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Filled::More,
            Err(_) => Filled::Broken,
        })
    }

    /// Makes room for reads of a long body.
    pub(crate) fn make_room(&mut self) {
        self.input.reserve(BODY_ROOM);
    }

    /// While a request that needs nothing from the client is being answered: notices that the client has gone, and takes
    /// in what it sends ahead, within bounds. Ready only with `End` (once) or `Broken`.
    pub(crate) fn poll_gone(&mut self, context: &mut Context<'_>, behind: usize) -> Poll<Filled> {
        while !self.ended && self.input.len() < behind + AHEAD_MAX {
            match self.poll_read(context) {
                Poll::Ready(Filled::More) => {}
                other => return other,
            }
        }
        Poll::Pending
    }

    /// Whether there is anything to send.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.out.is_empty() || self.stream.holds_bytes()
    }

    /// Sends `out`; not for longer than [`WRITE_STALL`] if the client takes nothing.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Sent> {
        let waiting = self.out.len();
        let result = self.poll_send(context);
        if result.is_pending() && self.is_stalled(self.out.len() < waiting, context) {
            return Poll::Ready(Sent::TimedOut);
        }
        result
    }

    /// Sends `out`, however long that takes.
    pub(crate) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Sent> {
        self.poll_out(context, Stream::poll_write)
    }

    fn poll_out(&mut self, context: &mut Context<'_>, write: Write) -> Poll<Sent> {
        let mut sent = 0;
        let result = loop {
            if sent == self.out.len() {
                break self.stream.poll_flush(context).map(|sent| if sent.is_ok() { Sent::All } else { Sent::Broken });
            }
            match write(&mut self.stream, context, &self.out[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Sent::Broken),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(_)) => break Poll::Ready(Sent::Broken),
                Poll::Pending => break Poll::Pending,
            }
        };
        if sent == self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..sent);
        }
        result
    }

    /// Says that nothing more will be sent; what the client sends is still read.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_shutdown_write(context)
    }

    /// Sends what there is of a response on its way, and ends its deadline with that.
    pub(crate) fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        if !self.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(context).map(|sent| match sent {
            Sent::All => {
                self.deadline.clear();
                Ok(())
            }
            Sent::Broken => Err(Cause::ClientClosed),
            Sent::TimedOut => Err(Cause::ClientTimedOut),
        })
    }

    /// Sends some bytes of a file, and tells how many; what is in `out` goes before. A head by itself would wake the client for
    /// next to nothing, and long files reach it at half the rate then.
    pub(crate) fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        file: &mut FileBody,
    ) -> Poll<Result<u64, Cause>> {
        let waiting = self.out.len();
        let ahead = match waiting {
            0 => Poll::Ready(Sent::All),
            _ if file.left() == 0 => self.poll_send(context),
            _ => self.poll_out(context, Stream::poll_write_ahead),
        };
        let step = match ahead {
            Poll::Ready(Sent::All) => file.poll_step(context, &mut self.stream),
            Poll::Ready(_) => Poll::Ready(Err(Broken::Client)),
            Poll::Pending => Poll::Pending,
        };
        match step {
            Poll::Ready(Ok(count)) => {
                self.deadline.clear();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(Broken::File)) => {
                // That there was to be one the client is to see all the same.
                self.stream.push();
                Poll::Ready(Err(Cause::HttpResponseIncomplete))
            }
            Poll::Ready(Err(Broken::Client)) => Poll::Ready(Err(Cause::ClientClosed)),
            Poll::Pending if self.is_stalled(self.out.len() < waiting, context) => {
                Poll::Ready(Err(Cause::ClientTimedOut))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// While the client takes nothing: whether that has lasted too long.
    fn is_stalled(&self, has_moved: bool, context: &Context<'_>) -> bool {
        if has_moved || !self.deadline.is_set() {
            self.deadline.set(Instant::now(), WRITE_STALL, Waits::Busy);
        }
        self.deadline.poll(context)
    }

    /// Sends all of `out`.
    pub(crate) async fn flush(&mut self) -> Sent {
        self.deadline.clear();
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Forgets the first `length` bytes of `input`: a request has ended.
    pub(crate) fn consume(&mut self, length: usize) {
        if length == self.input.len() {
            self.input.clear();
        } else {
            self.input.drain(..length);
        }
    }

    /// The response is incomplete and the client is to notice.
    pub(crate) fn break_off(&self) {
        self.stream.reset_on_close();
    }

    /// Closes so that a client which is still sending can read the answer first (RFC 9112 §9.6).
    async fn close_gently(&mut self) {
        if self.flush().await != Sent::All {
            return;
        }
        self.deadline.set(Instant::now(), LINGER_TIME, Waits::Busy);
        self.shutdown_write().await;
        let mut read = 0;
        while read < LINGER_BYTES {
            self.input.clear();
            if self.fill().await != Filled::More {
                return;
            }
            read += self.input.len();
        }
    }

    /// Closes at once, but not without a word where one is expected.
    async fn say_goodbye(&mut self) {
        if self.stream.says_goodbye() {
            self.deadline.set(Instant::now(), LINGER_TIME, Waits::Busy);
            self.shutdown_write().await;
        }
    }

    async fn shutdown_write(&mut self) {
        poll_fn(|context| match self.stream.poll_shutdown_write(context) {
            Poll::Pending if !self.deadline.poll(context) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }
}

/// A way to write to a stream.
type Write = fn(&mut Stream, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>;

/// What came of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    Broken,
    TimedOut,
}

enum Head {
    /// A head of that many bytes.
    Complete(usize),
    /// It will not be served; the ending says why.
    Refused(Ending),
    /// No request has come for a while.
    Quiet,
    /// The connection is over.
    None,
}

/// What becomes of a connection that has nothing to serve.
enum Then {
    Idle,
    Over,
}
