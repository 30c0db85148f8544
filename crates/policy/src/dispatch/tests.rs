use std::{collections::BTreeMap, mem};

use super::*;
use crate::Duty;

mod balance;

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
    match dispatch.admit(Wish::default(), || panic!("nobody should wait")) {
        Admission::Go(worker, _) => worker,
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
        dispatch.end(worker, Stage::Started, Duration::ZERO);
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
fn a_node_that_is_slower_for_a_while_keeps_its_turns() {
    let (mut dispatch, ids) = app(2, 1, 64);
    let give = |dispatch: &mut Dispatch<u32>| {
        let worker = go(dispatch);
        dispatch.start(worker, Duration::ZERO);
        worker
    };
    for _ in 0..38 {
        give(&mut dispatch);
    }
    // The scheduler has let one of them get on: 10 to do there, 19 here.
    (0..9).for_each(|_| dispatch.end(ids[1], Stage::Started, Duration::ZERO));
    let mut turns = [give(&mut dispatch), give(&mut dispatch)];
    turns.sort();
    assert_eq!(turns, [ids[0], ids[1]]);
    // Three times as much is no accident.
    (0..6).for_each(|_| dispatch.end(ids[1], Stage::Started, Duration::ZERO));
    assert_eq!([give(&mut dispatch), give(&mut dispatch)], [ids[1], ids[1]]);
}

#[test]
fn a_request_waits_when_no_worker_has_room_and_goes_when_one_has() {
    let (mut dispatch, ids) = slow_app(1, 1);
    assert_eq!(go(&mut dispatch), ids[0]);
    let Admission::Wait(first) = dispatch.admit(Wish::default(), || 1) else { panic!() };
    let Admission::Wait(second) = dispatch.admit(Wish::default(), || 2) else { panic!() };
    assert_eq!(dispatch.next_grant(), None);
    assert!(dispatch.leave(first));
    assert!(!dispatch.leave(first));
    dispatch.start(ids[0], Window::SHORT);
    assert_eq!(dispatch.next_grant(), Some((2, ids[0], second)));
    assert!(!dispatch.leave(second));
    assert_eq!(
        dispatch.load(ids[0]),
        Load { in_flight: 2, unstarted: 1, expired: 0, window: 1, slots: 1, requests: 0 }
    );
    // All threads are taken, and one request waits there already.
    dispatch.start(ids[0], Window::SHORT);
    let Admission::Wait(third) = dispatch.admit(Wish::default(), || 3) else { panic!() };
    dispatch.end(ids[0], Stage::Started, Duration::ZERO);
    assert_eq!(dispatch.next_grant(), Some((3, ids[0], third)));
    assert_eq!(dispatch.load(ids[0]).requests, 1);
}

#[test]
fn who_comes_back_has_its_old_place() {
    let (mut dispatch, ids) = slow_app(2, 1);
    let mut tickets = Vec::new();
    for number in 0..5 {
        match dispatch.admit(Wish::default(), || number) {
            Admission::Go(_, ticket) | Admission::Wait(ticket) => tickets.push(ticket),
            Admission::Full | Admission::Shut => panic!(),
        }
    }
    // The first two had a worker each, the third gets one; all three come back, the last first.
    dispatch.end(ids[0], Stage::Given, Duration::ZERO);
    assert_eq!(dispatch.next_grant(), Some((2, ids[0], tickets[2])));
    dispatch.drain_worker(ids[0]);
    for number in [2, 1, 0] {
        assert_eq!(dispatch.readmit(tickets[number as usize], || number), Admission::Wait(tickets[number as usize]));
    }
    assert!(dispatch.leave(tickets[1]), "each can be told from the others");
    let mut order = Vec::new();
    for _ in 0..4 {
        dispatch.end(ids[1], Stage::Given, Duration::ZERO);
        order.push(dispatch.next_grant().unwrap().0);
    }
    assert_eq!(order, [0, 2, 3, 4]);
}

#[test]
fn a_full_queue_refuses_and_a_drained_worker_gets_nothing() {
    let (mut dispatch, ids) = slow_app(1, 2);
    dispatch.bound_queue(1);
    dispatch.drain_worker(ids[0]);
    assert_eq!(go(&mut dispatch), ids[1]);
    let Admission::Wait(first) = dispatch.admit(Wish::default(), || 1) else { panic!() };
    assert_eq!(dispatch.admit(Wish::default(), || 2), Admission::Full);
    dispatch.remove_worker(ids[1]);
    assert!(!dispatch.has_ready_worker());
    assert_eq!(dispatch.load(ids[1]), Load::default());
    let node = dispatch.add_node();
    let fresh = dispatch.add_worker(node, 1);
    assert_ne!(fresh, ids[1]);
    assert_eq!(dispatch.next_grant(), Some((1, fresh, first)));
    dispatch.end(ids[1], Stage::Started, Duration::ZERO);
    assert_eq!(dispatch.load(fresh).in_flight, 1, "an old worker's end must not count for the new one at its place");
}

#[test]
fn an_unstarted_request_moves_only_to_a_worker_with_less_to_do_that_holds_none() {
    let (mut dispatch, ids) = app(1, 2, 8);
    let given: Vec<_> = (0..4).map(|_| go(&mut dispatch)).collect();
    assert_eq!(given, [ids[0], ids[1], ids[0], ids[1]]);
    assert_eq!(dispatch.rebind(ids[0]), None, "the other has as much to do");
    dispatch.end(ids[1], Stage::Given, Duration::ZERO);
    dispatch.end(ids[1], Stage::Given, Duration::ZERO);
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

#[test]
fn all_workers_together_have_no_more_in_flight_than_is_allowed() {
    let (mut dispatch, ids) = app(2, 2, 8);
    dispatch.bound_in_flight(Some(3));
    let given: Vec<_> = (0..3).map(|_| go(&mut dispatch)).collect();
    let Admission::Wait(ticket) = dispatch.admit(Wish::default(), || 4) else { panic!() };
    dispatch.start(given[0], Duration::ZERO);
    assert_eq!(dispatch.next_grant(), None);
    // Who holds a request past its time still holds what the bound protects.
    dispatch.expire(given[0]);
    assert_eq!(dispatch.next_grant(), None);
    dispatch.end(given[0], Stage::Expired, Duration::ZERO);
    assert_eq!(dispatch.load(given[0]).expired, 0);
    assert!(matches!(dispatch.next_grant(), Some((4, _, granted)) if granted == ticket));
    // What a worker had that has gone does not count.
    assert!(matches!(dispatch.admit(Wish::default(), || 5), Admission::Wait(_)));
    let busy = ids.into_iter().find(|id| 0 < dispatch.load(*id).in_flight).unwrap();
    dispatch.remove_worker(busy);
    assert!(dispatch.next_grant().is_some());
    dispatch.bound_in_flight(None);
    assert!((0..9).all(|_| matches!(dispatch.admit(Wish::default(), || 6), Admission::Go(..))));
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
    number: u32,
    ticket: Ticket,
    worker: WorkerId,
    started: bool,
}

/// Requests are numbered as they come; the story knows where each of them must be.
struct Story {
    seed: u64,
    dispatch: Dispatch<u32>,
    given: Vec<Given>,
    waiting: BTreeMap<u32, Ticket>,
}

impl Story {
    fn note(&mut self, number: u32, admission: Admission) {
        match admission {
            Admission::Go(worker, ticket) => self.given.push(Given { number, ticket, worker, started: false }),
            Admission::Wait(ticket) => assert_eq!(self.waiting.insert(number, ticket), None),
            Admission::Full => assert!(20 <= self.waiting.len(), "seed {}", self.seed),
            Admission::Shut => panic!("nobody has shut it, seed {}", self.seed),
        }
    }

    /// A worker that is no more: what it had comes back, what it had started ends.
    fn lose(&mut self, gone: WorkerId) {
        self.dispatch.drain_worker(gone);
        let (lost, kept) = mem::take(&mut self.given).into_iter().partition(|request| request.worker == gone);
        self.given = kept;
        for request in lost.into_iter().filter(|request: &Given| !request.started) {
            let admission = self.dispatch.readmit(request.ticket, || request.number);
            self.note(request.number, admission);
        }
        self.dispatch.remove_worker(gone);
    }

    fn leave(&mut self, at: usize) {
        let (number, ticket) = self.waiting.iter().nth(at).map(|(number, ticket)| (*number, *ticket)).unwrap();
        assert!(self.dispatch.leave(ticket), "seed {}", self.seed);
        self.waiting.remove(&number);
    }

    fn grant(&mut self) {
        while let Some((number, worker, ticket)) = self.dispatch.next_grant() {
            assert_eq!(self.waiting.pop_first(), Some((number, ticket)), "seed {}", self.seed);
            self.given.push(Given { number, ticket, worker, started: false });
        }
        assert_eq!(self.dispatch.queued(), self.waiting.len(), "seed {}", self.seed);
    }

    fn check(&self, worker: WorkerId) {
        let ours = self.given.iter().filter(|request| request.worker == worker);
        let (all, unstarted) = ours.fold((0, 0), |(all, un), request| (all + 1, un + u32::from(!request.started)));
        let load = self.dispatch.load(worker);
        assert_eq!((load.in_flight, load.unstarted), (all, unstarted), "seed {}", self.seed);
        assert!(unstarted <= Window::WIDEST, "seed {}", self.seed);
    }
}

#[test]
fn in_any_story_nothing_is_lost_and_who_came_first_goes_first() {
    for seed in 0..200 {
        let mut choices = Choices(seed);
        let mut story = Story { seed, dispatch: Dispatch::new(20, 64), given: Vec::new(), waiting: BTreeMap::new() };
        let mut workers = Vec::new();
        let mut next = 0;
        for _ in 0..400 {
            match choices.below(11) {
                0 if workers.len() < 8 => {
                    let node = story.dispatch.add_node();
                    workers.extend((0..=choices.below(2)).map(|_| story.dispatch.add_worker(node, 2)));
                }
                1 if !workers.is_empty() => {
                    let gone = workers.swap_remove(choices.below(workers.len()));
                    story.lose(gone);
                }
                2..=5 => {
                    next += 1;
                    let admission = story.dispatch.admit(Wish::default(), || next);
                    story.note(next, admission);
                }
                6 | 7 if !story.given.is_empty() => {
                    let at = choices.below(story.given.len());
                    let request = &mut story.given[at];
                    if !request.started {
                        request.started = true;
                        story.dispatch.start(request.worker, Duration::from_micros(choices.below(10_000) as u64));
                    }
                }
                8 if !story.waiting.is_empty() => story.leave(choices.below(story.waiting.len())),
                _ if !story.given.is_empty() => {
                    let request = story.given.swap_remove(choices.below(story.given.len()));
                    let stage = if request.started { Stage::Started } else { Stage::Given };
                    story.dispatch.end(request.worker, stage, Duration::ZERO);
                }
                _ => {}
            }
            story.grant();
            workers.iter().for_each(|worker| story.check(*worker));
        }
    }
}

fn node_of(dispatch: &Dispatch<u32>, worker: WorkerId) -> NodeId {
    let place = dispatch.fleet.worker(worker).unwrap().node;
    dispatch.fleet.node_at(place).unwrap().id
}

/// How many of so many single requests each of two nodes gets.
fn split(dispatch: &mut Dispatch<u32>, ids: &[WorkerId], requests: u32) -> [u32; 2] {
    let mut counts = [0; 2];
    for _ in 0..requests {
        let worker = go(dispatch);
        dispatch.start(worker, Duration::ZERO);
        dispatch.end(worker, Stage::Started, Duration::ZERO);
        counts[usize::from(worker != ids[0])] += 1;
    }
    counts
}

#[test]
fn nodes_get_requests_in_proportion_to_their_weight() {
    for (weight, expected) in
        [(100, [150, 150]), (50, [100, 200]), (200, [200, 100]), (10, [27, 273]), (1000, [273, 27])]
    {
        let (mut dispatch, ids) = app(2, 1, 8);
        let node = node_of(&dispatch, ids[0]);
        dispatch.set_standing(node, Standing { duty: Duty::Serves, weight });
        let counts = split(&mut dispatch, &ids, 300);
        assert!(counts[0].abs_diff(expected[0]) <= 3, "{weight}: {counts:?}");
    }
}

#[test]
fn a_node_that_rests_gets_nothing_until_it_serves_again() {
    let (mut dispatch, ids) = app(2, 1, 8);
    let [first, second] = [node_of(&dispatch, ids[0]), node_of(&dispatch, ids[1])];
    let rests = Standing { duty: Duty::Rests, ..Standing::default() };
    dispatch.set_standing(first, rests);
    assert_eq!(split(&mut dispatch, &ids, 10), [0, 10]);
    dispatch.set_standing(second, rests);
    let Admission::Wait(ticket) = dispatch.admit(Wish::default(), || 1) else { panic!("nobody serves") };
    assert_eq!(dispatch.next_grant(), None);
    dispatch.set_standing(first, Standing::default());
    assert_eq!(dispatch.next_grant(), Some((1, ids[0], ticket)));
}

fn upstreams(all: &[(u32, Rank, u32)]) -> (Dispatch<u32>, Vec<WorkerId>) {
    let mut dispatch = Dispatch::new(100, 64);
    let ids = all.iter().map(|(weight, rank, most)| dispatch.add_upstream(*weight, *rank, *most).1).collect::<Vec<_>>();
    ids.iter().for_each(|id| dispatch.resume_worker(Instant::now(), *id));
    (dispatch, ids)
}

#[test]
fn an_upstream_gets_its_weight_and_no_more_than_it_may_have() {
    let (mut dispatch, ids) = upstreams(&[(3, Rank::Usual, 1024), (1, Rank::Usual, 10)]);
    for _ in 0..40 {
        go(&mut dispatch);
    }
    assert_eq!(ids.iter().map(|id| dispatch.load(*id).in_flight).collect::<Vec<_>>(), [30, 10]);
    go(&mut dispatch);
    assert_eq!(dispatch.load(ids[0]).in_flight, 31, "the other is full");
    dispatch.end(ids[0], Stage::Given, Duration::ZERO);
    assert_eq!((dispatch.load(ids[0]).requests, dispatch.load(ids[0]).slots), (1, 1024));
}

#[test]
fn a_backup_gets_requests_only_when_no_other_takes_any() {
    let (mut dispatch, ids) = upstreams(&[(1, Rank::Usual, 1), (1, Rank::Backup, 10)]);
    assert_eq!(go(&mut dispatch), ids[0]);
    assert!(
        matches!(dispatch.admit(Wish::default(), || 1), Admission::Wait(_)),
        "the other has no room, but takes requests"
    );
    assert!(dispatch.suspend_worker(ids[0], Keep::One));
    assert_eq!(dispatch.next_grant().map(|(_, worker, _)| worker), Some(ids[1]));
    assert!(!dispatch.suspend_worker(ids[1], Keep::One), "the last one stays");
    assert_eq!(go(&mut dispatch), ids[1]);
}

#[test]
fn what_could_not_be_brought_to_one_goes_to_another() {
    let (mut dispatch, ids) = upstreams(&[(1, Rank::Usual, 9), (1, Rank::Usual, 9), (1, Rank::Backup, 9)]);
    let Admission::Go(first, ticket) = dispatch.admit(Wish::default(), || 1) else { panic!() };
    let second = dispatch.give_elsewhere(ticket, &[first]).unwrap();
    assert!(first != second && second != ids[2]);
    assert_eq!(dispatch.give_elsewhere(ticket, &[first, second]), Some(ids[2]));
    assert_eq!(dispatch.give_elsewhere(ticket, &ids), None);
}
