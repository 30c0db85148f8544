//! Requests that were handed over and are not known to have started: looked after, and moved when that helps.

use std::{
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use link::{ExchangeId, State};

use super::{Fresh, Link, Links};
use crate::mailbox::Turned;

/// A request that waits unstarted this long may be given to another worker that would start it at once.
const PATIENCE: Duration = Duration::from_millis(2);

/// No need to look more often what has started.
const LOOK_PAUSE: Duration = Duration::from_micros(200);

/// What to do with requests that wait unstarted for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    Stay,
    Move,
}

/// What came of moving one.
enum Rebound {
    Moved,
    Started,
    NoBetter,
}

impl Links {
    /// Looks what has started, so that waiting requests find the room that there is. Not more often than is useful.
    pub(crate) fn look_for_starts(&self, now: Instant) {
        if self.refreshed.get().is_none_or(|last| LOOK_PAUSE <= now.saturating_duration_since(last)) {
            self.refreshed.set(Some(now));
            self.sift(now, Stuck::Stay);
        }
    }

    /// Every few milliseconds while requests wait unstarted: gives those to another worker that would start them at once.
    /// Never returns.
    pub(crate) async fn rebind_the_stuck(self: Rc<Self>) {
        loop {
            std::future::poll_fn(|context| {
                if !self.fresh.borrow().is_empty() {
                    return Poll::Ready(());
                }
                *self.restless.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            tokio::time::sleep(PATIENCE).await;
            self.sift(Instant::now(), Stuck::Move);
        }
    }

    /// Goes through the fresh ones: forgets those that have started or ended, and moves the stuck.
    fn sift(&self, now: Instant, stuck: Stuck) {
        let mut fresh = std::mem::take(&mut *self.fresh.borrow_mut());
        let mut stuck = stuck;
        fresh.retain(|Fresh { link, id }| {
            let age = match link.places.borrow().held(*id) {
                Some(held) if !held.lease.has_started() => now.saturating_duration_since(held.lease.given()),
                _ => return false,
            };
            if link.end.ledger().state(*id) != State::Offered {
                self.note_start(link, *id, now);
                link.tell(*id);
                return false;
            }
            if stuck == Stuck::Move && PATIENCE <= age {
                match self.rebind(link, *id, now) {
                    Rebound::Moved => return false,
                    Rebound::Started => {}
                    // Nor will there be one for those behind it.
                    Rebound::NoBetter => stuck = Stuck::Stay,
                }
            }
            true
        });
        // Moving one may hand over others, which come last.
        let mut handed_over = self.fresh.borrow_mut();
        fresh.append(&mut handed_over);
        *handed_over = fresh;
    }

    fn rebind(&self, link: &Link, id: ExchangeId, now: Instant) -> Rebound {
        let better = link.places.borrow().held(id).and_then(|held| self.shared.rebind(now, &held.lease));
        let Some(lease) = better else { return Rebound::NoBetter };
        if !link.end.ledger().withdraw(id) {
            return Rebound::Started;
        }
        if let Some(mailbox) = self.release(link, id) {
            mailbox.put(|mail| mail.turned = Some(Turned::Rebound(lease)));
        }
        Rebound::Moved
    }
}
