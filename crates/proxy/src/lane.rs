//! The lane of a route: so many of its requests have the application at a time, the others wait here, before they ask for a slot.
//!
//! Invariant: whoever has a pass gives it back by dropping it, which lets the next one go on; a client that leaves, or whose time is
//! up, gives its place in the line up. No lock is held while anyone is told.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Instant,
};

use policy::{LaneBounds, LaneEntry, LanePlace};
use tokio::sync::oneshot;
use units::{Cause, Ending, Phase};

use crate::{
    connection::{Connection, Filled},
    deadline::Waits,
};

/// Who of a route's requests goes on, for all threads together.
#[derive(Debug)]
pub(crate) struct Lane(Mutex<policy::Lane<oneshot::Sender<Pass>>>);

/// The right of one request to be with the application.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Lane>);

/// A place in the line; dropping it gives it up.
#[derive(Debug)]
struct Waiting<'a> {
    lane: &'a Arc<Lane>,
    place: LanePlace,
    granted: oneshot::Receiver<Pass>,
}

impl Lane {
    pub(crate) fn new(bounds: LaneBounds) -> Arc<Self> {
        Arc::new(Self(Mutex::new(policy::Lane::new(bounds))))
    }

    /// Other bounds, for who comes from now on.
    pub(crate) fn set(self: &Arc<Self>, bounds: LaneBounds) {
        self.lock().set(bounds);
        self.grant();
    }

    fn grant(self: &Arc<Self>) {
        loop {
            let next = self.lock().next_grant();
            let Some(waiter) = next else { return };
            // One that has gone returns the pass by dropping it, which grants again.
            let _ = waiter.send(Pass(Arc::clone(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, policy::Lane<oneshot::Sender<Pass>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.lock().end();
        self.0.grant();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.lane.lock().leave(self.place) {
            // It was granted meanwhile: dropping the pass gives it to the next.
            drop(self.granted.try_recv());
        }
    }
}

/// Waits for a pass, at most `until` then. `behind` bytes of the input belong to the request.
pub(crate) async fn wait(
    connection: &mut Connection,
    lane: &Arc<Lane>,
    until: Instant,
    behind: usize,
) -> Result<Pass, Ending> {
    let (sender, granted) = oneshot::channel();
    let entry = lane.lock().enter(|| sender);
    let mut waiting = match entry {
        LaneEntry::Go => return Ok(Pass(Arc::clone(lane))),
        LaneEntry::Full => return Err(Ending::new(Cause::QueueFull, Phase::Queue)),
        LaneEntry::Wait(place) => Waiting { lane, place, granted },
    };
    let now = Instant::now();
    connection.deadline.set(now, until.saturating_duration_since(now), Waits::Busy);
    let granted = poll_fn(|context| {
        if let Poll::Ready(pass) = Pin::new(&mut waiting.granted).poll(context) {
            return Poll::Ready(pass.map_err(|_| Cause::ProxyInternalError));
        }
        if let Poll::Ready(Filled::End | Filled::Broken) = connection.poll_gone(context, behind) {
            return Poll::Ready(Err(Cause::ClientClosed));
        }
        if connection.deadline.poll(context) {
            return Poll::Ready(Err(Cause::QueueTimeout));
        }
        Poll::Pending
    })
    .await;
    granted.map_err(|cause| Ending::new(cause, Phase::Queue))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(lane: &Arc<Lane>) -> Result<Pass, Option<Waiting<'_>>> {
        let (sender, granted) = oneshot::channel();
        let entry = lane.lock().enter(|| sender);
        match entry {
            LaneEntry::Go => Ok(Pass(Arc::clone(lane))),
            LaneEntry::Wait(place) => Err(Some(Waiting { lane, place, granted })),
            LaneEntry::Full => Err(None),
        }
    }

    #[test]
    fn passes_go_from_one_to_the_next_whoever_leaves_in_between() {
        let lane = Lane::new(LaneBounds { in_flight: 1, length: 3 });
        let first = enter(&lane).unwrap();
        let [Some(second), Some(mut third), Some(fourth)] = [(); 3].map(|()| enter(&lane).unwrap_err()) else {
            panic!("there is room in the line")
        };
        assert!(enter(&lane).unwrap_err().is_none(), "the line is full");
        drop(second);
        drop(first);
        let pass = third.granted.try_recv().unwrap();
        drop(fourth);
        drop((pass, third));
        assert_eq!(lane.lock().load(), (0, 0));
    }

    #[test]
    fn a_pass_that_came_too_late_is_not_lost() {
        let lane = Lane::new(LaneBounds { in_flight: 1, length: 3 });
        let first = enter(&lane).unwrap();
        let second = enter(&lane).unwrap_err();
        drop(first);
        drop(second);
        assert_eq!(lane.lock().load(), (0, 0));
        assert!(enter(&lane).is_ok());
    }
}
