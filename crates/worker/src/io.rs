//! The native thread that reads the links. It never touches the GIL, so a busy application cannot stop it.
//!
//! Invariant: it alone reads the sockets. It ends the process when every edge has gone, and stops the pool when every
//! edge has said Drain (or has gone) and nothing is in flight.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use link::{Cancel, Frame, Inbound, Kind, Malformed, flags};
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, epoll, eventfd},
    fs::Timespec,
    io::Errno,
    net::{RecvFlags, recv},
};
use sys::FreeMemory;

use crate::{
    exchange::Exchange, greenlets, pool::Memory, request::Job, serve::Worker, warden::Interrupt, wire::Wire,
    zygote::Status,
};

/// How much one read takes: a batch of requests, or a window of bodies.
const ROOM: usize = 64 * 1024;

/// How often it is looked whether the GIL is stuck, while somebody waits for it.
const GIL_TICK: Duration = Duration::from_millis(100);

/// How often it is looked whether there is memory for more threads, while there are many.
const MEMORY_TICK: Duration = Duration::from_millis(250);
const MANY_THREADS: u32 = 8;

/// How often it is looked whether the application has closed its standard descriptors, while requests run.
const STANDARD_TICK: Duration = Duration::from_millis(100);

const STUCK: &str = "a thread has held the GIL for a second: C code that computes or waits without releasing it; until it \
                     does, no other request of this worker can go on\n";

const KEPT: &str = "a handler has let no other run for a second: gevent switches only where a handler waits; until it does, no \
                    other request of this worker can go on\n";

const CLOSED: &str =
    "the application has closed descriptors that are not its own (os.closerange?): this worker cannot go on\n";

/// Wakes the I/O thread, or greenlets.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

/// What the I/O thread waits on; the links are added with [`watch`].
pub(crate) fn poll() -> io::Result<(Arc<OwnedFd>, Bell)> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let bell = Bell::new()?;
    epoll::add(&poll, &bell.0, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;
    Ok((Arc::new(poll), bell))
}

impl Bell {
    /// A bell that has not rung.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// What is readable when it has rung.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Wakes whoever waits for it, now or later.
    pub(crate) fn ring(&self) {
        // It cannot fail short of 2^64 rings that nobody heard.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Forgets that it has rung.
    pub(crate) fn silence(&self) {
        // Nothing to read means that it has not rung.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

/// One link as the I/O thread sees it.
struct Source {
    wire: Arc<Wire>,
    inbound: Inbound,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Draining,
    Gone,
}

/// Reads the links until the worker has been drained.
pub(crate) fn run(worker: &Arc<Worker>, poll: &OwnedFd) {
    let mut sources: Vec<_> = worker
        .wires
        .iter()
        .map(|wire| Source { wire: Arc::clone(wire), inbound: Inbound::default(), stage: Stage::Open })
        .collect();
    for source in &sources {
        let key = epoll::EventData::new_u64(source.wire.index as u64);
        if epoll::add(poll, &source.wire.socket, key, epoll::EventFlags::IN).is_err() {
            return;
        }
    }
    let mut jobs = Vec::new();
    let now = Instant::now();
    let mut looked = Looked { at_pool: now, at_memory: now, at_standard: now };
    loop {
        wait(worker, poll, &mut sources, &mut jobs, &mut looked);
        if !jobs.is_empty() {
            let call = worker.pool.push(&mut jobs);
            worker.obey(call);
        }
        let open = sources.iter().filter(|source| source.stage == Stage::Open).count();
        if sources.iter().all(|source| source.stage == Stage::Gone) {
            crate::zygote::leave_now(Status::Well);
        }
        if open == 0 && worker.pool.drain() && worker.wires.iter().all(|wire| wire.is_flushed()) {
            return;
        }
    }
}

/// Waits for events once and reads what has come.
fn wait(worker: &Arc<Worker>, poll: &OwnedFd, sources: &mut [Source], jobs: &mut Vec<Job>, looked: &mut Looked) {
    let tick = worker.pool.needs_tick().or_else(|| worker.warden.gil.is_waiting().then_some(GIL_TICK));
    let timeout = tick.map(|tick| Timespec { tv_sec: 0, tv_nsec: i64::from(tick.subsec_nanos()) });
    let mut events = [MaybeUninit::<epoll::Event>::uninit(); 64];
    let events = match epoll::wait(poll, &mut events, timeout.as_ref()) {
        Ok((events, _)) => events,
        Err(Errno::INTR) => return,
        Err(_) => {
            worker.standard.say(CLOSED);
            crate::zygote::leave_now(Status::Failed);
        }
    };
    if tick.is_some_and(|tick| tick <= looked.at_pool.elapsed()) {
        look(worker, looked);
    }
    for event in events {
        let Some(source) = usize::try_from(event.data.u64()).ok().and_then(|key| sources.get_mut(key)) else {
            worker.bell.silence();
            continue;
        };
        let happened = event.flags;
        if happened.contains(epoll::EventFlags::OUT) {
            source.wire.resume();
        }
        if happened.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
            && source.read(worker, jobs).is_err()
        {
            source.stage = Stage::Gone;
            source.wire.lose();
            // A socket that is not watched cannot be removed twice: each link is lost once.
            let _ = epoll::delete(poll, &source.wire.socket);
        }
    }
}

/// When what was last looked at.
struct Looked {
    at_pool: Instant,
    at_memory: Instant,
    at_standard: Instant,
}

fn look(worker: &Arc<Worker>, looked: &mut Looked) {
    let now = Instant::now();
    looked.at_pool = now;
    let vitals = worker.pool.vitals();
    if MANY_THREADS <= vitals.threads && MEMORY_TICK <= now.duration_since(looked.at_memory) {
        looked.at_memory = now;
        let is_scarce = FreeMemory::now().is_some_and(FreeMemory::is_scarce);
        worker.pool.note_memory(if is_scarce { Memory::Scarce } else { Memory::Enough });
    }
    if STANDARD_TICK <= now.duration_since(looked.at_standard) {
        looked.at_standard = now;
        worker.standard.restore();
    }
    if let Some(wire) = worker.wires.first() {
        wire.tell(vitals);
    }
    let call = worker.pool.tick();
    // A handler that goes on for long must not keep back what others have answered, or what it has itself.
    worker.flush();
    worker.obey(call);
    let turned = worker.pool.turned();
    if worker.gil.is_stuck(now, turned) | worker.warden.gil.is_stuck(now, turned) {
        worker.standard.say(if greenlets::here().is_some() { KEPT } else { STUCK });
    }
}

/// The edge has gone, or does not keep to the protocol.
struct Gone;

impl From<Malformed> for Gone {
    fn from(_: Malformed) -> Self {
        Self
    }
}

impl Source {
    fn read(&mut self, worker: &Worker, jobs: &mut Vec<Job>) -> Result<(), Gone> {
        let spare = self.inbound.spare(ROOM);
        match recv(&self.wire.socket, spare_capacity(spare), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Gone),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Gone),
        }
        while let Some(frame) = self.inbound.next_frame()? {
            if frame.kind == Kind::Drain {
                self.stage = Stage::Draining;
            } else if let Some(job) = dispatch(worker, &self.wire, &frame)? {
                jobs.push(job);
            }
        }
        self.inbound.shrink(4 * ROOM);
        Ok(())
    }
}

/// Gives a frame to its exchange. Frames of exchanges that have ended are late, not wrong.
fn dispatch(worker: &Worker, wire: &Arc<Wire>, frame: &Frame<'_>) -> Result<Option<Job>, Gone> {
    if frame.kind == Kind::Request {
        let exchange = Arc::new(Exchange::new(wire, frame.id));
        wire.open_exchange(&exchange);
        return Ok(Some(Job { exchange, flags: frame.flags, listener: frame.aux, payload: frame.payload.to_vec() }));
    }
    let Some(exchange) = wire.exchange(frame.id) else { return Ok(None) };
    match frame.kind {
        Kind::Body => exchange.body(frame.payload, frame.flags & flags::LAST != 0),
        Kind::BodyAborted => exchange.abort_body(),
        Kind::Credit => exchange.credit(frame.amount()?),
        Kind::Cancel => {
            exchange.cancel();
            let why = Cancel::from_aux(frame.aux);
            if why != Cancel::Unwanted {
                let title = String::from_utf8_lossy(frame.payload).into_owned();
                worker.warden.interrupt(Interrupt { exchange, why, title });
            }
        }
        _ => return Err(Gone),
    }
    Ok(None)
}
