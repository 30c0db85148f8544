//! A node's life: one process imports the application and forks the workers; those that end are replaced.
//!
//! | state    | goes on with                                                  | to              |
//! |----------|---------------------------------------------------------------|-----------------|
//! | Starting | all workers ready, and told to get requests                   | Ready           |
//! | Starting | import fails, or workers keep ending before they are ready    | Failed          |
//! | Ready    | a worker ends (it is replaced)                                | Ready           |
//! | Ready    | a worker becomes the zygote (the others are replaced)         | Ready           |
//! | Ready    | told to have more or fewer workers                            | Ready           |
//! | Ready    | the zygote ends (everything is started anew)                  | Starting        |
//! | Failed   | a later attempt succeeds                                      | Ready           |
//! | any      | told to drain                                                 | Draining        |
//! | Draining | everything in flight has ended, or the deadline has passed    | Stopped         |
//!
//! An application that has started threads while it was imported cannot be forked: then each worker is a process that
//! imports it itself. Invariant: a worker is in the node table exactly while it is ready and the node is active.

mod processes; // they start, say something, end
mod workers; // places: filled, told to get requests, empty again
mod drain; // the end of a node
mod replace; // workers that are replaced while they live
mod refork; // a worker that has served takes the place of the process that forks
mod staff; // more and fewer workers

use std::{
    cell::RefCell,
    collections::HashMap,
    process::ExitStatus,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use config::Config;
use policy::{NodeId, NodeLabel, Standing};
use telemetry::About;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::{MissedTickBehavior, timeout},
};

use crate::{
    backoff::{Backoff, Reached},
    context::{Context, Front},
    explanation::Explanation,
    handle::{NodeHandle, View, WorkerView},
    interpreter::Interpreter,
    start_error::{Blame, StartError},
    status::State,
    worker::{Occupant, Place, Stay},
    zygote::{Said, Zygote},
};

use self::refork::Refork;
pub(crate) use self::{refork::Reforked, replace::Seen};

/// How long a crashed worker's requests may take to be settled before it is forgotten.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// A request to a running node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Its workers are to get requests.
    Activate,
    /// Its workers are to be forked from the one that has served most.
    Refork(oneshot::Sender<Result<Reforked, Box<Explanation>>>),
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
    pub(crate) front: Rc<Front>,
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
    refork: Option<Refork>,
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
        self.config.node_name(self.index)
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
    let (index, id, config) = (node.plan.index, node.id, Arc::clone(&node.plan.config));
    let handle = NodeHandle { index, id, config, commands, view: Rc::clone(&node.view) };
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
            standing: Standing::default(),
            settling: Vec::new(),
            past_requests: 0,
        };
        let (label, view) = (Arc::new(NodeLabel { name, generation: plan.generation }), Rc::new(RefCell::new(view)));
        plan.context.roster.enter(plan.index, &label, &view);
        Self {
            id: plan.context.shared.add_node(&label.name),
            label,
            processes: HashMap::new(),
            serials: 0,
            places: (1..=plan.workers).map(Place::new).collect(),
            staff: plan.workers,
            imported: false,
            one_each: false,
            active: false,
            zygote_backoff: Backoff::default(),
            zygote_born: born,
            refork: None,
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
                    Some(Command::Refork(done)) => self.begin_refork(done),
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
            self.go_on_reforking().await;
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
            Event::Ended(serial, how) => self.process_ended(serial, how).await,
            Event::Refill(number) => {
                self.refill(number).await;
                Ok(())
            }
            Event::Restart if self.processes.is_empty() => self.start_process(0),
            Event::Restart => Ok(()),
            Event::Drained(number) => {
                self.order_to_freeze(number).await;
                self.part(number);
                Ok(())
            }
            Event::Overdue(number) => {
                self.end_overdue(number);
                Ok(())
            }
        }
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
        let pids = || self.processes.values().map(|process| process.zygote.pid());
        let zygote = self.zygote().and_then(|serial| self.processes.get(&serial));
        view.pid = zygote.map(|process| process.zygote.pid()).or_else(|| pids().min()).unwrap_or(0);
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
