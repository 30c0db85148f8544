//! What is looked at a few times a second while everything runs: whether more requests in flight only add latency, what
//! workers have decided, and whether there are as many as are needed.
//!
//! Invariant: every decision is in the log.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use policy::GrowthChange;

use crate::{context::Context, decisions::Decisions, handle::NodeHandle, staff::Staffing};

const TICK: Duration = Duration::from_millis(250);

/// Never returns.
pub(crate) async fn run(context: Rc<Context>, nodes: Rc<RefCell<Vec<NodeHandle>>>, staffing: Rc<RefCell<Staffing>>) {
    let mut decisions = Decisions::default();
    loop {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        decisions.look(&context, now);
        match context.shared.regulate(now) {
            Some(GrowthChange::Bounded(most)) => context.sink.message(&format!(
                "at most {most} requests are in flight from now on: with more, none was answered sooner, and each took longer"
            )),
            Some(GrowthChange::Freed) => context.sink.message("requests in flight are no longer held back"),
            None => {}
        }
        staffing.borrow_mut().look(now, &context, &nodes.borrow());
    }
}
