//! A worker that has served becomes the zygote, and the others are replaced by forks of it: they start with what it has
//! cached and specialised, and share that memory.
//!
//! | step       | what happens                                                        | goes on when                   |
//! |------------|---------------------------------------------------------------------|--------------------------------|
//! | Waiting    | a worker that is being replaced anyway leaves                       | nobody is being replaced       |
//! | Cooling    | the warmest worker is replaced, and told to freeze when it is drained | it says that it is frozen    |
//! | Replacing  | each older worker is replaced, by a fork of it                      | no older one is left           |
//! | LettingGo  | it is told to outlive the old zygote                                | it says so                     |
//! | Adopting   | the old zygote ends, which makes it a child of this process         | it says that it will end with us |
//!
//! Until a fork of it has become ready everything can go back to how it was; then only the end of a zygote can stop it, by
//! which the node is started anew. Invariant: at every moment the frozen worker ends with its parent or with its control
//! socket, so nothing is left behind when this process is killed.

use std::time::{Duration, Instant};

use tokio::{sync::oneshot, task::spawn_local, time::sleep};

use super::{Event, Node, Process, Serial, drain::EXIT_GRACE};
use crate::{
    adopted::Adoption,
    backoff::Backoff,
    explanation::Explanation,
    worker::{Occupant, Stay},
    zygote::{Obstacle, Order, Zygote},
};

/// How long a drained worker may take to end its threads, collect its garbage, and try a fork.
pub(super) const FREEZE_GRACE: Duration = Duration::from_secs(15);

/// It was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reforked {
    /// Requests that the drain's deadline has cut off.
    pub(crate) cut: u64,
}

#[derive(Debug)]
pub(super) struct Refork {
    step: Step,
    /// When the step began.
    since: Instant,
    warm: Warm,
    cut: u64,
    done: oneshot::Sender<Result<Reforked, Box<Explanation>>>,
}

/// The worker from which the others are to be forked.
#[derive(Clone, Copy, Debug, Default)]
struct Warm {
    place: u32,
    pid: u32,
    requests: u64,
}

#[derive(Debug)]
enum Step {
    Waiting,
    /// With what it is told by, once it has been told to freeze.
    Cooling(Option<(Serial, Zygote)>),
    Replacing,
    LettingGo(Adoption),
    /// Once this process, the old zygote, has ended.
    Adopting(Serial, Adoption),
}

impl Node {
    pub(super) fn begin_refork(&mut self, done: oneshot::Sender<Result<Reforked, Box<Explanation>>>) {
        let cannot = || Explanation::new(format!("{} cannot be reforked", self.label.name));
        let refused = if self.one_each {
            let cause = "the application starts threads when it is imported, so each worker has imported it itself";
            Some(cannot().cause(cause))
        } else if self.refork.is_some() {
            Some(cannot().cause("it is being reforked"))
        } else if self.warmest().is_none() {
            Some(cannot().cause("none of its workers is ready").hint("`tierce ps` shows when one is"))
        } else {
            None
        };
        if let Some(why) = refused {
            // Whoever asked may have gone.
            let _ = done.send(Err(Box::new(why)));
            return;
        }
        self.refork = Some(Refork { step: Step::Waiting, since: Instant::now(), warm: Warm::default(), cut: 0, done });
    }

    /// The worker that has run most requests.
    fn warmest(&self) -> Option<Warm> {
        let ready = self.places.iter().filter_map(|place| match place.occupant {
            Occupant::Ready { pid, id: Some(id), .. } => {
                Some(Warm { place: place.number, pid, requests: self.plan.context.shared.load(id).requests })
            }
            _ => None,
        });
        ready.max_by_key(|warm| warm.requests)
    }

    /// Does what is next, if it is time.
    pub(super) async fn go_on_reforking(&mut self) {
        let Some(refork) = &self.refork else { return };
        let (since, warm) = (refork.since, refork.warm);
        match &refork.step {
            Step::Waiting if !self.is_replacing() => match self.warmest() {
                Some(warm) => self.cool(warm).await,
                None => self.give_up_refork("none of its workers is ready"),
            },
            Step::Cooling(None) => {
                let place = self.places.iter().find(|place| place.number == warm.place);
                match place {
                    Some(place) if place.occupant.pid() == warm.pid => self.look_at_the_clock(since),
                    _ => self.give_up_refork(&format!("worker {} has ended", warm.pid)),
                }
            }
            Step::Replacing => self.replace_older(since).await,
            Step::Waiting | Step::Cooling(Some(_)) | Step::LettingGo(_) | Step::Adopting(..) => {}
        }
    }

    fn step(&mut self, step: Step) {
        if let Some(refork) = &mut self.refork {
            refork.step = step;
            refork.since = Instant::now();
        }
    }

    async fn cool(&mut self, warm: Warm) {
        if let Some(refork) = &mut self.refork {
            refork.warm = warm;
        }
        self.step(Step::Cooling(None));
        self.record(&format!(
            "{}: worker {}, which has run {} requests, is to become the process from which the others are forked",
            self.label.name, warm.pid, warm.requests
        ));
        self.replace(warm.place).await;
    }

    /// A successor that does not come is not waited for, as long as no other has come: then all is as it was.
    fn look_at_the_clock(&mut self, since: Instant) {
        let limit = self.plan.config.limits.start;
        let waiting = self.places.iter().find_map(|place| match place.stay {
            Stay::UntilReady(successor) => Some((place.number, successor)),
            _ => None,
        });
        let Some((number, successor)) = waiting.filter(|_| limit <= since.elapsed()) else { return };
        if let Some(place) = self.place(number) {
            place.stay = Stay::Unbounded;
        }
        // A process that still wants to fill it finds that its links have ended.
        self.places.retain(|place| place.number != successor);
        if matches!(&self.refork, Some(Refork { step: Step::Replacing, .. })) {
            self.go_back(since);
        }
        self.give_up_refork(&format!("a new worker was not ready after {}", units::show_duration(limit)));
    }

    /// The old zygote forks again. What the new one has forked ends with it, and nobody tells of that.
    fn go_back(&mut self, since: Instant) {
        self.zygote().map(|serial| self.processes.remove(&serial));
        let begun = self.places.iter_mut().filter(|place| place.occupant.born().is_some_and(|born| since <= born));
        let emptied: Vec<_> = begun
            .map(|place| {
                place.occupant = Occupant::Nobody;
                place.number
            })
            .collect();
        emptied.into_iter().for_each(|number| self.later(Duration::ZERO, Event::Refill(number)));
    }

    /// Whether the worker in this place has been told to freeze.
    pub(super) fn is_to_freeze(&self, number: u32) -> bool {
        let of = |refork: &Refork| refork.warm.place == number && matches!(refork.step, Step::Cooling(Some(_)));
        self.refork.as_ref().is_some_and(of)
    }

    /// If the worker in this place, for which nobody waits any more, is the one to become the zygote, it is told so. It looks
    /// for that when it is let go.
    pub(super) async fn order_to_freeze(&mut self, number: u32) {
        let Some(Refork { step: Step::Cooling(None), warm, .. }) = &self.refork else { return };
        let warm = *warm;
        if warm.place != number {
            return;
        }
        let shared = &self.plan.context.shared;
        let place = self.places.iter().find(|place| place.number == number);
        let Some(Occupant::Ready { ends, id: Some(id), .. }) = place.map(|place| &place.occupant) else { return };
        let unfinished = shared.load(*id).awaited();
        if 0 < unfinished {
            let limit = units::show_duration(self.plan.config.limits.drain);
            let pid = warm.pid;
            let cause = format!("worker {pid} has not finished {unfinished} requests after {limit} (limits.drain)");
            return self.give_up_refork(&cause);
        }
        let adopted = ends.orders.try_clone().and_then(|orders| Zygote::adopt(warm.pid, orders));
        let told = match adopted {
            Ok((zygote, end)) => zygote.order(Order::Freeze, &[]).await.map(|()| (zygote, end)),
            Err(error) => Err(error),
        };
        match told {
            Ok((zygote, end)) => {
                let serial = self.listen(&zygote, end);
                self.step(Step::Cooling(Some((serial, zygote))));
            }
            Err(error) => self.give_up_refork(&format!("worker {} cannot be told so: {error}", warm.pid)),
        }
    }

    /// The worker that was told to freeze, if that is the process.
    fn take_frozen(&mut self, serial: Serial) -> Option<Zygote> {
        let Step::Cooling(told) = &mut self.refork.as_mut()?.step else { return None };
        told.take_if(|(of, _)| *of == serial).map(|(_, zygote)| zygote)
    }

    pub(super) fn frozen(&mut self, serial: Serial) {
        let Some(zygote) = self.take_frozen(serial) else { return };
        let pid = zygote.pid();
        self.processes.insert(serial, Process { zygote, place: 0 });
        // It is no worker any more.
        self.places.retain(|place| place.occupant.pid() != pid);
        self.zygote_born = Instant::now();
        self.zygote_backoff = Backoff::default();
        self.step(Step::Replacing);
    }

    /// It ends as it would have otherwise, and as quickly: its place has another worker already.
    pub(super) fn cannot_fork(&mut self, serial: Serial, obstacle: Obstacle, names: &str) {
        let Some(zygote) = self.take_frozen(serial) else { return };
        let what = format!("worker {} of {} cannot be forked", zygote.pid(), self.label.name);
        spawn_local(async move {
            sleep(EXIT_GRACE).await;
            drop(zygote);
        });
        let why = Explanation::new(what);
        self.refuse(match obstacle {
            Obstacle::Threads => why
                .cause(format!("the application has started threads, which forks would lack: {names}"))
                .hint("end them with the request that starts them; `tierce restart` makes workers that are fresh, not warm"),
            Obstacle::Connections => why
                .cause(format!("forks would share the connections that it has kept, to {names}"))
                .hint("close them before a fork, for example `os.register_at_fork(before=engine.dispose)`"),
            Obstacle::Gevent => why
                .cause("gevent's loop has run in it, which forks cannot take over")
                .hint("`tierce restart` makes workers that are fresh, not warm"),
            Obstacle::Fork => why.cause(names),
        });
    }

    /// The process has ended that was to become the zygote.
    pub(super) fn refork_ended(&mut self, serial: Serial) {
        if let Some(zygote) = self.take_frozen(serial) {
            self.give_up_refork(&format!("worker {} has ended when it was to become the zygote", zygote.pid()));
        }
    }

    async fn replace_older(&mut self, since: Instant) {
        let is_older = |occupant: &Occupant| occupant.born().is_some_and(|born| born < since);
        let has_come = |occupant: &Occupant| matches!(occupant, Occupant::Ready { .. }) && !is_older(occupant);
        if !self.places.iter().any(|place| has_come(&place.occupant)) {
            self.look_at_the_clock(since);
        }
        if self.refork.is_none() || self.is_replacing() {
            return;
        }
        let older = self.places.iter().find(|place| is_older(&place.occupant)).map(|place| place.number);
        match older {
            Some(number) => self.replace(number).await,
            None => {
                match Adoption::begin() {
                    Ok(adoption) => self.step(Step::LettingGo(adoption)),
                    Err(error) => return self.give_up_refork(&format!("its zygote cannot be adopted: {error}")),
                }
                self.order_zygote(Order::LetGo).await;
            }
        }
    }

    /// Tells the zygote something; one that cannot be told is about to be seen to have ended.
    async fn order_zygote(&self, order: Order) {
        if let Some(process) = self.zygote().and_then(|serial| self.processes.get(&serial)) {
            let _ = process.zygote.order(order, &[]).await;
        }
    }

    /// The zygote outlives its parent, which may end.
    pub(super) async fn adopt(&mut self, serial: Serial) {
        let Some(refork) = &mut self.refork else { return };
        let parent = self.processes.iter().find(|(other, process)| process.place == 0 && **other != serial);
        let Some((old, process)) = parent else { return };
        refork.step = match std::mem::replace(&mut refork.step, Step::Waiting) {
            Step::LettingGo(adoption) => Step::Adopting(*old, adoption),
            step => step,
        };
        // One that has ended needs not be told.
        let _ = process.zygote.order(Order::Exit, &[]).await;
    }

    /// Whether it is the old zygote, which was told to end.
    pub(super) fn is_let_go(&self, serial: Serial) -> bool {
        matches!(&self.refork, Some(Refork { step: Step::Adopting(old, _), .. }) if *old == serial)
    }

    /// The old zygote has ended: the new one is to end with this process.
    pub(super) async fn keep(&self) {
        self.order_zygote(Order::Stay { parent: std::process::id() }).await;
    }

    /// All is done.
    pub(super) fn reforked(&mut self, serial: Serial) {
        if self.zygote() != Some(serial) {
            return;
        }
        let Some(refork) = self.refork.take() else { return };
        let Warm { pid, requests, .. } = refork.warm;
        self.record(&format!(
            "{}: its workers are forks of process {pid} now, which has run {requests} requests",
            self.label.name
        ));
        let _ = refork.done.send(Ok(Reforked { cut: refork.cut }));
    }

    /// The deadline has cut off so many requests.
    pub(super) fn note_cut(&mut self, cut: u64) {
        if let Some(refork) = &mut self.refork {
            refork.cut += cut;
        }
    }

    /// It is not gone on with.
    pub(super) fn give_up_refork(&mut self, cause: &str) {
        self.refuse(Explanation::new(format!("{} cannot be reforked", self.label.name)).cause(cause));
    }

    fn refuse(&mut self, why: Explanation) {
        if let Some(refork) = self.refork.take() {
            // Whoever asked may have gone.
            let _ = refork.done.send(Err(Box::new(why)));
        }
    }
}
