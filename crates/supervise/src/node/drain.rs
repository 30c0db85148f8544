//! The end of a node: what is in flight is finished, its processes are ended.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{Event, Node, SETTLE_GRACE};
use crate::{
    ended::EndKind,
    status::State,
    worker::Occupant,
    zygote::{Order, Said},
};

/// How long a drained worker may take for what the application does at its end (`atexit`).
pub(super) const EXIT_GRACE: Duration = Duration::from_secs(5);

impl Node {
    /// Finishes what is in flight and ends all processes; returns how many requests were cut off.
    pub(super) async fn drain(&mut self, limit: Duration) -> u64 {
        self.view.borrow_mut().state = State::Draining;
        self.give_up_refork("the node is being stopped");
        let context = Rc::clone(&self.plan.context);
        let ids: Vec<_> = self.places.iter().filter_map(|place| place.occupant.id()).collect();
        context.table.drain(&ids);
        self.show();
        self.view.borrow_mut().state = State::Draining;
        let had_one = self.places.iter().filter(|place| 0 < place.occupant.pid());
        had_one.for_each(|_| context.ends.count(EndKind::Left));
        let in_time = timeout(limit, context.shared.drained(&ids)).await.is_ok();
        let cut = ids.iter().map(|id| context.shared.load(*id).awaited()).sum();
        context.table.cut_off(&ids);
        context.table.remove(&ids);
        if in_time {
            // The edge lets the workers go, which end by themselves and run what the application has registered.
            let _ = timeout(EXIT_GRACE, self.all_exited()).await;
        }
        for process in self.processes.values() {
            // One that does not hear it is killed by being dropped.
            let _ = process.zygote.order(Order::Exit, &[]).await;
        }
        let _ = timeout(Duration::from_secs(1), self.all_ended()).await;
        self.processes.clear();
        if 0 < cut {
            // So that the edge is seen to have answered for them; without an edge there is nobody who could.
            let _ = timeout(SETTLE_GRACE, context.shared.drained(&ids)).await;
        }
        context.shared.change(Instant::now(), |dispatch| dispatch.remove_node(self.id));
        self.view.borrow_mut().state = State::Stopped;
        if self.active {
            self.record(&format!("{} has stopped", self.label.name));
        }
        cut
    }

    async fn all_exited(&mut self) {
        while self.places.iter().any(|place| !matches!(place.occupant, Occupant::Nobody)) {
            match self.events.recv().await {
                Some(Event::Said(_, Said::Exited { pid, .. })) => {
                    for place in self.places.iter_mut().filter(|place| place.occupant.pid() == pid) {
                        place.occupant = Occupant::Nobody;
                    }
                }
                Some(Event::Ended(serial, _)) => {
                    let gone = self.processes.remove(&serial).map_or(0, |process| process.place);
                    for place in self.places.iter_mut().filter(|place| gone == 0 || place.number == gone) {
                        place.occupant = Occupant::Nobody;
                    }
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    async fn all_ended(&mut self) {
        while !self.processes.is_empty() {
            match self.events.recv().await {
                Some(Event::Ended(serial, _)) => drop(self.processes.remove(&serial)),
                Some(_) => {}
                None => return,
            }
        }
    }
}
