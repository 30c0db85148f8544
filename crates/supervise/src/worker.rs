//! One worker's place in a node: what is there now, and when the next is started.

use std::{cell::Cell, os::fd::OwnedFd, rc::Rc, sync::Arc, time::Instant};

use link::{LEDGER_WORDS, LinkEnd};
use policy::WorkerId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sys::SharedWords;

use crate::{backoff::Backoff, node::Seen};

/// A place for a worker.
#[derive(Debug)]
pub(crate) struct Place {
    /// Counted from 1 within the node.
    pub(crate) number: u32,
    pub(crate) occupant: Occupant,
    pub(crate) stay: Stay,
    pub(crate) backoff: Backoff,
    /// How the one before has ended, in words.
    pub(crate) last_end: String,
}

impl Place {
    /// An empty place.
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            occupant: Occupant::Nobody,
            stay: Stay::Unbounded,
            backoff: Backoff::default(),
            last_end: String::new(),
        }
    }
}

/// How long the worker of a place stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// As long as it lives; then the place is filled again.
    Unbounded,
    /// Until the worker of that place is ready.
    UntilReady(u32),
    /// Until it has finished what it has; then the place is given up.
    Leaving,
}

/// Who is in it.
#[derive(Debug)]
pub(crate) enum Occupant {
    /// Nobody; somebody will be started.
    Nobody,
    /// A process that is not ready.
    Starting { born: Instant, pid: Rc<Cell<u32>>, ends: Ends },
    /// A worker that is ready; it has an id once it gets requests.
    Ready { born: Instant, pid: u32, ends: Ends, id: Option<WorkerId>, seen: Seen },
}

/// Our ends of what a worker has.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) links: Vec<Arc<LinkEnd>>,
    /// By which it may be told to become the zygote.
    pub(crate) orders: OwnedFd,
}

impl Occupant {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Nobody => 0,
            Self::Starting { pid, .. } => pid.get(),
            Self::Ready { pid, .. } => *pid,
        }
    }

    pub(crate) fn id(&self) -> Option<WorkerId> {
        match self {
            Self::Ready { id, .. } => *id,
            _ => None,
        }
    }

    /// Where it tells of itself.
    pub(crate) fn first_link(&self) -> Option<Arc<LinkEnd>> {
        match self {
            Self::Ready { ends, .. } => ends.links.first().map(Arc::clone),
            _ => None,
        }
    }

    /// When it was ordered.
    pub(crate) fn born(&self) -> Option<Instant> {
        match self {
            Self::Nobody => None,
            Self::Starting { born, .. } | Self::Ready { born, .. } => Some(*born),
        }
    }

    /// It gets no more requests, and those that it had are settled.
    pub(crate) fn forget_id(&mut self) -> Option<WorkerId> {
        match self {
            Self::Ready { id, .. } => id.take(),
            _ => None,
        }
    }
}

/// The descriptors that a worker gets, in the order of the contract: output, orders, then socket and ledger of each link.
#[derive(Debug)]
pub(crate) struct Endowment {
    pub(crate) theirs: Vec<OwnedFd>,
    pub(crate) ends: Ends,
    pub(crate) output: OwnedFd,
}

/// Makes the pipe and the links of one worker.
pub(crate) fn endow(edge_threads: usize) -> std::io::Result<Endowment> {
    let (output, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (orders, told) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut theirs = vec![writer, told];
    let mut links = Vec::new();
    for _ in 0..edge_threads {
        let (ours, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let (words, ledger) = SharedWords::create(LEDGER_WORDS)?;
        links.push(Arc::new(LinkEnd::new(ours, words)));
        theirs.extend([other, ledger]);
    }
    Ok(Endowment { theirs, ends: Ends { links, orders }, output })
}
