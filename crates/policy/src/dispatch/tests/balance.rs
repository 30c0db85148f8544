//! Ways to balance, clients that stick, slow starts and failures, as stories under seeds.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers are small")]

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::{
    chance::{Chance, check},
    hash_key,
};

const SECOND: Duration = Duration::from_secs(1);

/// Upstreams `up.0`, `up.1`, … of these weights, with room for many.
fn balanced(balance: Balance, weights: &[u32]) -> (Dispatch<u32>, Vec<WorkerId>) {
    let mut dispatch = Dispatch::new(100_000, 64);
    dispatch.set_balance(balance, 7);
    let ids = (0..weights.len()).map(|at| add(&mut dispatch, at, weights[at])).collect();
    (dispatch, ids)
}

fn add(dispatch: &mut Dispatch<u32>, number: usize, weight: u32) -> WorkerId {
    let (node, worker) = dispatch.add_upstream(weight, Rank::Usual, 10_000);
    dispatch.name_node(node, &format!("up.{number}"));
    dispatch.resume_worker(Instant::now(), worker);
    worker
}

fn keyed(key: u64) -> Wish {
    Wish { key: Some(hash_key(&key.to_be_bytes())), mark: None }
}

fn give(dispatch: &mut Dispatch<u32>, wish: Wish) -> WorkerId {
    match dispatch.admit(wish, || panic!("nobody should wait")) {
        Admission::Go(worker, _) => worker,
        other => panic!("{other:?}"),
    }
}

/// How many of so many requests each gets, when they come one at a time.
fn one_by_one(dispatch: &mut Dispatch<u32>, ids: &[WorkerId], requests: u32) -> Vec<u32> {
    let mut counts = HashMap::new();
    for number in 0..requests {
        let worker = give(dispatch, keyed(u64::from(number)));
        dispatch.start(worker, Duration::ZERO);
        dispatch.end(worker, Stage::Started, Duration::ZERO);
        *counts.entry(worker).or_default() += 1;
    }
    ids.iter().map(|id| counts.get(id).copied().unwrap_or(0)).collect()
}

fn loads(dispatch: &Dispatch<u32>, ids: &[WorkerId]) -> Vec<u32> {
    ids.iter().map(|id| dispatch.load(*id).in_flight).collect()
}

#[test]
fn weights_count_in_every_way_for_upstreams_and_own_nodes() {
    for balance in [Balance::LeastOutstanding, Balance::RoundRobin, Balance::RandomTwo, Balance::ConsistentHash] {
        let (mut dispatch, ids) = balanced(balance, &[1, 2, 5]);
        let counts = one_by_one(&mut dispatch, &ids, 8000);
        for (count, expected) in counts.iter().zip([1000u32, 2000, 5000]) {
            assert!(count.abs_diff(expected) < expected / 3, "{balance:?}: {counts:?}");
        }
        let (mut dispatch, ids) = app(4, 2, 64);
        dispatch.set_balance(balance, 7);
        for (number, id) in ids.iter().enumerate().step_by(2) {
            let node = node_of(&dispatch, *id);
            dispatch.name_node(node, &format!("web.{number}"));
        }
        let heavy = node_of(&dispatch, ids[0]);
        dispatch.set_standing(heavy, Standing { duty: Duty::Serves, weight: 300 });
        let counts = one_by_one(&mut dispatch, &ids, 6000);
        let by_node: Vec<_> = counts.chunks(2).map(|pair| pair.iter().sum::<u32>()).collect();
        assert!(by_node[0].abs_diff(3000) < 800 && by_node[1].abs_diff(1000) < 400, "{balance:?}: {by_node:?}");
    }
}

#[test]
fn full_unready_and_resting_ones_are_passed_over_in_every_way() {
    for balance in [Balance::LeastOutstanding, Balance::RoundRobin, Balance::RandomTwo, Balance::ConsistentHash] {
        let (mut dispatch, ids) = balanced(balance, &[1, 1, 1, 1]);
        dispatch.drain_worker(ids[0]);
        let rests = node_of(&dispatch, ids[1]);
        dispatch.set_standing(rests, Standing { duty: Duty::Rests, ..Standing::default() });
        let (_, small) = dispatch.add_upstream(1, Rank::Usual, 1);
        dispatch.resume_worker(Instant::now(), small);
        for number in 0..200 {
            give(&mut dispatch, keyed(number));
        }
        let counts = loads(&dispatch, &ids);
        assert_eq!((counts[0], counts[1], dispatch.load(small).in_flight <= 1), (0, 0, true), "{balance:?}");
        assert_eq!(counts[2] + counts[3] + dispatch.load(small).in_flight, 200);
    }
}

#[test]
fn a_node_that_comes_or_goes_moves_about_its_part_of_the_keys() {
    const NODES: usize = 10;
    const KEYS: u64 = 5000;
    let (mut dispatch, mut ids) = balanced(Balance::ConsistentHash, &[1; NODES]);
    let owners = |dispatch: &mut Dispatch<u32>| -> Vec<WorkerId> {
        let one = |key| {
            let worker = give(dispatch, keyed(key));
            dispatch.end(worker, Stage::Started, Duration::ZERO);
            worker
        };
        (0..KEYS).map(one).collect()
    };
    let before = owners(&mut dispatch);
    assert_eq!(before, owners(&mut dispatch));
    let new = add(&mut dispatch, NODES, 1);
    let after = owners(&mut dispatch);
    let moved: Vec<_> = before.iter().zip(&after).filter(|(one, other)| one != other).collect();
    let fair = KEYS as usize / (NODES + 1);
    assert!(moved.iter().all(|(_, to)| **to == new) && moved.len().abs_diff(fair) < fair / 2, "{}", moved.len());
    let gone = ids.swap_remove(3);
    let node = node_of(&dispatch, gone);
    dispatch.remove_node(node);
    let last = owners(&mut dispatch);
    let moved: Vec<_> = after.iter().zip(&last).filter(|(one, other)| one != other).collect();
    assert!(moved.iter().all(|(from, _)| **from == gone) && moved.len().abs_diff(fair) < fair / 2, "{}", moved.len());
    // One of the same name has the same keys, also in another process.
    add(&mut dispatch, 3, 1);
    let again = owners(&mut dispatch);
    let returned = after.iter().zip(&again).filter(|(one, other)| one != other).all(|(from, _)| *from == gone);
    assert!(returned, "nothing else has moved");
}

#[test]
fn no_key_brings_a_node_more_than_its_bound() {
    let play = |seed| {
        let mut chance = Chance::new(seed);
        let (mut dispatch, ids) = balanced(Balance::ConsistentHash, &[1, 1, 2, 1, 1]);
        let mut given = Vec::new();
        for _ in 0..3000 {
            if chance.unit() < 0.6 || given.is_empty() {
                // Half of all want the same.
                let key = if chance.unit() < 0.5 { 1 } else { (chance.unit() * 50.0) as u64 };
                let worker = give(&mut dispatch, keyed(key));
                given.push(worker);
                let weight = if worker == ids[2] { 2.0 } else { 1.0 };
                let fair = given.len() as f64 * weight / 6.0;
                let has = f64::from(dispatch.load(worker).in_flight);
                assert!(has <= (1.25 * fair).ceil(), "{has} of {} are more than 1.25 × {fair}", given.len());
            } else {
                let worker = given.swap_remove((chance.unit() * given.len() as f64) as usize);
                dispatch.end(worker, Stage::Started, Duration::ZERO);
            }
        }
        loads(&dispatch, &ids)
    };
    check(play, |loads| format!("{loads:?}"), |_| {});
}

#[test]
fn who_has_no_key_goes_where_there_is_least_to_do() {
    let (mut dispatch, ids) = balanced(Balance::ConsistentHash, &[1, 1, 1]);
    (0..6).for_each(|_| assert!(ids.contains(&give(&mut dispatch, Wish::default()))));
    assert_eq!(loads(&dispatch, &ids), [2, 2, 2]);
}

/// Nodes with one slot each, whose clients stick.
fn sticking(nodes: usize) -> (Dispatch<u32>, Vec<WorkerId>, Vec<Wish>) {
    let (mut dispatch, ids) = slow_app(nodes, 1);
    dispatch.set_secret(Some(Secret::new(&[9; 32], "web")));
    for (number, id) in ids.iter().enumerate() {
        let node = node_of(&dispatch, *id);
        dispatch.name_node(node, &format!("web.{}", number + 1));
    }
    let wishes = ids.iter().map(|id| Wish { key: None, mark: dispatch.mark(*id) }).collect();
    (dispatch, ids, wishes)
}

#[test]
fn who_sticks_waits_for_its_node_and_nobody_waits_behind_it() {
    let (mut dispatch, ids, wishes) = sticking(2);
    assert_eq!(give(&mut dispatch, wishes[0]), ids[0]);
    let Admission::Wait(first) = dispatch.admit(wishes[0], || 1) else { panic!("its node is full") };
    assert_eq!(give(&mut dispatch, Wish::default()), ids[1], "others do not wait for that");
    let Admission::Wait(second) = dispatch.admit(Wish::default(), || 2) else { panic!() };
    let Admission::Wait(third) = dispatch.admit(wishes[0], || 3) else { panic!() };
    dispatch.end(ids[1], Stage::Given, Duration::ZERO);
    assert_eq!(dispatch.next_grant(), Some((2, ids[1], second)), "the other node is not what the first waits for");
    assert_eq!(dispatch.next_grant(), None);
    dispatch.end(ids[0], Stage::Given, Duration::ZERO);
    assert_eq!(dispatch.next_grant(), Some((1, ids[0], first)));
    assert_eq!((dispatch.queued(), dispatch.leave(third), dispatch.queued()), (1, true, 0));
}

#[test]
fn of_those_that_could_have_a_node_who_came_first_goes_first() {
    let (mut dispatch, ids, wishes) = sticking(1);
    give(&mut dispatch, Wish::default());
    let line = [Wish::default(), wishes[0], Wish::default(), wishes[0]];
    for (number, wish) in line.into_iter().enumerate() {
        assert!(matches!(dispatch.admit(wish, || number as u32), Admission::Wait(_)));
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        dispatch.end(ids[0], Stage::Given, Duration::ZERO);
        order.push(dispatch.next_grant().unwrap().0);
    }
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn who_sticks_goes_elsewhere_when_its_node_takes_nothing_and_comes_back_to_its_name() {
    let (mut dispatch, ids, wishes) = sticking(2);
    give(&mut dispatch, wishes[0]);
    let Admission::Wait(waits) = dispatch.admit(wishes[0], || 1) else { panic!() };
    let node = node_of(&dispatch, ids[0]);
    dispatch.set_standing(node, Standing { duty: Duty::Rests, ..Standing::default() });
    assert_eq!(dispatch.next_grant(), Some((1, ids[1], waits)), "it waits no longer");
    dispatch.end(ids[1], Stage::Given, Duration::ZERO);
    assert_eq!(give(&mut dispatch, wishes[0]), ids[1]);
    dispatch.end(ids[1], Stage::Given, Duration::ZERO);
    // A new generation has the names of the old, and the marks.
    let new = dispatch.add_node();
    dispatch.name_node(new, "web.1");
    assert_eq!(give(&mut dispatch, wishes[0]), ids[1], "it is not ready yet");
    let worker = dispatch.add_worker(new, 1);
    assert_eq!(give(&mut dispatch, wishes[0]), worker);
    assert_eq!(dispatch.mark(worker), wishes[0].mark);
    // What nobody has made, and what was made with another secret, says nothing.
    dispatch.set_secret(Some(Secret::new(&[8; 32], "web")));
    assert_ne!(dispatch.mark(worker), wishes[0].mark);
    dispatch.end(ids[1], Stage::Given, Duration::ZERO);
    assert!(matches!(dispatch.admit(wishes[0], || 1), Admission::Go(..)), "any will do");
}

#[test]
fn in_any_story_of_clients_that_stick_nothing_is_lost_and_no_room_is_left_unused() {
    check(sticky_story, |seed| format!("{seed}"), |_| {});
}

fn sticky_story(seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let mut below = move |bound: usize| (chance.unit() * bound as f64) as usize;
    let (mut dispatch, ids, wishes) = sticking(4);
    let mut waiting: BTreeMap<u32, (Ticket, Wish)> = BTreeMap::new();
    let mut running: Vec<(WorkerId, u32)> = Vec::new();
    for number in 0..2000 {
        match below(5) {
            0 | 1 => {
                let wish = wishes.get(below(6)).copied().unwrap_or_default();
                match dispatch.admit(wish, || number) {
                    Admission::Go(worker, _) => running.push((worker, number)),
                    Admission::Wait(ticket) => assert_eq!(waiting.insert(number, (ticket, wish)), None),
                    Admission::Full => assert!(100 <= waiting.len()),
                    Admission::Shut => panic!(),
                }
            }
            2 if !running.is_empty() => {
                let (worker, _) = running.swap_remove(below(running.len()));
                dispatch.end(worker, Stage::Given, Duration::ZERO);
            }
            3 => {
                let node = node_of(&dispatch, ids[below(4)]);
                let duty = if below(3) == 0 { Duty::Rests } else { Duty::Serves };
                dispatch.set_standing(node, Standing { duty, ..Standing::default() });
            }
            _ if !waiting.is_empty() => {
                let at = *waiting.keys().nth(below(waiting.len())).unwrap();
                assert!(dispatch.leave(waiting.remove(&at).unwrap().0));
            }
            _ => {}
        }
        while let Some((number, worker, ticket)) = dispatch.next_grant() {
            let (known, wish) = waiting.remove(&number).unwrap();
            assert_eq!(known, ticket);
            // Whoever came before could not have had it.
            let could = |wish: &Wish| {
                let own = ids.iter().position(|id| wish.mark.is_some() && dispatch.mark(*id) == wish.mark);
                own.is_none_or(|own| ids[own] == worker)
            };
            assert!(!waiting.range(..number).any(|(_, (_, earlier))| could(earlier)), "{wish:?} came first");
            running.push((worker, number));
        }
        assert_eq!(dispatch.queued(), waiting.len());
        let free = |id: &WorkerId| {
            let node = dispatch.fleet.node(node_of(&dispatch, *id)).unwrap();
            node.key().is_some()
        };
        let some_free = ids.iter().any(free);
        let waits_for_any = waiting.values().any(|(_, wish)| wish.mark.is_none());
        assert!(!(some_free && waits_for_any), "room is left");
        for (own, id) in ids.iter().enumerate() {
            let awaited = waiting.values().any(|(_, wish)| wish.mark == wishes[own].mark);
            assert!(!(free(id) && awaited), "a node has room for whom it is awaited by");
        }
    }
    seed
}

#[test]
fn an_upstream_that_starts_slowly_has_its_part_little_by_little_and_never_nothing() {
    let (mut dispatch, mut ids) = balanced(Balance::LeastOutstanding, &[1, 1]);
    dispatch.set_slow_start(10 * SECOND);
    let began = Instant::now();
    let (_, new) = dispatch.add_upstream(1, Rank::Usual, 10_000);
    dispatch.resume_worker(began, new);
    ids.push(new);
    let mut parts = Vec::new();
    for second in [0, 2, 5, 8, 10] {
        dispatch.advance(began + second * SECOND);
        let given: Vec<_> = (0..300).map(|_| give(&mut dispatch, Wish::default())).collect();
        parts.push(dispatch.load(new).in_flight);
        given.into_iter().for_each(|worker| dispatch.end(worker, Stage::Started, Duration::ZERO));
    }
    // Beside two that have all of theirs: 300 × part / (2 + part).
    for (part, expected) in parts.iter().zip([1u32, 27, 60, 86, 100]) {
        assert!(part.abs_diff(expected) <= 2, "{parts:?}");
    }
}

/// Whether the dispatch is told that a request has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failures {
    Told,
    Untold,
}

/// Forty clients ask four upstreams, each on and on, of which the first fails at once. How many requests that one gets, of
/// a hundred.
fn black_hole(balance: Balance, failures: Failures, seed: u64) -> f64 {
    let mut chance = Chance::new(seed);
    let (mut dispatch, ids) = balanced(balance, &[1; 4]);
    let began = Instant::now();
    let mut now = began;
    let mut ends: BTreeMap<(Duration, u32), (WorkerId, Duration)> = BTreeMap::new();
    let (mut number, mut failed, mut all) = (0, 0, 0);
    while all < 40_000 {
        dispatch.advance(now);
        while ends.len() < 40 {
            number += 1;
            let worker = give(&mut dispatch, keyed(u64::from(number)));
            let mean = if worker == ids[0] { 0.0002 } else { 0.02 };
            let takes = Duration::from_secs_f64(chance.exponential(mean));
            ends.insert((now - began + takes, number), (worker, takes));
        }
        let ((at, _), (worker, takes)) = ends.pop_first().unwrap();
        now = began + at;
        all += 1;
        if worker == ids[0] {
            failed += 1;
            if failures == Failures::Told {
                dispatch.fail(now, worker);
            }
            dispatch.end(worker, Stage::Started, Duration::ZERO);
        } else {
            dispatch.end(worker, Stage::Started, takes);
        }
    }
    100.0 * f64::from(failed) / f64::from(all)
}

#[test]
fn who_fails_at_once_is_no_black_hole() {
    for balance in [Balance::LeastOutstanding, Balance::RandomTwo, Balance::ConsistentHash] {
        check(
            |seed| black_hole(balance, Failures::Told, seed),
            |part| format!("{part:.0} %"),
            |part| assert!(*part < 35.0, "{part:.0} %"),
        );
    }
    // It would be one if failures did not weigh anything.
    check(
        |seed| black_hole(Balance::LeastOutstanding, Failures::Untold, seed),
        |part| format!("{part:.0} %"),
        |part| assert!(90.0 < *part, "{part:.0} %"),
    );
}

#[test]
fn one_on_trial_gets_one_request_also_beside_backups_and_is_nobodys_last() {
    let (mut dispatch, ids) = upstreams(&[(1, Rank::Usual, 10), (1, Rank::Usual, 10), (1, Rank::Backup, 10)]);
    assert!(dispatch.suspend_worker(ids[0], Keep::One));
    dispatch.try_worker(ids[0]);
    let given: Vec<_> = (0..4).map(|_| go(&mut dispatch)).collect();
    assert_eq!(given.iter().filter(|id| **id == ids[0]).count(), 1, "{given:?}");
    for balance in [Balance::RoundRobin, Balance::RandomTwo, Balance::ConsistentHash] {
        dispatch.set_balance(balance, 1);
        dispatch.try_worker(ids[0]);
        assert_eq!(give(&mut dispatch, keyed(1)), ids[0], "{balance:?}");
        assert_ne!(give(&mut dispatch, keyed(1)), ids[0], "{balance:?}");
    }
    assert!(dispatch.suspend_worker(ids[1], Keep::One), "the backup is left");
    assert_eq!(go(&mut dispatch), ids[2]);
    assert!(!dispatch.suspend_worker(ids[2], Keep::One), "one on trial does not count");
    dispatch.try_worker(ids[0]);
    assert_eq!(go(&mut dispatch), ids[0], "the usual first");
    dispatch.resume_worker(Instant::now(), ids[0]);
    (0..3).for_each(|_| assert_eq!(go(&mut dispatch), ids[0]));
}

#[test]
fn of_all_that_answer_badly_half_stay() {
    let (mut dispatch, ids) = balanced(Balance::LeastOutstanding, &[1; 4]);
    let left: Vec<_> = ids.iter().map(|id| dispatch.suspend_worker(*id, Keep::Half)).collect();
    assert_eq!(left, [true, true, false, false]);
}

#[test]
fn a_reload_changes_the_way_and_forgets_nothing() {
    let (mut dispatch, ids) = balanced(Balance::LeastOutstanding, &[1; 3]);
    for _ in 0..6 {
        give(&mut dispatch, Wish::default());
    }
    for balance in [Balance::ConsistentHash, Balance::RandomTwo, Balance::RoundRobin, Balance::LeastOutstanding] {
        dispatch.set_balance(balance, 3);
        let worker = give(&mut dispatch, keyed(1));
        dispatch.end(worker, Stage::Started, Duration::ZERO);
        assert_eq!(loads(&dispatch, &ids), [2, 2, 2], "{balance:?}");
    }
}
