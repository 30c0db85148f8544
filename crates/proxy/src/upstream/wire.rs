//! One connection to an upstream: its socket and what is to be sent and was received.
//!
//! Invariant: it is kept for another request only when everything was sent, the answer has been read to its end, and not a
//! byte has come behind that.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    buffers::{LONG, SHORT},
    stream::Stream,
    thread::Thread,
};

/// There is so much room at least for a read that goes on.
const LEAST_ROOM: usize = 1024;

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Some bytes.
    More,
    /// Nothing will follow.
    End,
    /// It was reset, or has ended without saying so where that is to be said (TLS): somebody may have cut it off.
    Broken,
}

/// How much is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expects {
    Head,
    Body,
}

/// Whether the upstream is to hear at once that a part of its answer is here. The kernel waits up to 40 ms with that, for something to
/// send it with, and one that writes head and body apart without TCP_NODELAY (as many of Python's own servers do) waits for it as long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receipt {
    #[default]
    NothingCame,
    Due,
    /// Once for each answer: what goes on coming is acknowledged by itself.
    Given,
}

impl Receipt {
    fn part_came(&mut self) {
        if *self == Self::NothingCame {
            *self = Self::Due;
        }
    }

    /// Nothing more is here; true when the receipt is to be given now.
    fn is_due(&mut self) -> bool {
        let is_due = *self == Self::Due;
        if is_due {
            *self = Self::Given;
        }
        is_due
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Where it leads, if that can change.
    pub(super) address: Option<SocketAddr>,
    /// With what it has begun: it is for those only for whom it would be the same.
    pub(super) header: Vec<u8>,
    /// Why the upstream has broken it off, if it has said so.
    pub(super) refusal: Option<String>,
    pub(super) input: Vec<u8>,
    pub(super) out: Vec<u8>,
    /// Nothing more can be sent: the upstream has closed its side, or all of it.
    pub(super) is_deaf: bool,
    receipt: Receipt,
}

impl Wire {
    pub(super) fn new(stream: Stream, address: Option<SocketAddr>, header: Vec<u8>) -> Self {
        let (input, out, receipt) = (Vec::new(), Vec::new(), Receipt::default());
        Self { stream, address, header, refusal: None, input, out, is_deaf: false, receipt }
    }

    /// Begins a request.
    pub(super) fn ask(&mut self, question: Vec<u8>) {
        self.out = question;
        self.receipt = Receipt::default();
    }

    /// Appends what has arrived to `input`.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, thread: &Thread, expects: Expects) -> Poll<Came> {
        match expects {
            Expects::Head if self.input.capacity() == 0 => {
                self.input = thread.buffers.take_short();
                self.input.reserve_exact(SHORT);
            }
            Expects::Body if self.input.is_empty() && self.input.capacity() < LONG => {
                thread.buffers.put(std::mem::replace(&mut self.input, thread.buffers.take_long()));
            }
            _ => self.input.reserve(LEAST_ROOM),
        }
        loop {
            return match self.stream.poll_read(context, &mut self.input) {
                Poll::Pending => {
                    // While an answer is awaited its buffer serves others.
                    if self.input.is_empty() {
                        thread.buffers.put(std::mem::take(&mut self.input));
                    }
                    if self.receipt.is_due() {
                        self.stream.acknowledge();
                    }
                    Poll::Pending
                }
                Poll::Ready(Ok(0)) => Poll::Ready(Came::End),
                Poll::Ready(Ok(_)) => {
                    self.receipt.part_came();
                    Poll::Ready(Came::More)
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Poll::Ready(Err(error)) => {
                    self.refusal = tls::refusal(&error);
                    Poll::Ready(Came::Broken)
                }
            };
        }
    }

    /// Sends `out` as far as the upstream takes it; ready when nothing is left of it. One that takes nothing more may have
    /// answered all the same: only reading tells.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.poll_write(context, &self.out[sent..]) {
                Poll::Ready(Ok(count)) if 0 < count => sent += count,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(_) => {
                    self.is_deaf = true;
                    break;
                }
                Poll::Pending => {
                    self.out.drain(..sent);
                    return Poll::Pending;
                }
            }
        }
        self.out.clear();
        if !self.is_deaf && self.stream.holds_bytes() && ready!(self.stream.poll_flush(context)).is_err() {
            self.is_deaf = true;
        }
        Poll::Ready(())
    }

    /// Says that nothing more will be sent; what the upstream sends is still read.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_shutdown_write(context)
    }

    /// Whether everything has been sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.stream.holds_bytes()
    }

    /// Whether an idle connection is still as it was left: open, and silent (a response without a request would be the next
    /// client's).
    pub(super) fn is_usable(&mut self, context: &mut Context<'_>) -> bool {
        let mut byte = Vec::with_capacity(1);
        self.stream.poll_read(context, &mut byte).is_pending()
    }

    /// Its buffers serve others while it is idle.
    pub(super) fn rest(&mut self, thread: &Thread) {
        thread.buffers.put(std::mem::take(&mut self.input));
        thread.buffers.put(std::mem::take(&mut self.out));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.stream.says_goodbye() {
            // As far as there is room for it: nobody waits.
            let _ = self.stream.poll_shutdown_write(&mut Context::from_waker(Waker::noop()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_given_once_and_only_for_what_is_not_whole() {
        let mut receipt = Receipt::default();
        assert!(!receipt.is_due(), "nothing has come");
        receipt.part_came();
        assert!(receipt.is_due());
        assert!(!receipt.is_due());
        receipt.part_came();
        assert!(!receipt.is_due(), "the rest of the same answer");
    }
}
