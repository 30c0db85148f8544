//! The processes of a node: how they are started, what they say, and what it means when they end.
//!
//! Invariant: what is said by a process, or of it, after it has gone changes nothing.

use std::{cell::Cell, os::unix::process::ExitStatusExt, process::ExitStatus, rc::Rc, time::Instant};

use tokio::task::spawn_local;

use super::{Event, Node, Process, Serial};
use crate::{
    backoff::{Backoff, Reached},
    ended::{self, EndKind, How},
    explanation::Explanation,
    output,
    start_error::StartError,
    status::State,
    worker::{Occupant, Place, Stay},
    zygote::{End, Order, Said, Zygote, hear},
};

impl Node {
    pub(super) async fn heard(&mut self, serial: Serial, said: Said) -> Result<(), StartError> {
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
                let words = format!("could not be forked: {cause}");
                self.worker_ended(worker, &How { kind: EndKind::NotForked, words });
                Ok(())
            }
            Said::Exited { pid, code, signal } => {
                let place = self.places.iter().find(|place| place.occupant.pid() == pid).map(|place| place.number);
                if let Some(number) = place {
                    self.worker_ended(number, &ended::how(code, signal, &self.plan.context.oom_kills));
                }
                Ok(())
            }
            Said::Frozen => {
                self.frozen(serial);
                Ok(())
            }
            Said::CannotFork { obstacle, names } => {
                self.cannot_fork(serial, obstacle, &names.join(", "));
                Ok(())
            }
            Said::HasLetGo => {
                self.adopt(serial).await;
                Ok(())
            }
            Said::Stays => {
                self.reforked(serial);
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
    pub(super) fn start_process(&mut self, place: u32) -> Result<(), StartError> {
        let started = Zygote::start(&self.plan, &self.label.name)?;
        if place == 0 {
            self.zygote_born = Instant::now();
        }
        let pid = Rc::new(Cell::new(if place == 0 { 0 } else { started.zygote.pid() }));
        spawn_local(output::forward(started.output, self.label.name.clone(), pid, self.plan.context.sink.clone()));
        let serial = self.listen(&started.zygote, started.end);
        self.processes.insert(serial, Process { zygote: started.zygote, place });
        Ok(())
    }

    /// Hears what a process says, and when it ends.
    pub(super) fn listen(&mut self, zygote: &Zygote, end: End) -> Serial {
        self.serials += 1;
        let serial = self.serials;
        let control = zygote.control();
        let (said, ended) = (self.sender.clone(), self.sender.clone());
        spawn_local(async move {
            while let Some(heard) = hear(&control).await {
                // A node that has gone does not listen any more.
                let _ = said.send(Event::Said(serial, heard));
            }
        });
        spawn_local(async move {
            let how = end.wait().await;
            let _ = ended.send(Event::Ended(serial, how));
        });
        serial
    }

    /// The process that forks, if there is one; while another takes over, that one.
    pub(super) fn zygote(&self) -> Option<Serial> {
        let forking = self.processes.iter().filter(|(_, process)| process.place == 0);
        forking.map(|(serial, _)| *serial).max()
    }

    pub(super) async fn process_ended(&mut self, serial: Serial, how: Option<ExitStatus>) -> Result<(), StartError> {
        let Some(process) = self.processes.remove(&serial) else {
            self.refork_ended(serial);
            return Ok(());
        };
        if self.is_let_go(serial) {
            self.keep().await;
            return Ok(());
        }
        let how =
            ended::how(how.and_then(|how| how.code()), how.and_then(|how| how.signal()), &self.plan.context.oom_kills);
        if 0 < process.place {
            self.worker_ended(process.place, &how);
            return Ok(());
        }
        if !self.places.iter().any(|place| matches!(place.occupant, Occupant::Ready { .. })) && !self.active {
            let explanation = Explanation::new(format!("{} {} while it was being started", self.label.name, how.words))
                .during("importing the application and starting its workers")
                .place(self.plan.config.app.to_string())
                .hint("the log has what it has printed: `tierce logs`");
            return Err(StartError::application(explanation));
        }
        self.lose_everything();
        self.view.borrow_mut().state = State::Starting;
        let delay = self.zygote_backoff.died(self.zygote_born, Instant::now(), Reached::Ready);
        self.say(&format!(
            "{}: its first process {}, and its workers are ended with it; it is started again",
            self.label.name, how.words
        ));
        self.later(delay, Event::Restart);
        Ok(())
    }

    pub(super) fn lose_everything(&mut self) {
        self.processes.clear();
        self.give_up_refork("the node has lost its first process");
        let lost: Vec<_> =
            self.places.iter_mut().map(|place| std::mem::replace(&mut place.occupant, Occupant::Nobody)).collect();
        let had_one = lost.iter().filter(|occupant| 0 < occupant.pid());
        had_one.for_each(|_| self.plan.context.ends.count(EndKind::Signal));
        lost.iter().filter_map(Occupant::id).for_each(|id| self.dismiss(id));
        self.places.truncate(self.staff as usize);
        self.places.iter_mut().for_each(|place| place.stay = Stay::Unbounded);
    }
}
