//! One attempt after another, until there is an answer to be passed on or the right to try again is used up.
//!
//! A failed connect moves to another upstream whatever the method is, as nothing was sent. A kept connection that turns out
//! to be closed is replaced by a new one, if the method is idempotent (RFC 9112 §9.3.1) and all of the body is at hand. What
//! an upstream has taken is tried on another only if the method is safe (RFC 9110 §9.2.1) and the operator says so
//! (`retry_on`). All of it only within the budget.
//!
//! Invariant: a request that was tried again has brought nothing to the client before.

use std::time::Instant;

use config::Again;
use policy::{Fault, Lease, WorkerId, is_safe};
use units::{Cause, Ending, Phase};

use super::{
    attempt::{self, Answered, Failure},
    pool::{Pool, Pools},
    relay, tunnel,
};
use crate::{
    body::Upload, connection::Connection, files, queue, record::Story, request::Request, service::Way, thread::Thread,
};

/// The first and two more.
const TRIES_MAX: usize = 3;

/// Whether an attempt that has failed may be followed by another.
#[derive(Clone, Copy, Debug)]
enum Right {
    /// Nothing was sent.
    Always,
    /// The upstream has it: as the operator says of this.
    If(Again),
    /// It would fail elsewhere too, or nobody wants it any more.
    Never,
}

/// Brings the request to the upstream of `lease`, and if need be to another, and the answer back. `Err` as long as nothing of
/// a response has gone to the client.
pub(crate) async fn run(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (way, pools, mut lease): (&Way, &Pools, Lease),
    start_by: Instant,
    story: &mut Story,
) -> Result<Ending, Ending> {
    pools.earn();
    let ticket = lease.ticket();
    let mut tried: Vec<WorkerId> = Vec::new();
    loop {
        // It may have gone with a reload in this moment.
        let Some(pool) = pools.find(lease.worker()) else {
            tokio::task::yield_now().await;
            lease = queue::readmit(connection, way, ticket, start_by, upload.end()).await?;
            continue;
        };
        tried.push(lease.worker());
        let tries = Tries { pools, tried: &tried };
        match attempt::on_one(connection, request, upload, (pools, &pool), story).await {
            Ok(answered) => {
                let status = answered.head.status;
                if !tries.may_go_on(connection, request, upload, Right::If(Again::Status(status))) {
                    return pass_on(connection, request, upload, (pools, answered, lease), story).await;
                }
                settle(&mut lease, status);
                relay::finish(connection, upload, answered);
            }
            Err(failure) => {
                if let Some(fault) = fault(&failure) {
                    pool.upstream.failed(fault);
                    lease.failed(Instant::now());
                }
                let (cause, right) = judge(&failure);
                complain(&connection.thread, &pool, &failure);
                if !tries.may_go_on(connection, request, upload, right) {
                    return Err(Ending::new(cause, Phase::AwaitHead));
                }
            }
        }
        lease = match pools.shared.elsewhere(Instant::now(), ticket, &tried) {
            Some(other) => other,
            None => {
                drop(lease);
                queue::readmit(connection, way, ticket, start_by, upload.end()).await?
            }
        };
    }
}

/// Where a request has been.
struct Tries<'a> {
    pools: &'a Pools,
    tried: &'a [WorkerId],
}

impl Tries<'_> {
    /// Whether there is another attempt, which this takes from the budget.
    fn may_go_on(&self, connection: &Connection, request: &Request<'_>, upload: &Upload, right: Right) -> bool {
        let allowed = match right {
            Right::Always => true,
            Right::If(again) => {
                request.retry_on.holds(again)
                    && is_safe(request.method(&connection.input))
                    && upload.is_at_hand()
                    && !connection.has_unsent()
            }
            Right::Never => false,
        };
        let Self { pools, tried } = self;
        allowed && tried.len() < TRIES_MAX && pools.shared.has_ready_worker_but(tried) && pools.spend()
    }
}

/// What is counted against the upstream.
fn fault(failure: &Failure) -> Option<Fault> {
    match failure {
        Failure::Ended(Cause::HttpResponseTimeout) => Some(Fault::Answer),
        // Of such a request's client, who could take the upstream away from all others. What it is worth shorter requests and
        // probes tell.
        Failure::Ended(_) | Failure::Unfit => None,
        _ => Some(Fault::Connection),
    }
}

/// As what the request ends, and whether it may go on elsewhere.
fn judge(failure: &Failure) -> (Cause, Right) {
    match failure {
        Failure::NotConnected(unreached) => (unreached.cause, Right::Always),
        Failure::Refused(_) => (Cause::TlsProtocolError, Right::Never),
        Failure::Unfit => (Cause::ConnectionTerminated, Right::Never),
        Failure::Silent => (Cause::ConnectionTerminated, Right::If(Again::Closed)),
        Failure::Incomplete => (Cause::HttpResponseIncomplete, Right::If(Again::Closed)),
        Failure::Malformed(_) => (Cause::UpstreamProtocolError, Right::Never),
        Failure::Ended(cause @ Cause::HttpResponseTimeout) => (*cause, Right::If(Again::Timeout)),
        Failure::Ended(cause) => (*cause, Right::Never),
    }
}

/// Tells the operator what has to be looked at.
fn complain(thread: &Thread, pool: &Pool, failure: &Failure) {
    let name = &pool.upstream.label.name;
    match failure {
        Failure::NotConnected(unreached) if unreached.is_of_tls() => {
            thread.complain_of_way(name, unreached.cause, &unreached.to_string());
        }
        Failure::Refused(why) => thread.complain_of_way(name, Cause::TlsProtocolError, why),
        Failure::Unfit => {
            let why = "it was closed without an answer to more than 4 KiB of variables; uWSGI needs `buffer-size = 65535` for them";
            thread.complain_of_upstream(name, why);
        }
        Failure::Malformed(why) => thread.complain_of_upstream(name, why),
        _ => {}
    }
}

/// Of whatever is meant with a 5xx, the upstream was quick about it.
fn settle(lease: &mut Lease, status: u16) {
    let now = Instant::now();
    if status < 500 { lease.answered(now) } else { lease.failed(now) }
}

/// Brings an answer whose head is here to the client.
async fn pass_on(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &mut Upload,
    (pools, answered, mut lease): (&Pools, Answered, Lease),
    story: &mut Story,
) -> Result<Ending, Ending> {
    story.head_arrived(Instant::now());
    story.served_by(lease.worker());
    settle(&mut lease, answered.head.status);
    if answered.head.status == 101 {
        let ending = Box::pin(tunnel::run(connection, request, upload, answered, story)).await;
        drop(lease);
        return Ok(ending);
    }
    if let Some(wanted) = relay::wanted(connection, &answered) {
        relay::finish(connection, upload, answered);
        drop(lease);
        return Box::pin(files::answer_wanted(connection, request, upload, story, wanted)).await;
    }
    if request.response < relay::announced(&answered) {
        return Err(Ending::new(Cause::ResponseTooLarge, Phase::AwaitHead));
    }
    let ending = relay::forward(connection, request, upload, (pools, answered), story).await;
    drop(lease);
    Ok(ending)
}
