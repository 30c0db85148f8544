//! Waiting for a slot. A client that leaves meanwhile gives its place up; nothing has run for it.
//!
//! Invariant: returns with a lease, or the place in the queue is free again.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Instant,
};

use policy::{Lease, Turn};
use units::{Cause, Ending, Phase};

use crate::{
    connection::{Connection, Filled},
    deadline::Waits,
};

/// Waits for the slot that `turn` promises, at most `until` then. `behind` bytes of the input belong to the request.
pub(crate) async fn wait(
    connection: &mut Connection,
    turn: Turn,
    until: Instant,
    behind: usize,
) -> Result<Lease, Ending> {
    let mut queued = match turn {
        Turn::Go(lease) => return Ok(lease),
        Turn::Full => return Err(Ending::new(Cause::QueueFull, Phase::Queue)),
        Turn::Shut => return Err(Ending::new(Cause::AppNotLoaded, Phase::Queue)),
        Turn::Wait(queued) => queued,
    };
    let now = Instant::now();
    connection.deadline.set(now, until.saturating_duration_since(now), Waits::Busy);
    connection.thread.links.look_for_starts(now);
    let granted = {
        let mut granted = pin!(queued.granted());
        poll_fn(|context| {
            if let Poll::Ready(lease) = granted.as_mut().poll(context) {
                return Poll::Ready(lease.ok_or(Cause::AppNotLoaded));
            }
            if let Poll::Ready(Filled::End | Filled::Broken) = connection.poll_gone(context, behind) {
                return Poll::Ready(Err(Cause::ClientClosed));
            }
            if connection.deadline.poll(context) {
                let none =
                    connection.thread.upstreams().is_some() && !connection.thread.shared.has_ready_worker_but(&[]);
                let cause = if none { Cause::DestinationUnavailable } else { Cause::QueueTimeout };
                return Poll::Ready(Err(cause));
            }
            Poll::Pending
        })
        .await
    };
    granted.map_err(|cause| Ending::new(cause, Phase::Queue))
}
