//! The way from one edge thread to each worker: frames out in batches, frames in to the mailboxes.
//!
//! Invariant: an exchange holds its place, and with it its lease, until the worker says that the work has ended, the
//! request was taken back, or the worker is no more.

mod places; // which exchange has which place of a ledger
mod rebind; // requests that wait unstarted

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Instant,
};

use link::{
    Abort, Cancel, Descriptors, ExchangeId, FilePart, Frame, Inbound, Kind, LinkEnd, Malformed, ResponseHead, State,
    flags, write_frame,
};
use policy::{Lease, NodeLabel, Shared, WorkerEntry, WorkerId};
use sys::Passed;
use tokio::{io::Interest, net::UnixStream, sync::watch};
use units::Cause;

use self::places::{Held, Places};
use crate::{
    NodeTable, admission,
    file::FileBody,
    mailbox::{Head, Mailbox, Turned},
};

/// How much is read from a link at a time.
const READ_SIZE: usize = 64 * 1024;

/// The links of one thread.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) shared: Arc<Shared>,
    table: watch::Receiver<Arc<NodeTable>>,
    /// That of the thread.
    index: usize,
    by_worker: RefCell<HashMap<WorkerId, Rc<Link>>>,
    spare: RefCell<Vec<Rc<Mailbox>>>,
    /// Requests that were handed over and are not known to have started, the oldest first.
    fresh: RefCell<VecDeque<Fresh>>,
    refreshed: Cell<Option<Instant>>,
    restless: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Fresh {
    link: Rc<Link>,
    id: ExchangeId,
}

/// The link to one worker.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) worker: WorkerId,
    pub(crate) pid: u32,
    pub(crate) node: Arc<NodeLabel>,
    end: Arc<LinkEnd>,
    socket: UnixStream,
    out: RefCell<Vec<u8>>,
    writer: RefCell<Option<Waker>>,
    places: RefCell<Places>,
    closed: Cell<bool>,
}

impl Links {
    pub(crate) fn new(shared: Arc<Shared>, table: watch::Receiver<Arc<NodeTable>>, index: usize) -> Rc<Self> {
        Rc::new(Self {
            shared,
            table,
            index,
            by_worker: RefCell::default(),
            spare: RefCell::default(),
            fresh: RefCell::default(),
            refreshed: Cell::new(None),
            restless: RefCell::new(None),
        })
    }

    /// The link to a worker; the table is looked at once more when the dispatch was quicker than its news.
    pub(crate) fn find(self: &Rc<Self>, worker: WorkerId) -> Option<Rc<Link>> {
        self.attached(worker).or_else(|| {
            self.follow();
            self.attached(worker)
        })
    }

    fn attached(&self, worker: WorkerId) -> Option<Rc<Link>> {
        self.by_worker.borrow().get(&worker).filter(|link| !link.closed.get()).map(Rc::clone)
    }

    /// Follows the node table as long as somebody writes it.
    pub(crate) async fn follow_the_table(self: Rc<Self>) {
        let mut news = self.table.clone();
        loop {
            news.mark_unchanged();
            self.follow();
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Attaches what is new, takes unstarted requests back from what drains, gives up what has gone.
    fn follow(self: &Rc<Self>) {
        let nodes = Arc::clone(&self.table.borrow());
        let table = &nodes.workers;
        for entry in table {
            let known = self.by_worker.borrow().get(&entry.id).map(Rc::clone);
            let link = match known {
                Some(link) => link,
                None => match self.attach(entry) {
                    Some(link) => link,
                    None => continue,
                },
            };
            if entry.draining {
                self.take_back(&link);
            }
        }
        let gone: Vec<_> = {
            let links = self.by_worker.borrow();
            links.values().filter(|link| !table.iter().any(|entry| entry.id == link.worker)).map(Rc::clone).collect()
        };
        for link in gone {
            self.by_worker.borrow_mut().remove(&link.worker);
            // Nothing of it is in flight unless its time is up: it may leave.
            link.send(Kind::Drain, 0, ExchangeId(0), &[]);
            self.give_up(&link);
        }
    }

    fn attach(self: &Rc<Self>, entry: &WorkerEntry<Arc<LinkEnd>>) -> Option<Rc<Link>> {
        let end = Arc::clone(entry.links.get(self.index)?);
        let socket = std::os::unix::net::UnixStream::from(end.take_socket()?);
        let socket = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket)).ok()?;
        let link = Rc::new(Link {
            worker: entry.id,
            pid: entry.pid,
            node: Arc::clone(&entry.node),
            end,
            socket,
            out: RefCell::default(),
            writer: RefCell::new(None),
            places: RefCell::default(),
            closed: Cell::new(false),
        });
        self.by_worker.borrow_mut().insert(entry.id, Rc::clone(&link));
        tokio::task::spawn_local(Rc::clone(&link).write());
        tokio::task::spawn_local(Rc::clone(self).read(Rc::clone(&link)));
        Some(link)
    }

    /// Begins an exchange: `write` appends the Request frame. `None` when the link has no place left.
    pub(crate) fn begin(
        &self,
        link: &Rc<Link>,
        (lease, beside): (Lease, admission::Held),
        write: impl FnOnce(&mut Vec<u8>, ExchangeId),
    ) -> Option<(ExchangeId, Rc<Mailbox>)> {
        let id = link.places.borrow_mut().claim()?;
        let mailbox = self.spare.borrow_mut().pop().unwrap_or_default();
        link.end.ledger().offer(id);
        link.places.borrow_mut().fill(id, Held { mailbox: Rc::clone(&mailbox), lease, _beside: beside });
        write(&mut link.out.borrow_mut(), id);
        link.wake_writer();
        self.fresh.borrow_mut().push_back(Fresh { link: Rc::clone(link), id });
        if let Some(waker) = self.restless.borrow_mut().take() {
            waker.wake();
        }
        Some((id, mailbox))
    }

    /// A mailbox that nobody looks at any more.
    pub(crate) fn recycle(&self, mailbox: &Rc<Mailbox>) {
        const SPARE: usize = 256;
        const KEEP: usize = 16 * 1024;
        if Rc::strong_count(mailbox) == 1 && self.spare.borrow().len() < SPARE {
            mailbox.reset(KEEP);
            self.spare.borrow_mut().push(Rc::clone(mailbox));
        }
    }

    /// Whether the application is known to have been called for this exchange.
    pub(crate) fn has_started(&self, link: &Link, id: ExchangeId) -> bool {
        link.end.ledger().state(id) == State::Started
    }

    /// Since when the application runs it, to a few milliseconds; `None` while the worker has not started it. For one that
    /// is not known here any more, since it was `given`.
    pub(crate) fn started(&self, link: &Link, id: ExchangeId, given: Instant) -> Option<Instant> {
        if !self.has_started(link, id) {
            return None;
        }
        self.note_start(link, id, Instant::now());
        link.places.borrow().held(id).and_then(|held| held.lease.started()).or(Some(given))
    }

    /// Takes the request back, unless it has started.
    #[must_use]
    pub(crate) fn withdraw(&self, link: &Link, id: ExchangeId) -> bool {
        let withdrawn = link.end.ledger().withdraw(id);
        if withdrawn {
            drop(self.release(link, id));
        }
        withdrawn
    }

    /// Nobody wants the response any more. What has not started is taken back; otherwise the worker is told why, and the
    /// slot stays leased until the work has ended. `title` names the request in the log.
    pub(crate) fn cancel(&self, link: &Link, id: ExchangeId, why: Cancel, title: &str) {
        if link.closed.get() || link.places.borrow().held(id).is_none() {
            return;
        }
        if self.withdraw(link, id) {
            return;
        }
        self.note_start(link, id, Instant::now());
        if why == Cancel::TimeUp
            && let Some(held) = link.places.borrow_mut().held_mut(id)
        {
            held.lease.expire();
        }
        write_frame(&mut link.out.borrow_mut(), Kind::Cancel, 0, why as u16, id, title.as_bytes());
        link.wake_writer();
    }

    fn take_back(&self, link: &Link) {
        let ids: Vec<_> = link.places.borrow().ids().collect();
        for id in ids {
            if link.end.ledger().withdraw(id)
                && let Some(mailbox) = self.release(link, id)
            {
                mailbox.put(|mail| mail.turned = Some(Turned::Returned));
            }
        }
    }

    /// The worker is no more: the ledger says what had started.
    fn give_up(&self, link: &Link) {
        if link.closed.replace(true) {
            return;
        }
        link.wake_writer();
        self.shared.change(Instant::now(), |dispatch| dispatch.drain_worker(link.worker));
        let lost = if link.end.is_cut_off() { Cause::Draining } else { Cause::WorkerCrashed };
        let ids: Vec<_> = link.places.borrow().ids().collect();
        for id in ids {
            let started = !link.end.ledger().withdraw(id);
            if let Some(mailbox) = self.release(link, id) {
                mailbox.put(|mail| {
                    // A whole answer, or word of an exception, came through in time.
                    if !mail.last && mail.turned.is_none() {
                        mail.turned = Some(if started { Turned::Lost(lost) } else { Turned::Returned });
                    }
                });
            }
        }
    }

    async fn read(self: Rc<Self>, link: Rc<Link>) {
        let (mut inbound, mut descriptors) = (Inbound::default(), Descriptors::default());
        // A link that was given up is read to its end all the same: the worker may still be ending its work.
        while link.socket.readable().await.is_ok() {
            let receive = || sys::receive(&link.socket, inbound.spare(READ_SIZE));
            match link.socket.try_io(Interest::READABLE, receive) {
                Ok((0, _)) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
                Ok((_, passed)) => descriptors.push(passed),
            }
            if self.deliver(&link, &mut inbound, &mut descriptors).is_err() {
                break;
            }
            inbound.shrink(READ_SIZE);
        }
        link.end_socket();
        self.by_worker.borrow_mut().remove(&link.worker);
        self.give_up(&link);
    }

    fn deliver(&self, link: &Link, inbound: &mut Inbound, descriptors: &mut Descriptors) -> Result<(), Malformed> {
        let now = Instant::now();
        while let Some(frame) = inbound.next_frame()? {
            let passed = if frame.kind == Kind::ResponseFile { descriptors.take()? } else { Passed::Nothing };
            let Some(mailbox) = link.places.borrow().held(frame.id).map(|held| Rc::clone(&held.mailbox)) else {
                continue;
            };
            if matches!(frame.kind, Kind::Response | Kind::ResponseAborted | Kind::WantBody | Kind::EarlyHints) {
                self.note_start(link, frame.id, now);
            }
            put(&mailbox, &frame, passed)?;
            drop(mailbox);
            if frame.kind == Kind::Done || frame.flags & flags::DONE != 0 && ends_work(frame.kind) {
                drop(self.release(link, frame.id));
            }
        }
        descriptors.check(inbound.cut())
    }

    fn note_start(&self, link: &Link, id: ExchangeId, now: Instant) {
        if let Some(held) = link.places.borrow_mut().held_mut(id)
            && !held.lease.has_started()
        {
            held.lease.start(now);
        }
    }

    fn release(&self, link: &Link, id: ExchangeId) -> Option<Rc<Mailbox>> {
        let held = link.places.borrow_mut().free(id)?;
        Some(held.mailbox)
    }
}

fn ends_work(kind: Kind) -> bool {
    matches!(kind, Kind::Response | Kind::ResponseBody | Kind::ResponseFile | Kind::ResponseAborted)
}

/// `passed` is what came with a ResponseFile.
fn put(mailbox: &Mailbox, frame: &Frame<'_>, passed: Passed) -> Result<(), Malformed> {
    let last = frame.flags & flags::LAST != 0;
    match frame.kind {
        Kind::Response => {
            let head = ResponseHead::read(frame.flags, frame.payload)?;
            mailbox.put(|mail| {
                mail.head = Some(Head {
                    status: frame.aux,
                    flags: frame.flags,
                    content_length: head.content_length,
                    reason_len: head.reason.len(),
                });
                mail.text.extend_from_slice(head.reason);
                mail.text.extend_from_slice(head.fields);
                mail.body.extend_from_slice(head.body);
                mail.last = last;
            });
        }
        Kind::ResponseBody => mailbox.put(|mail| {
            mail.body.extend_from_slice(frame.payload);
            mail.last = last;
        }),
        Kind::ResponseFile => {
            let part = FilePart::read(frame.payload)?;
            mailbox.put(|mail| match passed {
                Passed::Descriptor(file) => {
                    mail.file = Some(FileBody::new(file, part));
                    mail.last = last;
                }
                // This process may have no more of them: a clear error, if the head has not gone to the client.
                Passed::Lost | Passed::Nothing => {
                    mail.head = None;
                    mail.turned = Some(Turned::Aborted(Abort::Cancelled));
                }
            });
        }
        Kind::EarlyHints => mailbox.put(|mail| mail.hints.push(frame.payload.to_vec())),
        Kind::ResponseAborted => {
            mailbox.put(|mail| mail.turned = Some(Turned::Aborted(Abort::from_aux(frame.aux))));
        }
        Kind::WantBody => mailbox.put(|mail| mail.body_wanted = true),
        Kind::BodyCredit => {
            let amount = frame.amount()?;
            mailbox.put(|mail| mail.body_read = mail.body_read.saturating_add(amount));
        }
        Kind::Done => {}
        Kind::Request | Kind::Body | Kind::BodyAborted | Kind::Credit | Kind::Cancel | Kind::Drain => {
            return Err(Malformed("a worker sent a frame that only the edge may send"));
        }
    }
    Ok(())
}

impl Link {
    /// Appends a frame; it leaves with all others of this turn of the loop.
    pub(crate) fn send(&self, kind: Kind, frame_flags: u8, id: ExchangeId, payload: &[u8]) {
        write_frame(&mut self.out.borrow_mut(), kind, frame_flags, 0, id, payload);
        self.wake_writer();
    }

    /// The exchange has started, which a request body may have waited for.
    fn tell(&self, id: ExchangeId) {
        if let Some(held) = self.places.borrow().held(id) {
            held.mailbox.put(|_| ());
        }
    }

    /// Nothing can be read from it or written to it any more, whoever still holds it.
    fn end_socket(&self) {
        // A worker that has gone has ended it already.
        let _ = socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Both);
    }

    fn wake_writer(&self) {
        if let Some(waker) = self.writer.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn write(self: Rc<Self>) {
        let mut batch = Vec::new();
        loop {
            std::future::poll_fn(|context| {
                if !self.out.borrow().is_empty() || self.closed.get() {
                    return Poll::Ready(());
                }
                *self.writer.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            if self.out.borrow().is_empty() {
                return;
            }
            batch.clear();
            batch.shrink_to(READ_SIZE);
            std::mem::swap(&mut batch, &mut *self.out.borrow_mut());
            let mut sent = 0;
            while sent < batch.len() {
                match self.socket.try_write(&batch[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if self.socket.writable().await.is_err() {
                            return;
                        }
                    }
                    // The reader sees the end of the link too, and settles what was in flight.
                    Err(_) => return,
                }
            }
        }
    }
}
