use super::*;

fn app(nodes: usize, workers: usize, threads: u32) -> (Dispatch<u32>, Vec<WorkerId>) {
    let mut dispatch = Dispatch::new(100, 64);
    let mut ids = Vec::new();
    for _ in 0..nodes {
        let node = dispatch.add_node();
        ids.extend((0..workers).map(|_| dispatch.add_worker(node, threads)));
    }
    (dispatch, ids)
}

/// An application whose workers hold one unstarted request each, as after slow ones.
fn slow_app(nodes: usize, workers: usize) -> (Dispatch<u32>, Vec<WorkerId>) {
    let (mut dispatch, ids) = app(nodes, workers, 1);
    dispatch.narrow();
    (dispatch, ids)
}

fn go(dispatch: &mut Dispatch<u32>) -> WorkerId {
    match dispatch.admit(|| panic!("nobody should wait")) {
        Admission::Go(worker) => worker,
        other => panic!("{other:?}"),
    }
}

#[test]
fn single_requests_walk_over_all_workers() {
    let (mut dispatch, mut ids) = app(5, 5, 8);
    let mut seen = Vec::new();
    for _ in 0..25 {
        let worker = go(&mut dispatch);
        dispatch.start(worker, Duration::ZERO);
        dispatch.end(worker, true);
        seen.push(worker);
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
}

#[test]
fn many_at_once_are_spread_evenly() {
    let (mut dispatch, ids) = app(5, 5, 8);
    for _ in 0..75 {
        go(&mut dispatch);
    }
    for id in ids {
        assert_eq!(dispatch.load(id).in_flight, 3);
    }
}

#[test]
fn a_request_waits_when_no_worker_has_room_and_goes_when_one_has() {
    let (mut dispatch, ids) = slow_app(1, 1);
    assert_eq!(go(&mut dispatch), ids[0]);
    let Admission::Wait(first) = dispatch.admit(|| 1) else { panic!() };
    let Admission::Wait(second) = dispatch.admit(|| 2) else { panic!() };
    assert_eq!(dispatch.next_grant(), None);
    assert!(dispatch.leave(first));
    assert!(!dispatch.leave(first));
    dispatch.start(ids[0], Window::SHORT);
    assert_eq!(dispatch.next_grant(), Some((2, ids[0])));
    assert!(!dispatch.leave(second));
    assert_eq!(dispatch.load(ids[0]), Load { in_flight: 2, unstarted: 1, slots: 1, requests: 0 });
    // All threads are taken, and one request waits there already.
    dispatch.start(ids[0], Window::SHORT);
    assert!(matches!(dispatch.admit(|| 3), Admission::Wait(_)));
    dispatch.end(ids[0], true);
    assert_eq!(dispatch.next_grant(), Some((3, ids[0])));
    assert_eq!(dispatch.load(ids[0]).requests, 1);
}

#[test]
fn who_comes_back_is_first_again() {
    let (mut dispatch, ids) = slow_app(1, 1);
    go(&mut dispatch);
    for waiter in 1..=3 {
        dispatch.admit(|| waiter);
    }
    assert!(matches!(dispatch.readmit(None, || 0), Admission::Wait(_)));
    assert!(matches!(dispatch.readmit(Some(Ticket(2)), || 22), Admission::Wait(_)));
    let mut order = Vec::new();
    for _ in 0..5 {
        dispatch.end(ids[0], false);
        order.push(dispatch.next_grant().unwrap().0);
    }
    assert_eq!(order, [0, 1, 22, 2, 3]);
}

#[test]
fn a_full_queue_refuses_and_a_drained_worker_gets_nothing() {
    let (mut dispatch, ids) = slow_app(1, 2);
    dispatch.bound_queue(1);
    dispatch.drain_worker(ids[0]);
    assert_eq!(go(&mut dispatch), ids[1]);
    assert!(matches!(dispatch.admit(|| 1), Admission::Wait(_)));
    assert_eq!(dispatch.admit(|| 2), Admission::Full);
    dispatch.remove_worker(ids[1]);
    assert!(!dispatch.has_ready_worker());
    assert_eq!(dispatch.load(ids[1]), Load::default());
    let node = dispatch.add_node();
    let fresh = dispatch.add_worker(node, 1);
    assert_ne!(fresh, ids[1]);
    assert_eq!(dispatch.next_grant(), Some((1, fresh)));
    dispatch.end(ids[1], true);
    assert_eq!(dispatch.load(fresh).in_flight, 1, "an old worker's end must not count for the new one at its place");
}

#[test]
fn an_unstarted_request_moves_only_to_a_worker_with_less_to_do_that_holds_none() {
    let (mut dispatch, ids) = app(1, 2, 8);
    let given: Vec<_> = (0..4).map(|_| go(&mut dispatch)).collect();
    assert_eq!(given, [ids[0], ids[1], ids[0], ids[1]]);
    assert_eq!(dispatch.rebind(ids[0]), None, "the other has as much to do");
    dispatch.end(ids[1], false);
    dispatch.end(ids[1], false);
    assert_eq!(dispatch.rebind(ids[0]), Some(ids[1]));
    assert!(!dispatch.could_rebind(ids[0]), "now the other holds one unstarted");
}

#[test]
fn a_node_that_lost_workers_gets_less() {
    let (mut dispatch, ids) = app(2, 4, 64);
    for id in &ids[5..] {
        dispatch.remove_worker(*id);
    }
    for _ in 0..20 {
        let worker = go(&mut dispatch);
        dispatch.start(worker, Duration::ZERO);
    }
    assert_eq!(dispatch.load(ids[4]).in_flight, 4);
}

/// A repeatable source of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What a story knows of a request that has a worker.
struct Given {
    worker: WorkerId,
    started: bool,
}

#[test]
fn in_any_story_nothing_is_lost_and_who_came_first_goes_first() {
    for seed in 0..200 {
        let mut choices = Choices(seed);
        let mut dispatch = Dispatch::new(20, 64);
        let mut workers = Vec::new();
        let mut given: Vec<Given> = Vec::new();
        let (mut next, mut granted_last, mut waiting) = (0u32, None, 0usize);
        for _ in 0..400 {
            match choices.below(10) {
                0 if workers.len() < 8 => {
                    let node = dispatch.add_node();
                    workers.extend((0..=choices.below(2)).map(|_| dispatch.add_worker(node, 2)));
                }
                1 if !workers.is_empty() => {
                    let gone = workers.swap_remove(choices.below(workers.len()));
                    dispatch.drain_worker(gone);
                    given.retain(|request| request.worker != gone);
                    dispatch.remove_worker(gone);
                }
                2..=5 => {
                    next += 1;
                    match dispatch.admit(|| next) {
                        Admission::Go(worker) => given.push(Given { worker, started: false }),
                        Admission::Wait(_) => waiting += 1,
                        Admission::Full => assert_eq!(waiting, 20, "seed {seed}"),
                    }
                }
                6 | 7 if !given.is_empty() => {
                    let at = choices.below(given.len());
                    let request = &mut given[at];
                    if !request.started {
                        request.started = true;
                        dispatch.start(request.worker, Duration::from_micros(choices.below(10_000) as u64));
                    }
                }
                _ if !given.is_empty() => {
                    let request = given.swap_remove(choices.below(given.len()));
                    dispatch.end(request.worker, request.started);
                }
                _ => {}
            }
            while let Some((waiter, worker)) = dispatch.next_grant() {
                assert!(granted_last < Some(waiter), "seed {seed}: {waiter} after {granted_last:?}");
                granted_last = Some(waiter);
                waiting -= 1;
                given.push(Given { worker, started: false });
            }
            assert_eq!(dispatch.queued(), waiting, "seed {seed}");
            for worker in &workers {
                let ours = given.iter().filter(|request| request.worker == *worker);
                let (all, unstarted) =
                    ours.fold((0, 0), |(all, un), request| (all + 1, un + u32::from(!request.started)));
                let load = dispatch.load(*worker);
                assert_eq!((load.in_flight, load.unstarted), (all, unstarted), "seed {seed}");
                assert!(unstarted <= Window::WIDEST, "seed {seed}");
            }
        }
    }
}
