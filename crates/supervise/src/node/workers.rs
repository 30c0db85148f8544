//! The places of a node: how they are filled, when a worker gets requests, and what follows when it has gone.
//!
//! Invariant: a worker is in the node table exactly while it is ready and the node is active.

use std::{cell::Cell, os::fd::AsFd, rc::Rc, sync::Arc, time::Instant};

use policy::WorkerId;
use tokio::{task::spawn_local, time::timeout};

use super::{Event, Node, SETTLE_GRACE, Seen, Serial};
use crate::{
    backoff::Reached,
    ended::{EndKind, How},
    output,
    start_error::StartError,
    status::State,
    table::Newcomer,
    worker::{Endowment, Occupant, Place, Stay, endow},
    zygote::Order,
};

impl Node {
    /// Sees to it that a worker will be in this place.
    pub(super) async fn fill(&mut self, number: u32) -> Result<(), StartError> {
        if !matches!(self.place(number), Some(Place { occupant: Occupant::Nobody, .. })) {
            return Ok(());
        }
        if self.one_each {
            return self.start_process(number);
        }
        match self.zygote() {
            Some(serial) => self.give(serial, Order::Fork { worker: number }, number).await,
            // It has ended; whoever replaces it fills all places.
            None => Ok(()),
        }
    }

    /// The same while others live, whom it does not concern when it fails: then it is tried again.
    pub(super) async fn refill(&mut self, number: u32) {
        let Err(error) = self.fill(number).await else { return };
        let now = Instant::now();
        let Some(place) = self.place(number) else { return };
        let delay = place.backoff.died(now, now, Reached::Starting);
        place.last_end = error.0.what.clone();
        self.say(&error.to_string());
        self.later(delay, Event::Refill(number));
    }

    /// Orders a process to make the worker of a place, and gives it its descriptors.
    pub(super) async fn give(&mut self, serial: Serial, order: Order, number: u32) -> Result<(), StartError> {
        let name = self.label.name.clone();
        let cannot = |error: &dyn std::fmt::Display| StartError::machine("cannot make a worker", &name, error);
        let Endowment { theirs, ends, output } = endow(self.plan.front.threads).map_err(|error| cannot(&error))?;
        let Some(process) = self.processes.get(&serial) else { return Ok(()) };
        let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        process.zygote.order(order, &descriptors).await.map_err(|error| cannot(&error))?;
        let pid = Rc::new(Cell::new(if self.one_each { process.zygote.pid() } else { 0 }));
        let sink = self.plan.context.sink.clone();
        spawn_local(output::forward(output, self.label.name.clone(), Rc::clone(&pid), sink));
        if let Some(place) = self.place(number) {
            place.occupant = Occupant::Starting { born: Instant::now(), pid, ends };
        }
        Ok(())
    }

    pub(super) fn worker_ready(&mut self, number: u32, pid: u32) {
        let active = self.active;
        let Some(place) = self.place(number) else { return };
        let Occupant::Starting { born, ends, .. } = std::mem::replace(&mut place.occupant, Occupant::Nobody) else {
            return;
        };
        place.occupant = Occupant::Ready { born, pid, ends, id: None, seen: Seen::new(Instant::now()) };
        if active {
            self.enlist(number);
            self.succeed(number);
        }
    }

    /// The worker gets requests from now on.
    pub(super) fn enlist(&mut self, number: u32) {
        let (node, label, threads) = (self.id, Arc::clone(&self.label), self.plan.config.threads);
        let context = Rc::clone(&self.plan.context);
        if let Some(Place { occupant: Occupant::Ready { pid, ends, id: id @ None, .. }, .. }) = self.place(number) {
            *id = Some(context.table.add(Newcomer { node, label, pid: *pid, threads, links: ends.links.clone() }));
        }
    }

    pub(super) fn activate(&mut self) {
        self.active = true;
        let numbers: Vec<_> = self.places.iter().map(|place| place.number).collect();
        numbers.into_iter().for_each(|number| self.enlist(number));
        self.record(&format!("{} is ready", self.label.name));
    }

    /// A worker has gone: its requests are settled by the edge, and its place is filled again.
    pub(super) fn worker_ended(&mut self, number: u32, how: &How) {
        let How { kind, words: how } = how;
        let Some(place) = self.place(number) else { return };
        let occupant = std::mem::replace(&mut place.occupant, Occupant::Nobody);
        let (pid, id) = (occupant.pid(), occupant.id());
        // One that could not even be forked has no number.
        let which = if pid == 0 { "a worker".to_owned() } else { format!("worker {pid}") };
        place.last_end = format!("{which} {how}");
        let delay = match occupant {
            Occupant::Nobody => return,
            Occupant::Starting { born, .. } => place.backoff.died(born, Instant::now(), Reached::Starting),
            Occupant::Ready { born, .. } => place.backoff.died(born, Instant::now(), Reached::Ready),
        };
        let (hopeless, stay) = (place.backoff.is_hopeless(), place.stay);
        self.plan.context.ends.count(if stay == Stay::Unbounded { *kind } else { EndKind::Left });
        if let Some(id) = id {
            self.dismiss(id);
        }
        if stay != Stay::Unbounded {
            // It was to go anyway: its successor is there or on its way, or it has none.
            self.places.retain(|place| place.number != number);
            self.record(&format!("{}: worker {pid}, which was to leave, {how}", self.label.name));
            return;
        }
        let again = if delay.is_zero() { "now".to_owned() } else { format!("in {}", units::show_duration(delay)) };
        self.say(&format!("{}: {which} {how}; a new one is started {again}", self.label.name));
        if hopeless && self.active {
            self.view.borrow_mut().state = State::Failed;
        }
        self.later(delay, Event::Refill(number));
    }

    /// Takes a worker that has gone out of table and dispatch.
    pub(super) fn dismiss(&self, id: WorkerId) {
        let context = Rc::clone(&self.plan.context);
        let view = Rc::clone(&self.view);
        context.table.remove(&[id]);
        view.borrow_mut().settling.push(id);
        spawn_local(async move {
            // Its leases are given back as the edge settles its requests; without the edge nobody is left to do so.
            let _ = timeout(SETTLE_GRACE, context.shared.drained(&[id])).await;
            let mut view = view.borrow_mut();
            view.settling.retain(|settling| *settling != id);
            view.past_requests += context.shared.load(id).requests;
            context.table.forget(&[id]);
        });
    }

    pub(super) fn place(&mut self, number: u32) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.number == number)
    }
}
