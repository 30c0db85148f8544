//! The policy against simulated applications, under seeds; `SIM_SEED=7` replays one.

use super::*;
use crate::chance::{self, Chance};

/// How fast each of `n` requests in flight gets on, as a part of its own pace, at a second of the story.
type Speed = fn(n: f64, second: f64) -> f64;

struct Story {
    /// Arrivals a second.
    rate: fn(second: f64) -> f64,
    /// Seconds that a request needs alone.
    need: fn(chance: &mut Chance, second: f64) -> f64,
    speed: Speed,
    seconds: u32,
}

struct Running {
    since: f64,
    left: f64,
}

#[derive(Default)]
struct Told {
    arrived: u64,
    ended: u64,
    /// Ends in each second.
    by_second: Vec<u64>,
    in_flight: Vec<u32>,
    bounds: Vec<(f64, Option<u32>)>,
}

const STEP: f64 = 0.01;
/// What waits longer is refused.
const PATIENCE: f64 = 30.0;

fn play(story: &Story, seed: u64) -> Told {
    let (mut chance, began) = (Chance::new(seed), Instant::now());
    let (mut growth, mut told) = (Growth::default(), Told::default());
    let (mut running, mut queue): (Vec<Running>, std::collections::VecDeque<(f64, f64)>) = Default::default();
    let mut next = 0.0;
    for step in 0..story.seconds * 100 {
        let second = f64::from(step) * STEP;
        while next <= second {
            queue.push_back((second, (story.need)(&mut chance, second)));
            told.arrived += 1;
            next += chance.exponential(1.0 / (story.rate)(second));
        }
        while queue.front().is_some_and(|(at, _)| *at + PATIENCE < second) {
            queue.pop_front();
        }
        let most = growth.bound().unwrap_or(2_000) as usize;
        while running.len() < most
            && let Some((_, need)) = queue.pop_front()
        {
            running.push(Running { since: second, left: need });
        }
        let progress = STEP * (story.speed)(running.len() as f64, second);
        running.iter_mut().for_each(|request| request.left -= progress);
        let before = running.len();
        running.retain(|request| {
            if request.left <= 0.0 {
                growth.ended(Duration::from_secs_f64(second + STEP - request.since));
            }
            0.0 < request.left
        });
        let ended = (before - running.len()) as u64;
        told.ended += ended;
        if step % 100 == 0 {
            told.by_second.push(0);
            told.in_flight.push(u32::try_from(running.len()).unwrap());
        }
        *told.by_second.last_mut().unwrap() += ended;
        if step % 25 == 0 {
            let now = began + Duration::from_secs_f64(second);
            let in_flight = u32::try_from(running.len()).unwrap();
            let sight = Sight { in_flight, queued: u32::try_from(queue.len()).unwrap() };
            let bound = growth.bound();
            growth.look(now, sight);
            if growth.bound() != bound {
                told.bounds.push((second, growth.bound()));
            }
        }
    }
    told
}

fn check(story: &Story, judge: impl Fn(&Told)) {
    chance::check(|seed| play(story, seed), |told| format!("{:?}", told.bounds), judge);
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// Changes of the bound between two seconds.
fn changes(told: &Told, from: f64, to: f64) -> usize {
    told.bounds.iter().filter(|(at, _)| (from..to).contains(at)).count()
}

/// A database that answers 20 at a time, each after 50 ms: 400 a second.
fn database(n: f64, _: f64) -> f64 {
    (20.0 / n).min(1.0)
}

#[test]
fn an_overloaded_database_is_not_asked_by_ever_more() {
    let story = Story {
        rate: |second| if second < 30.0 { 200.0 } else { 600.0 },
        need: |chance, _| chance.exponential(0.05),
        speed: database,
        seconds: 300,
    };
    check(&story, |told| {
        let late = 120..300;
        let throughput = mean(told.by_second[late.clone()].iter().map(|count| *count as f64));
        // The steps of this simulation waste a few hundredths of the database's 400.
        assert!(360.0 <= throughput, "throughput {throughput}");
        let in_flight = mean(told.in_flight[late].iter().map(|count| f64::from(*count)));
        assert!(in_flight <= 200.0, "{in_flight} in flight");
        assert!(changes(told, 120.0, 300.0) <= 12, "it settles");
    });
}

#[test]
fn handlers_that_only_wait_are_never_held_back_for_long() {
    // An API that is asked gets slow: 100 ms, then 5 s, and any number at a time.
    let story = Story {
        rate: |_| 150.0,
        need: |chance, second| if second < 60.0 { 0.1 } else { 5.0 } * (0.8 + 0.4 * chance.unit()),
        speed: |_, _| 1.0,
        seconds: 400,
    };
    check(&story, |told| {
        let after = mean(told.by_second[90..400].iter().map(|count| *count as f64));
        assert!(146.0 <= after, "throughput {after}");
        assert!(changes(told, 0.0, 400.0) <= 6, "tried seldom");
        assert_eq!(told.bounds.last().map(|(_, bound)| *bound).unwrap_or(None), None, "and not kept");
    });
}

#[test]
fn bursts_of_quick_and_slow_requests_leave_it_alone() {
    let story = Story {
        rate: |second| if second % 20.0 < 2.0 { 900.0 } else { 60.0 },
        need: |chance, _| if chance.unit() < 0.9 { 0.005 } else { 1.0 },
        speed: |n, _| (300.0 / n).min(1.0),
        seconds: 300,
    };
    check(&story, |told| {
        assert!(told.arrived - told.ended <= told.arrived / 100, "{} of {}", told.ended, told.arrived);
        assert!(changes(told, 0.0, 300.0) <= 10);
    });
}

#[test]
fn quick_requests_are_not_made_to_wait_for_slow_ones() {
    // As many are answered when a few slow handlers join, with ten times as many in flight: by the mean it adds only latency.
    let story = Story {
        rate: |_| 380.0,
        need: |chance, second| if second < 30.0 || chance.unit() < 0.9 { 0.02 } else { 2.0 },
        speed: |_, _| 1.0,
        seconds: 300,
    };
    check(&story, |told| assert_eq!(changes(told, 0.0, 300.0), 0));
}

#[test]
fn the_quicker_requests_are_known_to_a_half_power_of_two() {
    let mut durations = Durations::default();
    assert!(durations.quantile(QUICK) <= 0.0, "there are none");
    (0..11).for_each(|_| durations.count(Duration::from_micros(700)));
    (0..89).for_each(|_| durations.count(Duration::from_secs(3)));
    let (quick, middle) = (durations.quantile(0.1), durations.quantile(0.5));
    assert!((0.0007..0.0007 * 1.5).contains(&quick), "{quick}");
    assert!((3.0..4.5).contains(&middle), "{middle}");
    for odd in [Duration::ZERO, Duration::MAX] {
        durations.count(odd);
    }
}

#[test]
fn a_database_that_stalls_is_served_again_at_once() {
    let story = Story {
        rate: |_| 300.0,
        need: |chance, _| chance.exponential(0.05),
        speed: |n, second| if (60.0..75.0).contains(&second) { 0.0 } else { database(n, second) },
        seconds: 200,
    };
    check(&story, |told| {
        let after = mean(told.by_second[76..100].iter().map(|count| *count as f64));
        assert!(380.0 <= after, "it works off what has waited at full speed: {after}");
        let end = mean(told.by_second[150..200].iter().map(|count| *count as f64));
        assert!((290.0..310.0).contains(&end), "throughput {end}");
        assert!(changes(told, 0.0, 200.0) <= 12);
    });
}

#[test]
fn a_database_that_thrashes_is_relieved() {
    // The more ask at a time, the less it does in all.
    let story = Story {
        rate: |second| if second < 60.0 { 250.0 } else { 450.0 },
        need: |chance, _| chance.exponential(0.05),
        speed: |n, _| (20.0 / n).min(1.0) / (1.0 + n / 500.0),
        seconds: 400,
    };
    check(&story, |told| {
        let throughput = mean(told.by_second[200..400].iter().map(|count| *count as f64));
        assert!(290.0 <= throughput, "throughput {throughput}; left alone it is 80");
        assert!(changes(told, 200.0, 400.0) <= 20);
    });
}
