//! What is looked at a few times a second while everything runs: whether more requests in flight only add latency, and
//! what workers have decided.
//!
//! Invariant: every decision is in the log.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use policy::GrowthChange;

use crate::{context::Context, decisions::Decisions};

const TICK: Duration = Duration::from_millis(250);

/// Never returns.
pub(crate) async fn run(context: Rc<Context>) {
    let mut decisions = Decisions::default();
    loop {
        tokio::time::sleep(TICK).await;
        decisions.look(&context, Instant::now());
        match context.shared.regulate(Instant::now()) {
            Some(GrowthChange::Bounded(most)) => context.sink.message(&format!(
                "at most {most} requests are in flight from now on: with more, none was answered sooner, and each took longer"
            )),
            Some(GrowthChange::Freed) => context.sink.message("requests in flight are no longer held back"),
            None => {}
        }
    }
}
