//! What has come back for one exchange and was not fetched yet; the meeting point of a link and a connection.
//!
//! Invariant: at most `RESPONSE_WINDOW` bytes of body wait here, as the worker gets no credit for more, and one file.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Waker},
};

use link::Abort;
use policy::Lease;
use units::Cause;

use crate::file::FileBody;

/// The head of a response that has arrived.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The flags of the Response frame.
    pub(crate) flags: u8,
    pub(crate) content_length: Option<u64>,
    /// How many of [`Mail::text`]'s bytes are the reason phrase; the rest are field lines.
    pub(crate) reason_len: usize,
}

/// What changes the way of an exchange.
#[derive(Debug)]
pub(crate) enum Turned {
    /// It had not started and waits here with a slot of another worker.
    Rebound(Lease),
    /// It had not started, and its worker takes nothing more.
    Returned,
    /// It had started, and its worker is no more, for this reason.
    Lost(Cause),
    /// The application raised an exception or broke off.
    Aborted(Abort),
}

/// The parts of a mailbox, filled by the link and emptied by the connection.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) head: Option<Head>,
    /// Reason phrase and field lines of the head.
    pub(crate) text: Vec<u8>,
    /// Body bytes not yet fetched.
    pub(crate) body: Vec<u8>,
    /// The part of a file that follows those.
    pub(crate) file: Option<FileBody>,
    /// Nothing of the body follows that.
    pub(crate) last: bool,
    pub(crate) turned: Option<Turned>,
    /// Field lines of each early hint, in order.
    pub(crate) hints: Vec<Vec<u8>>,
    /// The application waits for the request's body.
    pub(crate) body_wanted: bool,
    /// Bytes of the request's body that the application has read since this was last looked at.
    pub(crate) body_read: u32,
}

/// A mailbox and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: RefCell<Mail>,
    waker: RefCell<Option<Waker>>,
    fresh: Cell<bool>,
}

impl Mailbox {
    /// The link puts something in.
    pub(crate) fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.borrow_mut());
        self.fresh.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The connection looks, or takes something out.
    pub(crate) fn look<T>(&self, fetch: impl FnOnce(&mut Mail) -> T) -> T {
        fetch(&mut self.mail.borrow_mut())
    }

    /// Whether anything was put in since this last said so; if not, the task is woken when something is.
    pub(crate) fn poll_fresh(&self, context: &Context<'_>) -> bool {
        if self.fresh.replace(false) {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        false
    }

    /// Empties it for another exchange; the buffers keep their room up to `keep` bytes.
    pub(crate) fn reset(&self, keep: usize) {
        let mut mail = self.mail.borrow_mut();
        let (mut text, mut body) = (std::mem::take(&mut mail.text), std::mem::take(&mut mail.body));
        text.clear();
        body.clear();
        text.shrink_to(keep);
        body.shrink_to(keep);
        *mail = Mail { text, body, ..Mail::default() };
        *self.waker.borrow_mut() = None;
        self.fresh.set(false);
    }
}
