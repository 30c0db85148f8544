//! The policy against simulated workers on simulated cores, under seeds; `SIM_SEED=7` replays one.

use std::collections::VecDeque;

use super::*;
use crate::chance::{self, Chance};

/// What a request needs, in seconds: first it computes, then it waits for something else.
#[derive(Clone, Copy)]
struct Need {
    computes: f64,
    waits: f64,
}

struct Story {
    /// Arrivals a second.
    rate: fn(second: f64) -> f64,
    need: fn(chance: &mut Chance) -> Need,
    bounds: (u32, u32),
    threads: usize,
    cores: f64,
    /// Cores that other programs keep busy as long as there is something for them.
    others: f64,
    seconds: u32,
}

const USUAL: Story = Story {
    rate: |_| 1.0,
    need: |_| Need { computes: 0.05, waits: 0.0 },
    bounds: (1, 8),
    threads: 256,
    cores: 4.0,
    others: 0.0,
    seconds: 600,
};

const IDLE: Duration = Duration::from_secs(60);
const STEP: f64 = 0.01;
const STARTS: f64 = 0.3;

#[derive(Default)]
struct Worker {
    ready_at: f64,
    leaves: bool,
    running: Vec<Need>,
}

impl Worker {
    /// Computes for so long at most, one request after the other; returns for how long.
    fn compute(&mut self, time: f64, threads: usize, mut queue: Option<&mut VecDeque<Need>>) -> f64 {
        let mut left = time;
        while 0.0 < left {
            if let Some(need) = self.running.iter_mut().find(|need| 0.0 < need.computes) {
                let now = need.computes.min(left);
                need.computes -= now;
                left -= now;
            } else if self.running.len() < threads
                && let Some(need) = queue.as_mut().and_then(|queue| queue.pop_front())
            {
                self.running.push(need);
            } else {
                break;
            }
        }
        time - left
    }

    fn computes(&self) -> bool {
        self.running.iter().any(|need| 0.0 < need.computes)
    }
}

#[derive(Default)]
struct Told {
    arrived: u64,
    ended: u64,
    /// By second.
    workers: Vec<u32>,
    queued: Vec<usize>,
    changes: Vec<(f64, StaffChange)>,
    last: Option<StaffReason>,
}

fn play(story: &Story, seed: u64) -> Told {
    let mut chance = Chance::new(seed);
    let (began, mut staff, mut told) = (Instant::now(), Staff::default(), Told::default());
    let bounds = StaffBounds { least: story.bounds.0, most: story.bounds.1, idle: IDLE };
    let mut workers: Vec<_> = (0..bounds.least).map(|_| Worker::default()).collect();
    let (mut queue, mut next, mut busy, mut used) = (VecDeque::new(), 0.0, 0.0, 0.0);
    for step in 0..story.seconds * 100 {
        let second = f64::from(step) * STEP;
        while next <= second {
            queue.push_back((story.need)(&mut chance));
            told.arrived += 1;
            next += chance.exponential(1.0 / (story.rate)(second));
        }
        // Whoever has the least and does not hold its GIL starts the next.
        while let Some(worker) = workers
            .iter_mut()
            .filter(|worker| worker.ready_at <= second && !worker.leaves)
            .filter(|worker| worker.running.len() < story.threads && !worker.computes())
            .min_by_key(|worker| worker.running.len())
            && let Some(need) = queue.pop_front()
        {
            worker.running.push(need);
        }
        let wanted = workers.iter().filter(|worker| worker.computes()).count() as f64;
        let ours =
            if wanted + story.others <= story.cores { wanted } else { story.cores * wanted / (wanted + story.others) };
        let speed = if wanted == 0.0 { 0.0 } else { ours / wanted };
        for worker in &mut workers {
            let takes = worker.ready_at <= second && !worker.leaves;
            let computed = worker.compute(STEP * speed, story.threads, if takes { Some(&mut queue) } else { None });
            used += computed / STEP;
            busy += f64::max(computed / STEP, worker.running.len() as f64 / story.threads as f64);
            worker.running.iter_mut().filter(|need| need.computes <= 0.0).for_each(|need| need.waits -= STEP);
            let before = worker.running.len();
            worker.running.retain(|need| 0.0 < need.computes || 0.0 < need.waits);
            told.ended += (before - worker.running.len()) as u64;
        }
        workers.retain(|worker| !(worker.leaves && worker.running.is_empty()));
        let staying = || workers.iter().filter(|worker| !worker.leaves);
        let count = u32::try_from(staying().count()).unwrap();
        assert!((bounds.least..=bounds.most).contains(&count), "{count} workers");
        if step % 100 == 0 {
            told.workers.push(count);
            told.queued.push(queue.len());
        }
        if step % 25 != 0 {
            continue;
        }
        let ready = staying().filter(|worker| worker.ready_at <= second);
        let full = ready.clone().filter(|worker| story.threads <= worker.running.len());
        let (busy_now, computing) = (std::mem::take(&mut busy) / 25.0, std::mem::take(&mut used) / 25.0);
        let sight = StaffSight {
            workers: count,
            ready: u32::try_from(ready.count()).unwrap(),
            full: u32::try_from(full.count()).unwrap(),
            waiting: u32::try_from(queue.len()).unwrap(),
            started: u32::try_from(staying().map(|worker| worker.running.len()).sum::<usize>()).unwrap(),
            ended: told.ended,
            busy: busy_now,
            computing,
            cores: story.cores,
            spare: (story.cores - computing - story.others).max(0.0),
            obstacle: None,
        };
        let change = staff.look(began + Duration::from_secs_f64(second), bounds, sight);
        match change {
            Some(StaffChange::More(by, _)) => {
                workers.extend((0..by).map(|_| Worker { ready_at: second + STARTS, ..Worker::default() }));
            }
            Some(StaffChange::Fewer(_)) => {
                workers.iter_mut().rev().find(|worker| !worker.leaves).unwrap().leaves = true;
            }
            None => {}
        }
        told.changes.extend(change.map(|change| (second, change)));
    }
    told.last = Some(staff.reason());
    told
}

fn check(story: &Story, judge: impl Fn(&Told)) {
    chance::check(|seed| play(story, seed), |told| format!("{:?}", told.changes), judge);
}

/// Changes between two seconds.
fn changes(told: &Told, from: f64, to: f64) -> usize {
    told.changes.iter().filter(|(at, _)| (from..to).contains(at)).count()
}

#[test]
fn a_steady_load_gets_what_it_needs_and_keeps_it() {
    // 2.5 workers' worth of computing.
    check(&Story { rate: |_| 50.0, ..USUAL }, |told| {
        assert!((3..=4).contains(&told.workers[10]), "quickly: {:?}", &told.workers[..20]);
        assert!(told.workers[60..].iter().all(|workers| (3..=5).contains(workers)));
        assert!(changes(told, 60.0, 600.0) <= 2, "it settles");
        assert!(told.queued[60..].iter().all(|queued| *queued < 50));
    });
}

#[test]
fn a_load_that_one_carries_is_left_to_one() {
    check(&Story { rate: |_| 6.0, ..USUAL }, |told| {
        assert!(changes(told, 0.0, 600.0) <= 4);
        assert!(told.workers.iter().filter(|workers| **workers == 1).count() >= 300);
    });
}

#[test]
fn computing_stops_at_the_cores_however_much_waits() {
    check(&Story { rate: |_| 200.0, seconds: 120, ..USUAL }, |told| {
        assert!(told.workers[20..].iter().all(|workers| *workers == 4), "{:?}", told.workers);
        assert_eq!(told.last, Some(StaffReason::CoresBusy));
    });
    // As many again on cores that others keep busy: half of them are ours, and no more are fought for.
    check(&Story { rate: |_| 200.0, others: 4.0, seconds: 120, ..USUAL }, |told| {
        assert!(told.workers[20..].iter().all(|workers| (3..=5).contains(workers)), "{:?}", told.workers);
        assert!(changes(told, 20.0, 120.0) == 0);
    });
}

#[test]
fn a_burst_is_met_and_then_forgotten() {
    let story = Story { rate: |second| if (30.0..60.0).contains(&second) { 60.0 } else { 2.0 }, ..USUAL };
    check(&story, |told| {
        assert!(3 <= told.workers[40], "a few seconds after it has begun: {:?}", &told.workers[28..45]);
        assert!(told.workers[60..100].iter().all(|workers| told.workers[59] <= *workers), "none leaves in a hurry");
        // At the burst's end the last look may have brought one more.
        let (most, end) = (told.workers[65], told.workers[599]);
        assert_eq!(end, 1, "{:?}", told.workers);
        assert!(changes(told, 65.0, 600.0) <= most as usize + 1, "one at a time, and none comes back");
    });
}

#[test]
fn bursts_that_come_again_and_again_are_waited_for() {
    // Every 100 seconds; the first ones find that workers had left a minute after the last.
    let story = Story { rate: |second| if second % 100.0 < 15.0 { 60.0 } else { 2.0 }, seconds: 3_000, ..USUAL };
    check(&story, |told| {
        let (early, late) = (changes(told, 0.0, 600.0), changes(told, 1_000.0, 3_000.0));
        assert!(late <= 12, "{early} at first, {late} later");
        assert!(told.workers[1_500..].iter().all(|workers| 2 <= *workers));
    });
}

#[test]
fn handlers_that_wait_are_served_by_threads() {
    let story = Story { rate: |_| 300.0, need: |_| Need { computes: 0.001, waits: 0.3 }, ..USUAL };
    check(&story, |told| {
        assert!(changes(told, 0.0, 600.0) == 0, "{:?}", told.changes);
        assert!(told.queued.iter().all(|queued| *queued < 10));
    });
}

#[test]
fn handlers_that_wait_need_workers_where_threads_are_few() {
    // Three at a time in the mean, one in each worker, and no core is needed.
    let need = |chance: &mut Chance| Need { computes: 0.001, waits: 0.1 + chance.exponential(0.1) };
    let story = Story { rate: |_| 15.0, need, threads: 1, others: 4.0, ..USUAL };
    check(&story, |told| {
        assert!(told.workers[60..].iter().all(|workers| 3 <= *workers), "{:?}", told.workers);
        assert!(changes(told, 120.0, 600.0) <= 6);
        let (_, first) = told.changes[0];
        assert!(matches!(first, StaffChange::More(1, StaffReason::Threads(_))), "{first:?}");
    });
}

/// A sight of two workers, of which nothing is wanted.
fn quiet() -> StaffSight {
    StaffSight {
        workers: 2,
        ready: 2,
        full: 0,
        waiting: 0,
        started: 0,
        ended: 0,
        busy: 0.0,
        computing: 0.0,
        cores: 4.0,
        spare: 4.0,
        obstacle: None,
    }
}

fn pressed() -> StaffSight {
    StaffSight { waiting: 9, busy: 2.0, computing: 2.0, spare: 2.0, ..quiet() }
}

/// Looks at the same again and again; what was decided, and after how many milliseconds.
fn look_for(staff: &mut Staff, at: &mut Instant, seconds: u64, sight: StaffSight) -> Option<(StaffChange, u128)> {
    let (bounds, began) = (StaffBounds { least: 1, most: 8, idle: IDLE }, *at);
    (0..seconds * 4).find_map(|_| {
        *at += Duration::from_millis(250);
        staff.look(*at, bounds, sight).map(|change| (change, (*at - began).as_millis()))
    })
}

#[test]
fn one_comes_after_a_second_and_one_leaves_after_a_minute() {
    let (mut staff, mut at) = (Staff::default(), Instant::now());
    let (change, after) = look_for(&mut staff, &mut at, 9, pressed()).unwrap();
    assert!(matches!(change, StaffChange::More(1, StaffReason::Computing(..))), "{change:?}");
    assert_eq!(after, 1_250);
    let three = StaffSight { workers: 3, ready: 3, ..quiet() };
    assert_eq!(look_for(&mut staff, &mut at, 59, StaffSight { ready: 2, ..three }), None, "one is not there yet");
    assert_eq!(staff.reason(), StaffReason::Awaited);
    assert_eq!(look_for(&mut staff, &mut at, 30, three), None);
    assert_eq!(staff.reason(), StaffReason::SoonFewer(IDLE));
    assert_eq!(look_for(&mut staff, &mut at, 2, StaffSight { busy: 2.0, ..three }), None);
    assert_eq!(staff.reason(), StaffReason::Enough(2.0 / 3.0), "that was needed");
    let (change, after) = look_for(&mut staff, &mut at, 70, three).unwrap();
    assert_eq!((change, after / 1000), (StaffChange::Fewer(StaffReason::Idle(IDLE)), 60));
    // It is missed at once: the next one stays twice as long.
    assert!(look_for(&mut staff, &mut at, 9, pressed()).is_some());
    let (change, after) = look_for(&mut staff, &mut at, 200, three).unwrap();
    assert_eq!((change, after / 1000), (StaffChange::Fewer(StaffReason::Idle(2 * IDLE)), 120));
    // The one after it is not missed for long: the time is the usual one again.
    assert_eq!(look_for(&mut staff, &mut at, 700, StaffSight { busy: 1.0, ..quiet() }), None);
    assert!(look_for(&mut staff, &mut at, 9, pressed()).is_some());
    assert_eq!(look_for(&mut staff, &mut at, 200, three).unwrap().1 / 1000, 60);
}

#[test]
fn what_one_more_would_not_help_against_is_told() {
    let of = |sight| {
        let (mut staff, mut at) = (Staff::default(), Instant::now());
        let change = look_for(&mut staff, &mut at, 5, sight);
        (change.map(|(change, _)| change), staff.reason())
    };
    for (sight, reason) in [
        (StaffSight { workers: 8, ready: 8, busy: 8.0, ..pressed() }, StaffReason::AtMost),
        (StaffSight { spare: 0.2, ..pressed() }, StaffReason::CoresBusy),
        (StaffSight { obstacle: Some(Obstacle::InFlight), ..pressed() }, StaffReason::Obstacle(Obstacle::InFlight)),
        (StaffSight { obstacle: Some(Obstacle::Memory), ..pressed() }, StaffReason::Obstacle(Obstacle::Memory)),
        (StaffSight { workers: 1, ready: 1, ..quiet() }, StaffReason::AtLeast),
    ] {
        assert_eq!(of(sight), (None, reason));
    }
    // Less than half of the cores: others keep them busy.
    let more = of(StaffSight { spare: 0.0, computing: 1.2, ..pressed() }).0;
    assert!(matches!(more, Some(StaffChange::More(1, StaffReason::Computing(..)))), "{more:?}");
    let held = of(StaffSight { computing: 0.0, busy: 0.0, ..pressed() }).0;
    assert!(matches!(held, Some(StaffChange::More(1, StaffReason::Unstarted(_)))), "{held:?}");
    // All of them have begun, and take turns; some of them may only wait for something else.
    let turns = StaffSight { waiting: 0, started: 4, busy: 1.9, computing: 1.9, spare: 1.0, ..quiet() };
    assert!(matches!(of(turns).0, Some(StaffChange::More(1, StaffReason::Computing(..)))));
    assert_eq!(of(StaffSight { spare: 0.1, cores: 2.0, ..turns }), (None, StaffReason::CoresBusy));
    assert_eq!(of(StaffSight { spare: 0.1, busy: 0.6, computing: 0.6, ..turns }), (None, StaffReason::CoresBusy));
    assert_eq!(of(StaffSight { started: 2, ..turns }), (None, StaffReason::Enough(0.95)), "one each");
    assert_eq!(of(StaffSight { busy: 1.6, computing: 1.6, ..turns }), (None, StaffReason::Enough(0.8)));
    // Quick requests that wait hardly, at workers that are not at their end.
    let quick = StaffSight { busy: 1.5, computing: 1.5, ..pressed() };
    let (mut staff, mut at) = (Staff::default(), Instant::now());
    let looked = (0..40).find_map(|n| look_for(&mut staff, &mut at, 1, StaffSight { ended: n * 10_000, ..quick }));
    assert_eq!(looked, None);
}

#[test]
fn many_may_come_at_a_time_where_there_are_many() {
    let of = |sight| {
        let (mut staff, mut at, bounds) =
            (Staff::default(), Instant::now(), StaffBounds { least: 1, most: 25, idle: IDLE });
        (0..8).find_map(|_| {
            at += Duration::from_millis(250);
            staff.look(at, bounds, sight)
        })
    };
    let twenty = StaffSight { workers: 20, ready: 20, busy: 20.0, ..pressed() };
    let by = |change| match change {
        Some(StaffChange::More(by, _)) => by,
        _ => 0,
    };
    assert_eq!(by(of(StaffSight { computing: 20.0, cores: 64.0, spare: 44.0, ..twenty })), 5, "to the bound");
    assert_eq!(by(of(StaffSight { computing: 20.0, cores: 22.0, spare: 1.4, ..twenty })), 2, "as cores are free");
}

#[test]
fn reasons_are_words() {
    let wait = Duration::from_micros(120_400);
    for (reason, words) in [
        (
            StaffReason::Computing(0.97, 1.25),
            "requests wait for workers that compute, each for 97 % of the time, and 1.2 cores are free",
        ),
        (StaffReason::Threads(wait), "requests have waited 120ms for workers that run as many as `threads` allows"),
        (StaffReason::Idle(IDLE), "fewer have been enough for 1m"),
        (StaffReason::Enough(0.456), "that many are needed: each is busy for 46 % of the time"),
    ] {
        assert_eq!(reason.to_string(), words);
    }
}
