//! One link: its socket, its ledger, the bytes that wait to be sent, and the exchanges that are open on it.
//!
//! Invariant: bytes leave in the order in which frames were appended, whoever sends them; once the link is lost,
//! appending and flushing do nothing. What frames mean is decided elsewhere.

use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use link::{ExchangeId, FilePart, HEADER_LEN, Kind, Ledger, Outbound, Vitals, flags, write_frame};
use rustix::{
    event::epoll,
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg},
};
use sys::SharedWords;

use crate::exchange::Exchange;

/// A buffer larger than this is given back once it is empty.
const KEEP: usize = 256 * 1024;

/// One link.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Its place among the worker's links, and its key in the poll.
    pub(crate) index: usize,
    pub(crate) socket: OwnedFd,
    words: SharedWords,
    poll: Arc<OwnedFd>,
    out: Mutex<Outbox>,
    open: Mutex<Vec<Option<Arc<Exchange>>>>,
}

/// Where a frame begins in everything that was ever appended to one link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position(u64);

#[derive(Debug, Default)]
struct Outbox {
    frames: Outbound,
    /// How many bytes had left before the first of `frames`.
    before: u64,
    state: Sending,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Sending {
    #[default]
    Free,
    /// The socket was full: the I/O thread goes on when there is room.
    Full,
    Lost,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.frames.progress().0 == 0
    }
}

impl Wire {
    /// A link that reports to `poll` under the key `index`.
    pub(crate) fn new(index: usize, socket: OwnedFd, words: SharedWords, poll: Arc<OwnedFd>) -> Self {
        Self { index, socket, words, poll, out: Mutex::default(), open: Mutex::default() }
    }

    /// The ledger shared with the edge.
    pub(crate) fn ledger(&self) -> Ledger<'_> {
        Ledger(&self.words)
    }

    /// Tells what `ps -v` shows.
    pub(crate) fn tell(&self, vitals: Vitals) {
        vitals.write(&self.words);
    }

    /// Ends it, with nothing in flight.
    pub(crate) fn shut(&self) {
        // An edge that has gone has ended it before.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Appends a frame that `write` writes.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Position {
        self.append_to(|frames| write(frames.bytes()))
    }

    /// Appends a frame for a part of a file, and with it the descriptor.
    pub(crate) fn append_file(&self, flags: u8, id: ExchangeId, part: FilePart, descriptor: OwnedFd) -> Position {
        self.append_to(|frames| frames.write_file(flags, id, part, descriptor))
    }

    fn append_to(&self, write: impl FnOnce(&mut Outbound)) -> Position {
        let mut out = self.out();
        let position = Position(out.before + out.frames.progress().0 as u64);
        if out.state != Sending::Lost {
            write(&mut out.frames);
        }
        position
    }

    /// Appends a frame whose payload is at hand.
    pub(crate) fn append_frame(&self, kind: Kind, flags: u8, aux: u16, id: ExchangeId, payload: &[u8]) -> Position {
        self.append(|out| write_frame(out, kind, flags, aux, id, payload))
    }

    /// Says that the work of `id` has ended: on its last frame, when that has not left yet, else in a frame.
    pub(crate) fn append_done(&self, id: ExchangeId, last: Position) {
        const FLAGS: u64 = 5;
        const _: () = assert!(FLAGS < HEADER_LEN as u64);
        let mut out = self.out();
        if out.state == Sending::Lost {
            return;
        }
        let unsent = out.before + out.frames.progress().1 as u64;
        if unsent <= last.0 + FLAGS {
            let at = usize::try_from(last.0 + FLAGS - out.before).expect("inside the buffer");
            out.frames.bytes()[at] |= flags::DONE;
        } else {
            write_frame(out.frames.bytes(), Kind::Done, 0, 0, id, &[]);
        }
    }

    /// Sends what the socket takes; the rest is left to the I/O thread.
    pub(crate) fn flush(&self) {
        let mut out = self.out();
        if out.state == Sending::Free && !out.is_empty() && self.send(&mut out) {
            out.state = Sending::Full;
            self.listen(epoll::EventFlags::IN | epoll::EventFlags::OUT);
        }
    }

    /// I/O thread: the socket has room again.
    pub(crate) fn resume(&self) {
        let mut out = self.out();
        if out.state == Sending::Full && !self.send(&mut out) {
            if out.state == Sending::Full {
                out.state = Sending::Free;
            }
            self.listen(epoll::EventFlags::IN);
        }
    }

    /// Whether everything has left or never will.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out().is_empty()
    }

    /// I/O thread: the edge has gone. Nobody wants what is open.
    pub(crate) fn lose(&self) {
        {
            let mut out = self.out();
            out.state = Sending::Lost;
            out.frames.reset(0);
        }
        for exchange in self.open().drain(..).flatten() {
            exchange.cancel();
        }
    }

    /// I/O thread: makes the exchange known to later frames.
    pub(crate) fn open_exchange(&self, exchange: &Arc<Exchange>) {
        let mut open = self.open();
        let index = usize::from(exchange.id.index());
        if open.len() <= index {
            open.resize(index + 1, None);
        }
        open[index] = Some(Arc::clone(exchange));
    }

    /// The open exchange of that name.
    pub(crate) fn exchange(&self, id: ExchangeId) -> Option<Arc<Exchange>> {
        let open = self.open();
        open.get(usize::from(id.index()))?.as_ref().filter(|exchange| exchange.id == id).cloned()
    }

    /// Frames of that name are late from now on.
    pub(crate) fn close_exchange(&self, id: ExchangeId) {
        let mut open = self.open();
        if let Some(place) = open.get_mut(usize::from(id.index()))
            && place.as_ref().is_some_and(|exchange| exchange.id == id)
        {
            *place = None;
        }
    }

    /// Sends; true when the socket is full.
    fn send(&self, out: &mut Outbox) -> bool {
        while let Some((bytes, descriptor)) = out.frames.next_message() {
            match self.send_message(bytes, descriptor) {
                Ok(count) => out.frames.advance(count),
                Err(Errno::INTR) => {}
                // Too many descriptors are on their way: the edge has to receive some first, which makes room too.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => return true,
                // The reading side learns of the loss too, and does the rest.
                Err(_) => {
                    out.state = Sending::Lost;
                    break;
                }
            }
        }
        out.before += out.frames.progress().0 as u64;
        out.frames.reset(KEEP);
        false
    }

    fn send_message(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<usize, Errno> {
        let how = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if descriptor.is_none() {
            return send(&self.socket, bytes, how);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pushed = control.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()));
        debug_assert!(pushed, "the room is made for one");
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, how)
    }

    fn listen(&self, what: epoll::EventFlags) {
        // It fails only for a socket that the I/O thread has given up, and then nobody waits for an event.
        let _ = epoll::modify(&*self.poll, &self.socket, epoll::EventData::new_u64(self.index as u64), what);
    }

    fn out(&self) -> MutexGuard<'_, Outbox> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Option<Arc<Exchange>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
