//! A node's life: one process imports the application and forks the workers; those that end are replaced.
//!
//! | state    | goes on with                                                  | to              |
//! |----------|---------------------------------------------------------------|-----------------|
//! | Starting | all workers ready, and told to get requests                   | Ready           |
//! | Starting | import fails, or workers keep ending before they are ready    | Failed          |
//! | Ready    | a worker ends (it is replaced)                                | Ready           |
//! | Ready    | told to have more or fewer workers                            | Ready           |
//! | Ready    | the zygote ends (everything is started anew)                  | Starting        |
//! | Failed   | a later attempt succeeds                                      | Ready           |
//! | any      | told to drain                                                 | Draining        |
//! | Draining | everything in flight has ended, or the deadline has passed    | Stopped         |
//!
//! An application that has started threads while it was imported cannot be forked: then each worker is a process that
//! imports it itself. Invariant: a worker is in the node table exactly while it is ready and the node is active.

mod drain; // the end of a node
mod replace; // workers that are replaced while they live
mod staff; // more and fewer workers

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use config::Config;
use policy::{NodeId, NodeLabel, WorkerId};
use telemetry::About;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::{MissedTickBehavior, timeout},
};

use crate::{
    backoff::{Backoff, Reached},
    context::Context,
    ended,
    explanation::Explanation,
    handle::{NodeHandle, View, WorkerView},
    interpreter::Interpreter,
    output,
    start_error::{Blame, StartError},
    status::State,
    table::Newcomer,
    worker::{Endowment, Occupant, Place, Stay, endow},
    zygote::{Order, Said, Zygote, hear},
};

pub(crate) use self::replace::Seen;

/// How long a crashed worker's requests may take to be settled before it is forgotten.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// A request to a running node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Its workers are to get requests.
    Activate,
    /// It is to have so many workers.
    Staff(u32),
    /// Finish what is in flight, at most so long; answer how many requests were cut off.
    Drain(Duration, oneshot::Sender<u64>),
}

#[derive(Debug)]
enum Event {
    Said(Serial, Said),
    /// The process has ended, in this way if it is known.
    Ended(Serial, Option<ExitStatus>),
    /// It is time to fill this place again.
    Refill(u32),
    /// It is time to start the zygote again.
    Restart,
    /// Nobody waits for anything of the worker in this place, which is leaving.
    Drained(u32),
    /// It should have ended since.
    Overdue(u32),
}

/// Tells the processes of a node apart, those included that have gone.
type Serial = u32;

/// What a node is made from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) context: Rc<Context>,
    pub(crate) config: Arc<Config>,
    /// Held as long as anything of the node runs or may be started.
    pub(crate) interpreter: Interpreter,
    pub(crate) index: u32,
    pub(crate) generation: u32,
    /// How many workers it has at first.
    pub(crate) workers: u32,
}

#[derive(Debug)]
struct Node {
    plan: Plan,
    label: Arc<NodeLabel>,
    id: NodeId,
    processes: HashMap<Serial, Process>,
    serials: Serial,
    places: Vec<Place>,
    /// How many workers it is to have.
    staff: u32,
    imported: bool,
    /// The application cannot be forked.
    one_each: bool,
    active: bool,
    zygote_backoff: Backoff,
    zygote_born: Instant,
    events: mpsc::UnboundedReceiver<Event>,
    sender: mpsc::UnboundedSender<Event>,
    view: Rc<RefCell<View>>,
}

/// A process that has imported the application, or does.
#[derive(Debug)]
struct Process {
    zygote: Zygote,
    /// The worker that it is to become; 0 for one that forks.
    place: u32,
}

impl Plan {
    /// `web.1`
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.config.name, self.index)
    }
}

/// Starts a node and waits until all its workers are ready, inactive as yet.
pub(crate) async fn start(plan: Plan) -> Result<NodeHandle, StartError> {
    let limit = plan.config.limits.start;
    let name = plan.name();
    let mut node = Node::new(plan);
    let started = timeout(limit, node.become_ready()).await;
    match started {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            let explanation = Explanation::new(format!("{name} was not ready after {}", units::show_duration(limit)))
                .during("importing the application and starting its workers")
                .place(node.plan.config.app.to_string())
                .hint("if it needs that long, raise limits.start");
            // Another time it may be quicker: what it waits for may be there, and the machine less busy.
            return Err(StartError(Box::new(explanation), Blame::Machine));
        }
    }
    let (commands, orders) = mpsc::unbounded_channel();
    let (index, config) = (node.plan.index, Arc::clone(&node.plan.config));
    let handle = NodeHandle { index, config, commands, view: Rc::clone(&node.view) };
    spawn_local(node.run(orders));
    Ok(handle)
}

impl Node {
    fn new(plan: Plan) -> Self {
        let name = plan.name();
        let (sender, events) = mpsc::unbounded_channel();
        let born = Instant::now();
        let view = View {
            state: State::Starting,
            workers: Vec::new(),
            staff: plan.workers,
            pid: 0,
            born,
            settling: Vec::new(),
            past_requests: 0,
        };
        let (label, view) = (Arc::new(NodeLabel { name, generation: plan.generation }), Rc::new(RefCell::new(view)));
        plan.context.roster.enter(plan.index, &label, &view);
        Self {
            label,
            id: plan.context.shared.add_node(),
            processes: HashMap::new(),
            serials: 0,
            places: (1..=plan.workers).map(Place::new).collect(),
            staff: plan.workers,
            imported: false,
            one_each: false,
            active: false,
            zygote_backoff: Backoff::default(),
            zygote_born: born,
            events,
            sender,
            view,
            plan,
        }
    }

    async fn become_ready(&mut self) -> Result<(), StartError> {
        self.start_process(0)?;
        self.show();
        while !(self.imported && self.places.iter().all(|place| matches!(place.occupant, Occupant::Ready { .. }))) {
            let Some(event) = self.events.recv().await else { break };
            self.handle(event).await?;
            self.show();
            if let Some(place) = self.places.iter().find(|place| place.backoff.is_hopeless()) {
                let explanation =
                    Explanation::new(format!("the workers of {} keep ending before they are ready", self.label.name))
                        .during("starting its workers")
                        .place(format!("worker {}", place.number))
                        .cause(place.last_end.clone())
                        .hint("the log has what they have printed: `tierce logs`");
                return Err(StartError::application(explanation));
            }
        }
        Ok(())
    }

    /// Serves events and commands until the node was drained, or everybody has lost interest in it.
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Command>) {
        let mut tick = tokio::time::interval(replace::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Command::Activate) => self.activate(),
                    Some(Command::Staff(wanted)) => self.set_staff(wanted).await,
                    Some(Command::Drain(limit, done)) => {
                        let cut = self.drain(limit).await;
                        // Whoever asked may have gone.
                        let _ = done.send(cut);
                        return;
                    }
                    None => return,
                },
                event = self.events.recv() => {
                    let Some(event) = event else { return };
                    if let Err(error) = self.handle(event).await {
                        self.failed(&error);
                    }
                }
                _ = tick.tick() => self.look_at_workers().await,
            }
            self.show();
        }
    }

    fn failed(&mut self, error: &StartError) {
        self.view.borrow_mut().state = State::Failed;
        self.say(&error.to_string());
        self.lose_everything();
        let delay = self.zygote_backoff.died(self.zygote_born, Instant::now(), Reached::Starting);
        self.later(delay.max(Duration::from_secs(1)), Event::Restart);
    }

    async fn handle(&mut self, event: Event) -> Result<(), StartError> {
        match event {
            Event::Said(serial, said) => self.heard(serial, said).await,
            Event::Ended(serial, how) => self.process_ended(serial, how),
            Event::Refill(number) => {
                self.refill(number).await;
                Ok(())
            }
            Event::Restart if self.processes.is_empty() => self.start_process(0),
            Event::Restart => Ok(()),
            Event::Drained(number) => {
                self.part(number);
                Ok(())
            }
            Event::Overdue(number) => {
                self.end_overdue(number);
                Ok(())
            }
        }
    }

    async fn heard(&mut self, serial: Serial, said: Said) -> Result<(), StartError> {
        match said {
            Said::Imported { interface, .. } if interface == "asgi" => Err(StartError::is_asgi(&self.plan)),
            Said::Imported { threads, .. } => self.imported(serial, threads).await,
            Said::Failed { cause, traceback, missing_module, found } => {
                Err(StartError::cannot_import(&self.plan, &cause, &traceback, missing_module.as_deref(), &found))
            }
            Said::Forked { worker, pid } => {
                if let Some(Place { occupant: Occupant::Starting { pid: known, .. }, .. }) = self.place(worker) {
                    known.set(pid);
                }
                Ok(())
            }
            Said::Ready { worker, pid } => {
                self.worker_ready(worker, pid);
                Ok(())
            }
            Said::ForkFailed { worker, cause } => {
                self.worker_ended(worker, &format!("could not be forked: {cause}"));
                Ok(())
            }
            Said::Exited { pid, code, signal } => {
                let place = self.places.iter().find(|place| place.occupant.pid() == pid).map(|place| place.number);
                if let Some(number) = place {
                    self.worker_ended(number, &ended::in_words(code, signal, &self.plan.context.oom_kills));
                }
                Ok(())
            }
        }
    }

    async fn imported(&mut self, serial: Serial, threads: u32) -> Result<(), StartError> {
        let Some(place) = self.processes.get(&serial).map(|process| process.place) else { return Ok(()) };
        if 0 < place {
            return self.give(serial, Order::Become { worker: place }, place).await;
        }
        self.imported = true;
        self.zygote_backoff = Backoff::default();
        self.one_each = 1 < threads;
        if self.one_each {
            let name = &self.label.name;
            self.say(&format!(
                "{name}: the application starts threads when it is imported, so each worker imports it anew"
            ));
            self.processes.remove(&serial);
        }
        let numbers: Vec<_> = self.places.iter().map(|place| place.number).collect();
        for number in numbers {
            self.fill(number).await?;
        }
        Ok(())
    }

    /// Starts a process for a place, or with 0 the one that forks.
    fn start_process(&mut self, place: u32) -> Result<(), StartError> {
        let Plan { context, config, interpreter, .. } = &self.plan;
        let started = Zygote::start(context, config, &interpreter.path, &self.label.name)?;
        self.serials += 1;
        let serial = self.serials;
        if place == 0 {
            self.zygote_born = Instant::now();
        }
        let pid = Rc::new(Cell::new(if place == 0 { 0 } else { started.zygote.pid() }));
        spawn_local(output::forward(started.output, self.label.name.clone(), pid, context.sink.clone()));
        let control = started.zygote.control();
        let (said, ended) = (self.sender.clone(), self.sender.clone());
        spawn_local(async move {
            while let Some(heard) = hear(&control).await {
                // A node that has gone does not listen any more.
                let _ = said.send(Event::Said(serial, heard));
            }
        });
        spawn_local(async move {
            let how = started.end.wait().await;
            let _ = ended.send(Event::Ended(serial, how));
        });
        self.processes.insert(serial, Process { zygote: started.zygote, place });
        Ok(())
    }

    /// Sees to it that a worker will be in this place.
    async fn fill(&mut self, number: u32) -> Result<(), StartError> {
        if !matches!(self.place(number), Some(Place { occupant: Occupant::Nobody, .. })) {
            return Ok(());
        }
        if self.one_each {
            return self.start_process(number);
        }
        let forks = self.processes.iter().find(|(_, process)| process.place == 0).map(|(serial, _)| *serial);
        match forks {
            Some(serial) => self.give(serial, Order::Fork { worker: number }, number).await,
            // It has ended; whoever replaces it fills all places.
            None => Ok(()),
        }
    }

    /// The same while others live, whom it does not concern when it fails: then it is tried again.
    async fn refill(&mut self, number: u32) {
        let Err(error) = self.fill(number).await else { return };
        let now = Instant::now();
        let Some(place) = self.place(number) else { return };
        let delay = place.backoff.died(now, now, Reached::Starting);
        place.last_end = error.0.what.clone();
        self.say(&error.to_string());
        self.later(delay, Event::Refill(number));
    }

    /// Orders a process to make the worker of a place, and gives it its descriptors.
    async fn give(&mut self, serial: Serial, order: Order, number: u32) -> Result<(), StartError> {
        let name = self.label.name.clone();
        let cannot = |error: &dyn std::fmt::Display| StartError::machine("cannot make a worker", &name, error);
        let Endowment { theirs, links, output } =
            endow(self.plan.context.edge_threads).map_err(|error| cannot(&error))?;
        let Some(process) = self.processes.get(&serial) else { return Ok(()) };
        let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        process.zygote.order(order, &descriptors).await.map_err(|error| cannot(&error))?;
        let pid = Rc::new(Cell::new(if self.one_each { process.zygote.pid() } else { 0 }));
        let sink = self.plan.context.sink.clone();
        spawn_local(output::forward(output, self.label.name.clone(), Rc::clone(&pid), sink));
        if let Some(place) = self.place(number) {
            place.occupant = Occupant::Starting { born: Instant::now(), pid, links };
        }
        Ok(())
    }

    fn worker_ready(&mut self, number: u32, pid: u32) {
        let active = self.active;
        let Some(place) = self.place(number) else { return };
        let Occupant::Starting { born, links, .. } = std::mem::replace(&mut place.occupant, Occupant::Nobody) else {
            return;
        };
        place.occupant = Occupant::Ready { born, pid, links, id: None, seen: Seen::new(Instant::now()) };
        if active {
            self.enlist(number);
            self.succeed(number);
        }
    }

    /// The worker gets requests from now on.
    fn enlist(&mut self, number: u32) {
        let (node, label, threads) = (self.id, Arc::clone(&self.label), self.plan.config.threads);
        let context = Rc::clone(&self.plan.context);
        if let Some(Place { occupant: Occupant::Ready { pid, links, id: id @ None, .. }, .. }) = self.place(number) {
            *id = Some(context.table.add(Newcomer { node, label, pid: *pid, threads, links: links.clone() }));
        }
    }

    fn activate(&mut self) {
        self.active = true;
        let numbers: Vec<_> = self.places.iter().map(|place| place.number).collect();
        numbers.into_iter().for_each(|number| self.enlist(number));
        self.record(&format!("{} is ready", self.label.name));
    }

    /// A worker has gone: its requests are settled by the edge, and its place is filled again.
    fn worker_ended(&mut self, number: u32, how: &str) {
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
        // One that could not even be forked has no number.
        let which = if pid == 0 { "a worker".to_owned() } else { format!("worker {pid}") };
        self.say(&format!("{}: {which} {how}; a new one is started {again}", self.label.name));
        if hopeless && self.active {
            self.view.borrow_mut().state = State::Failed;
        }
        self.later(delay, Event::Refill(number));
    }

    /// Takes a worker that has gone out of table and dispatch.
    fn dismiss(&self, id: WorkerId) {
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

    fn process_ended(&mut self, serial: Serial, how: Option<ExitStatus>) -> Result<(), StartError> {
        let Some(process) = self.processes.remove(&serial) else { return Ok(()) };
        let how = ended::in_words(
            how.and_then(|how| how.code()),
            how.and_then(|how| how.signal()),
            &self.plan.context.oom_kills,
        );
        if 0 < process.place {
            self.worker_ended(process.place, &how);
            return Ok(());
        }
        if !self.places.iter().any(|place| matches!(place.occupant, Occupant::Ready { .. })) && !self.active {
            let explanation = Explanation::new(format!("{} {how} while it was being started", self.label.name))
                .during("importing the application and starting its workers")
                .place(self.plan.config.app.to_string())
                .hint("the log has what it has printed: `tierce logs`");
            return Err(StartError::application(explanation));
        }
        self.lose_everything();
        self.view.borrow_mut().state = State::Starting;
        let delay = self.zygote_backoff.died(self.zygote_born, Instant::now(), Reached::Ready);
        self.say(&format!(
            "{}: its first process {how}, and its workers are ended with it; it is started again",
            self.label.name
        ));
        self.later(delay, Event::Restart);
        Ok(())
    }

    fn lose_everything(&mut self) {
        self.processes.clear();
        let lost: Vec<_> =
            self.places.iter_mut().map(|place| std::mem::replace(&mut place.occupant, Occupant::Nobody)).collect();
        lost.iter().filter_map(Occupant::id).for_each(|id| self.dismiss(id));
        self.places.truncate(self.staff as usize);
        self.places.iter_mut().for_each(|place| place.stay = Stay::Unbounded);
    }

    fn place(&mut self, number: u32) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.number == number)
    }

    fn later(&self, delay: Duration, event: Event) {
        let sender = self.sender.clone();
        spawn_local(async move {
            tokio::time::sleep(delay).await;
            // A node that has gone needs it no more.
            let _ = sender.send(event);
        });
    }

    fn say(&self, text: &str) {
        self.plan.context.sink.message_about(About::Node(&self.label.name), text);
    }

    /// The same for those who read the log only.
    fn record(&self, text: &str) {
        self.plan.context.sink.record_about(About::Node(&self.label.name), text);
    }

    /// Brings what others see up to date.
    fn show(&self) {
        let mut view = self.view.borrow_mut();
        let worker = |place: &Place| WorkerView {
            pid: place.occupant.pid(),
            id: place.occupant.id(),
            leaving: place.stay == Stay::Leaving,
            link: place.occupant.first_link(),
        };
        view.workers = self.places.iter().map(worker).collect();
        view.staff = self.staff;
        view.pid = self.processes.values().map(|process| process.zygote.pid()).min().unwrap_or(0);
        let all_ready = self.places.iter().all(|place| matches!(place.occupant, Occupant::Ready { .. }));
        match view.state {
            State::Starting | State::Failed if all_ready && self.active => view.state = State::Ready,
            State::Ready if !self.places.iter().any(|place| matches!(place.occupant, Occupant::Ready { .. })) => {
                view.state = State::Starting;
            }
            _ => {}
        }
    }
}
