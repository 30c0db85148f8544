//! A worker's threads and its GIL, simulated: one story a test, the same for every run.
//!
//! The simulated GIL is CPython's: whoever waits longer than the interval has it taken from its holder, who then waits
//! itself, last of all. There are cores enough.

use std::collections::VecDeque;

use super::*;

const INTERVAL: u64 = 1_000;
/// From the call of a parked thread until it waits for the GIL.
const WAKE: u64 = 50;
const LIMIT: usize = 256;

/// What a handler does: it computes, or waits without the GIL, for so many microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Compute(u64),
    Wait(u64),
}
use Act::{Compute, Wait};

#[derive(Debug)]
struct Request {
    arrives: u64,
    acts: Vec<Act>,
}

#[derive(Debug)]
struct Thread {
    state: State,
    /// What is left of its request.
    acts: VecDeque<Act>,
    request: Option<(usize, Start)>,
    /// When it was called, while it has not come.
    called: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Parked,
    WakesAt(u64),
    /// Since when it waits for the GIL.
    Ready(u64),
    Holds,
    WaitsUntil(u64),
}

#[derive(Debug, Default)]
struct Told {
    /// From arrival to end, by request.
    took: Vec<u64>,
    /// From start to end, by request.
    ran: Vec<u64>,
    calls: usize,
    threads: usize,
    /// The most microseconds that a request waited while threads were to be had and nobody held the GIL.
    neglected: u64,
}

/// Microsecond by microsecond.
fn play(requests: &[Request]) -> Told {
    let began = Instant::now();
    let at = |time: u64| began + Duration::from_micros(time);
    let mut turns = Turns::new(began);
    let none = vec![0; requests.len()];
    let mut told = Told { took: none.clone(), ran: none, ..Told::default() };
    let mut threads: Vec<Thread> = Vec::new();
    let mut inbox: VecDeque<usize> = VecDeque::new();
    let (mut next, mut done, mut time, mut ticked) = (0, 0, 0u64, 0u64);
    let (mut neglected, mut held_since) = (0, 0u64);
    while done < requests.len() {
        assert!(time < 60_000_000, "the story ends: {} of {} requests did", done, requests.len());
        let mut wanted = false;
        while requests.get(next).is_some_and(|request| request.arrives <= time) {
            inbox.push_back(next);
            next += 1;
            wanted = true;
        }
        if turns.next_tick(inbox.len()).is_some_and(|tick| at(ticked) + tick <= at(time)) {
            ticked = time;
            turns.tick();
            wanted = true;
        }
        let blocked = !threads.iter().any(|thread| thread.state == State::Holds);
        if wanted && !inbox.is_empty() && turns.wants_candidate(at(time), || blocked) {
            call(&mut threads, &mut turns, &mut told, time);
        }
        for thread in &mut threads {
            match thread.state {
                State::WakesAt(moment) | State::WaitsUntil(moment) if moment <= time => {
                    thread.state = State::Ready(time)
                }
                _ => {}
            }
        }
        // Whoever waits longest gets the GIL: at once when it is free, after the interval when it is not.
        let holder = threads.iter().position(|thread| thread.state == State::Holds);
        let waiter = (0..threads.len())
            .filter_map(
                |index| if let State::Ready(since) = threads[index].state { Some((since, index)) } else { None },
            )
            .min();
        match (holder, waiter) {
            (None, Some((_, index))) => (threads[index].state, held_since) = (State::Holds, time),
            (Some(holder), Some((since, index))) if INTERVAL <= time - since.max(held_since) => {
                threads[holder].state = State::Ready(time);
                (threads[index].state, held_since) = (State::Holds, time);
            }
            _ => {}
        }
        let idle = threads.iter().all(|thread| !matches!(thread.state, State::Holds | State::Ready(_)));
        neglected = if idle && !inbox.is_empty() { neglected + 1 } else { 0 };
        told.neglected = told.neglected.max(neglected);
        if let Some(index) = threads.iter().position(|thread| thread.state == State::Holds) {
            done += run(&mut threads, index, &mut turns, &mut inbox, requests, &mut told, (began, time));
        }
        time += 1;
    }
    told.threads = threads.len();
    told
}

/// One microsecond of the thread that holds the GIL; how many requests have ended.
fn run(
    threads: &mut Vec<Thread>,
    index: usize,
    turns: &mut Turns,
    inbox: &mut VecDeque<usize>,
    requests: &[Request],
    told: &mut Told,
    (began, time): (Instant, u64),
) -> usize {
    let now = began + Duration::from_micros(time);
    let thread = &mut threads[index];
    let mut ended = 0;
    if thread.acts.is_empty() {
        let came = match (thread.request.take(), thread.called.take()) {
            (Some((request, start)), _) => {
                told.took[request] = time - requests[request].arrives;
                told.ran[request] = micros(now.duration_since(start.since));
                ended = 1;
                Came::Run(start)
            }
            (None, called) => Came::Call(Duration::from_micros(time - called.unwrap_or(time) - WAKE)),
        };
        let keeps = turns.arrive(came, Duration::from_micros(INTERVAL), now) == Gil::Keep;
        let Some(request) = keeps.then(|| inbox.pop_front()).flatten() else {
            turns.park();
            thread.state = State::Parked;
            return ended;
        };
        let (start, _) = turns.start(came, inbox.len(), now);
        thread.request = Some((request, start));
        thread.acts = requests[request].acts.iter().copied().collect();
        if !inbox.is_empty() && turns.wants_candidate_at_start() {
            call(threads, turns, told, time);
        }
        return ended;
    }
    match thread.acts.front_mut() {
        Some(Compute(left)) if 1 < *left => *left -= 1,
        Some(Compute(_)) => drop(thread.acts.pop_front()),
        Some(Wait(long)) => {
            thread.state = State::WaitsUntil(time + *long);
            thread.acts.pop_front();
        }
        None => {}
    }
    ended
}

fn call(threads: &mut Vec<Thread>, turns: &mut Turns, told: &mut Told, time: u64) {
    let parked = threads.iter().rposition(|thread| thread.state == State::Parked);
    if parked.is_none() && LIMIT <= threads.len() {
        return;
    }
    let index = parked.unwrap_or(threads.len());
    if parked.is_none() {
        threads.push(Thread { state: State::Parked, acts: VecDeque::new(), request: None, called: None });
    }
    (threads[index].state, threads[index].called) = (State::WakesAt(time + WAKE), Some(time));
    turns.called();
    told.calls += 1;
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

fn every(interval: u64, count: u64, acts: &[Act]) -> Vec<Request> {
    (0..count).map(|index| Request { arrives: index * interval, acts: acts.to_vec() }).collect()
}

fn together(mut some: Vec<Request>, others: Vec<Request>) -> Vec<Request> {
    some.extend(others);
    some.sort_by_key(|request| request.arrives);
    some
}

fn quantile(requests: &[Request], told: &Told, acts: &[Act], part: f64) -> u64 {
    let chosen = requests.iter().zip(&told.took).filter(|(request, _)| request.acts == acts);
    let mut took: Vec<_> = chosen.map(|(_, took)| *took).collect();
    took.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = (took.len() as f64 * part) as usize;
    took[index.min(took.len() - 1)]
}

const QUICK: &[Act] = &[Compute(60)];

#[test]
fn one_thread_runs_quick_requests_one_after_the_other() {
    let requests = every(70, 5_000, QUICK);
    let told = play(&requests);
    assert!(told.threads <= 2, "{} threads", told.threads);
    assert!(told.calls <= 5_000, "a thread that has found nothing parks");
    let burst: Vec<_> = every(0, 1_000, QUICK);
    let told = play(&burst);
    assert!(told.calls <= 5, "{} calls for a thousand requests that wait", told.calls);
}

#[test]
fn a_handler_that_waits_is_followed_at_once() {
    let waits = [Compute(100), Wait(100_000), Compute(100)];
    let requests = every(0, 40, &waits);
    let told = play(&requests);
    assert_eq!(told.threads, 40);
    // 40 times 200 us to compute, once 100 ms to wait, and time to call each thread.
    assert!(*told.took.iter().max().unwrap() <= 106_000, "{:?}", told.took);
    assert!(told.neglected <= 400, "{} us", told.neglected);
}

#[test]
fn quick_requests_are_quick_beside_waiting_ones() {
    let waits = [Compute(100), Wait(200_000), Compute(100)];
    let requests = together(every(200, 5_000, QUICK), every(5_000, 200, &waits));
    let told = play(&requests);
    let (half, most) = (quantile(&requests, &told, QUICK, 0.5), quantile(&requests, &told, QUICK, 0.99));
    assert!(half <= 200 && most <= 300, "p50 {half} us, p99 {most} us");
}

#[test]
fn quick_requests_get_their_turn_beside_computing_ones() {
    let burns = [Compute(20_000)];
    let requests = together(every(1_000, 1_000, QUICK), every(50_000, 20, &burns));
    let told = play(&requests);
    let (half, most) = (quantile(&requests, &told, QUICK, 0.5), quantile(&requests, &told, QUICK, 0.99));
    assert!(half <= 200 && most <= 3_000, "p50 {half} us, p99 {most} us");
    let burned = quantile(&requests, &told, &burns, 0.99);
    assert!(burned <= 25_000, "{burned} us");
    // More than the GIL has time for: nobody starves for the other's sake.
    let requests = together(every(250, 4_000, QUICK), every(25_000, 40, &burns));
    let told = play(&requests);
    let (quick, burned) = (quantile(&requests, &told, QUICK, 0.5), quantile(&requests, &told, &burns, 0.5));
    assert!(quick <= 10_000 && burned <= 72_000, "p50 {quick} us and {burned} us");
}

#[test]
fn a_quick_request_that_was_interrupted_goes_on_first() {
    let waits = |index: u64| vec![Compute(100), Wait(10_000 + 3_000 * index), Compute(100)];
    let mut requests: Vec<_> = (0..20).map(|index| Request { arrives: 0, acts: waits(index) }).collect();
    requests.extend(every(0, 2_000, QUICK));
    let told = play(&requests);
    let interrupted = requests.iter().zip(&told.ran).filter(|(request, ran)| request.acts == QUICK && 70 < **ran);
    let longest = interrupted.clone().map(|(_, ran)| *ran).max().unwrap();
    assert!(longest <= 1_500, "{longest} us");
}

#[test]
fn a_request_whose_quick_predecessor_suddenly_waits_is_not_neglected() {
    // All were quick, so the last one is trusted, and waits for a second.
    let mut requests = every(200, 500, QUICK);
    requests.push(Request { arrives: 100_000, acts: vec![Compute(10), Wait(1_000_000)] });
    requests.extend((0..50).map(|index| Request { arrives: 100_020 + index, acts: QUICK.to_vec() }));
    let told = play(&requests);
    let most = quantile(&requests, &told, QUICK, 1.0);
    assert!(most <= 6_000, "{most} us");
    assert!(told.neglected <= 700, "{} us", told.neglected);
}
