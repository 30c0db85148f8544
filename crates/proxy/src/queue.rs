//! Asking for a slot of a service, and waiting for it. A client that leaves meanwhile gives its place up; nothing has run for it.
//!
//! Invariant: returns with a lease, or the place in the queue is free again.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Instant,
};

use policy::{Lease, Queued, Ticket, Turn, Wish};
use units::{Cause, Ending, Phase};

use crate::{
    connection::{Connection, Filled},
    deadline::Waits,
    service::Way,
};

/// A slot for a request, whose first `behind` bytes of the input it is; it waits for one until then at most.
pub(crate) async fn admit(
    connection: &mut Connection,
    (way, wish): (&Way, Wish),
    until: Instant,
    behind: usize,
) -> Result<Lease, Ending> {
    let turn = way.shared().admit(Instant::now(), wish);
    take(connection, way, turn, (until, behind)).await
}

/// The same for one that comes back: it keeps its place in the order.
pub(crate) async fn readmit(
    connection: &mut Connection,
    way: &Way,
    ticket: Ticket,
    until: Instant,
    behind: usize,
) -> Result<Lease, Ending> {
    let turn = way.shared().readmit(Instant::now(), ticket);
    take(connection, way, turn, (until, behind)).await
}

async fn take(connection: &mut Connection, way: &Way, turn: Turn, limits: (Instant, usize)) -> Result<Lease, Ending> {
    match turn {
        Turn::Go(lease) => Ok(lease),
        Turn::Full => Err(Ending::new(Cause::QueueFull, Phase::Queue)),
        Turn::Shut => Err(Ending::new(Cause::AppNotLoaded, Phase::Queue)),
        // Apart, so that what waiting needs costs those no memory who do not wait.
        Turn::Wait(queued) => Box::pin(wait(connection, way, queued, limits)).await,
    }
}

async fn wait(
    connection: &mut Connection,
    way: &Way,
    mut queued: Queued,
    (until, behind): (Instant, usize),
) -> Result<Lease, Ending> {
    let now = Instant::now();
    connection.deadline.set(now, until.saturating_duration_since(now), Waits::Busy);
    if let Way::Workers { links, .. } = way {
        links.look_for_starts(now);
    }
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
                return Poll::Ready(Err(match way {
                    Way::Upstreams(pools) if !pools.shared.has_ready_worker_but(&[]) => Cause::DestinationUnavailable,
                    _ => Cause::QueueTimeout,
                }));
            }
            Poll::Pending
        })
        .await
    };
    granted.map_err(|cause| Ending::new(cause, Phase::Queue))
}
