//! How a node in a container takes leave: it is told to stop before whoever sends it requests is.
//!
//! Invariant: until the notice is over everything is served, and nobody is refused who could not know; then it ends within the
//! grace of its platform. What is due when is decided in [`policy::Farewell`].

use std::time::Instant;

use control::{Answer, Call};
use policy::{Edges, Farewell};
use tokio::sync::{mpsc, oneshot};

use crate::{running::Running, signals::Signals};

impl Running {
    /// What is due when, where this is a node in a container that was told to stop at `began`.
    pub(crate) fn farewell(&self, began: Instant) -> Option<Farewell> {
        let config = self.config();
        let limits = &config.limits;
        let farewell = Farewell { began, notice: limits.notice, drain: limits.drain, grace: limits.grace };
        config.node.is_some().then_some(farewell)
    }

    /// Goes on serving until whoever sends requests can know, or somebody is in a hurry.
    pub(crate) async fn give_notice(
        &self,
        farewell: &Farewell,
        calls: &mut mpsc::Receiver<Call>,
        waiting: &mut Vec<oneshot::Sender<Answer>>,
        signals: &mut Signals,
    ) {
        if let Some(app) = &self.app {
            // From now on it is not ready for whoever watches.
            app.supervisor.wind_down();
        }
        if let Some(edge) = &mut *self.edge.borrow_mut() {
            edge.leave();
        }
        let lasts = units::show_duration(farewell.notice);
        self.note(&format!("told to stop: still accepting for {lasts}, so that balancers learn of it"));
        tokio::select! {
            // No edge is attached by anything but HTTP, in which nothing can be acknowledged.
            () = tokio::time::sleep_until(farewell.notice_ends(Edges::default()).into()) => {}
            never = self.answer_while_ending(calls, waiting) => match never {},
            _ = signals.again() => {}
        }
    }

    /// Whoever has set a longer drain than there is time for is to know it before it counts.
    pub(crate) fn tell_of_grace(&self) {
        let Some(farewell) = self.farewell(Instant::now()) else { return };
        let Some(left) = farewell.shortened() else { return };
        let [left, drain, grace] = [left, farewell.drain, farewell.grace].map(units::show_duration);
        self.record(&format!(
            "after SIGTERM requests have {left} to finish, not {drain} (limits.drain), as a container is killed after {grace} \
             (limits.grace): where it has longer, set limits.grace to that"
        ));
    }
}
