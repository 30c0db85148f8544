use super::*;

fn one_slot() -> (Arc<Shared>, WorkerId) {
    let shared = Shared::new(10, 64);
    let node = shared.add_node("web.1");
    let worker = shared.change(Instant::now(), |dispatch| {
        let worker = dispatch.add_worker(node, 1);
        dispatch.narrow();
        worker
    });
    (shared, worker)
}

fn leased(turn: Turn) -> Lease {
    match turn {
        Turn::Go(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn queued(turn: Turn) -> Queued {
    match turn {
        Turn::Wait(queued) => queued,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dropped_lease_goes_to_the_next_in_line() {
    let (shared, worker) = one_slot();
    let lease = leased(shared.admit(Instant::now(), Wish::default()));
    let gone = queued(shared.admit(Instant::now(), Wish::default()));
    let mut waits = queued(shared.admit(Instant::now(), Wish::default()));
    drop(lease);
    drop(gone); // It was granted, but never looked: the lease must move on.
    let lease = waits.granted().await.unwrap();
    assert_eq!((lease.worker(), shared.load(worker).in_flight), (worker, 1));
    drop(lease);
    assert_eq!(shared.load(worker).in_flight, 0);
}

#[tokio::test]
async fn who_leaves_the_queue_takes_nothing_along() {
    let (shared, worker) = one_slot();
    let lease = leased(shared.admit(Instant::now(), Wish::default()));
    drop(queued(shared.admit(Instant::now(), Wish::default())));
    assert_eq!(shared.queued(), 0);
    drop(lease);
    assert_eq!(shared.load(worker).in_flight, 0);
}

#[tokio::test]
async fn who_is_held_goes_on_and_who_is_shut_out_is_told() {
    let (shared, worker) = one_slot();
    let now = Instant::now();
    shared.set_gate(now, Gate::Held);
    let mut held = queued(shared.admit(now, Wish::default()));
    shared.change(now, |dispatch| dispatch.bound_in_flight(Some(5)));
    assert_eq!(shared.load(worker).in_flight, 0, "a new bound does not open the gate");
    shared.set_gate(now, Gate::Open);
    let lease = held.granted().await.unwrap();
    let ticket = lease.ticket();
    let mut waits = queued(shared.admit(now, Wish::default()));
    shared.set_gate(now, Gate::Shut);
    assert!(waits.granted().await.is_none());
    assert!(matches!(shared.admit(now, Wish::default()), Turn::Shut));
    drop((lease, waits));
    assert_eq!((shared.load(worker).in_flight, shared.queued()), (0, 0), "what had begun has ended, and nothing else");
    assert!(matches!(shared.readmit(now, ticket), Turn::Shut));
    shared.set_gate(now, Gate::Open);
    drop(leased(shared.admit(now, Wish::default())));
}

#[tokio::test]
async fn drained_waits_for_the_last_lease() {
    let (shared, worker) = one_slot();
    let lease = leased(shared.admit(Instant::now(), Wish::default()));
    let workers = [worker];
    let mut drained = Box::pin(shared.drained(&workers));
    assert!(futures_pending(&mut drained).await);
    drop(lease);
    drained.await;
}

#[tokio::test]
async fn nobody_waits_for_what_is_past_its_time() {
    let (shared, worker) = one_slot();
    let mut lease = leased(shared.admit(Instant::now(), Wish::default()));
    let workers = [worker];
    let mut drained = Box::pin(shared.drained(&workers));
    lease.expire();
    assert!(futures_pending(&mut drained).await, "it has not started, so it can be moved");
    lease.start(Instant::now());
    lease.expire();
    drained.await;
    assert_eq!((shared.load(worker).in_flight, shared.load(worker).expired), (1, 1));
    drop(lease);
    assert_eq!(shared.load(worker), Load { requests: 1, slots: 1, window: 2, ..Load::default() });
}

/// Whether the future is still pending after it was polled once.
async fn futures_pending<F: Future<Output = ()> + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending()))
        .await
}
