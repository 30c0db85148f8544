//! Workers that are replaced while they live: used up, grown, out of reach, or with a request that does not end.
//!
//! | step      | what happens                                                | goes on when                            |
//! |-----------|-------------------------------------------------------------|-----------------------------------------|
//! | due       | a second worker is started for the place                    | it is ready, and gets requests           |
//! | leaving   | the old one gets nothing new                                | what somebody waits for has ended        |
//! | parting   | the edge lets it go; it ends as Python programs do          | it has ended, or is killed when it does not |
//!
//! Invariant: one worker of a node is replaced at a time, and never before its successor is ready.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    rc::Rc,
    time::{Duration, Instant},
};

use config::Limits;
use policy::Load;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{task::spawn_local, time::timeout};

use super::{Event, Node, drain::EXIT_GRACE, refork::FREEZE_GRACE};
use crate::{
    status::process,
    worker::{Occupant, Stay},
};

/// How often workers are looked at, and how often their memory is.
pub(super) const TICK: Duration = Duration::from_millis(250);
const MEMORY_TICK: Duration = Duration::from_secs(2);

/// A handler may take so long to end after it was interrupted.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);

/// A worker whose links have ended is likely to have ended too, which is told in less time than this.
const LOST_GRACE: Duration = Duration::from_millis(500);

/// Which part of its bounds a worker is allowed, in thousandths, so that not all reach them at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(u32);

impl Share {
    /// Between nine tenths and all.
    pub(crate) fn any() -> Self {
        let random = RandomState::new().build_hasher().finish() % 101;
        Self(900 + u32::try_from(random).expect("at most 100"))
    }

    fn of_count(self, count: u32) -> u64 {
        (u64::from(count) * u64::from(self.0) / 1000).max(1)
    }

    fn of_time(self, time: Duration) -> Duration {
        time * self.0 / 1000
    }
}

/// What was seen of a worker that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) share: Share,
    born: Instant,
    /// Since when it has had a request whose time is up.
    stuck_since: Option<Instant>,
    /// Since when the edge has not been able to reach it.
    lost_since: Option<Instant>,
    memory_looked: Instant,
}

impl Seen {
    pub(crate) fn new(now: Instant) -> Self {
        Self { share: Share::any(), born: now, stuck_since: None, lost_since: None, memory_looked: now }
    }

    /// Why the worker is to be replaced now, if it is.
    fn due(&mut self, limits: &Limits, load: Load, pid: u32, now: Instant) -> Option<String> {
        self.stuck_since = if load.expired == 0 { None } else { self.stuck_since.or(Some(now)) };
        let for_long =
            |since: Option<Instant>, grace| since.is_some_and(|since| grace <= now.saturating_duration_since(since));
        // One that takes requests has room for one at least.
        self.lost_since = if 0 < load.slots { None } else { self.lost_since.or(Some(now)) };
        if for_long(self.lost_since, LOST_GRACE) {
            return Some("it has closed its links: the application may close its own descriptors only".to_owned());
        }
        let age = now.saturating_duration_since(self.born);
        if for_long(self.stuck_since, INTERRUPT_GRACE) {
            let grace = units::show_duration(INTERRUPT_GRACE);
            return Some(match load.expired {
                1 => format!(
                    "a request has not ended {grace} after its time was up (limits.time) and it was interrupted"
                ),
                n => format!("{n} requests have not ended {grace} after their time was up (limits.time)"),
            });
        }
        if let Some(most) = limits.requests
            && self.share.of_count(most) <= load.requests
        {
            return Some(format!("it has run {} requests (limits.requests is {most})", load.requests));
        }
        if let Some(most) = limits.age
            && self.share.of_time(most) <= age
        {
            let old = Duration::from_secs(age.as_secs());
            return Some(format!(
                "it is {} old (limits.age is {})",
                units::show_duration(old),
                units::show_duration(most)
            ));
        }
        let most = limits.memory?;
        if now.saturating_duration_since(self.memory_looked) < MEMORY_TICK {
            return None;
        }
        self.memory_looked = now;
        // PSS is dear to ask for and never more than RSS.
        let (_, rss) = process(pid);
        let used = if most.count() < rss { pss(pid)? } else { 0 };
        (most.count() < used)
            .then(|| format!("it uses {} of memory (limits.memory is {most})", units::Bytes::new(used)))
    }
}

/// Its share of the memory of a process, in bytes (proc_pid_smaps(5), `Pss`).
fn pss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

impl Node {
    /// Adds workers that are wanted, lets one go that is not, replaces one that is due.
    pub(super) async fn look_at_workers(&mut self) {
        if !self.active {
            return;
        }
        self.adjust_staff().await;
        let (now, context) = (Instant::now(), Rc::clone(&self.plan.context));
        let limits = self.plan.config.limits;
        let due = self.places.iter_mut().find_map(|place| {
            let Occupant::Ready { pid, id: Some(id), seen, .. } = &mut place.occupant else { return None };
            let reason = seen.due(&limits, context.shared.load(*id), *pid, now)?;
            Some((place.number, *pid, reason))
        });
        let Some((number, pid, reason)) = due.filter(|_| !self.is_replacing()) else { return };
        self.say(&format!("{}: worker {pid} is replaced: {reason}", self.label.name));
        self.replace(number).await;
    }

    /// Whether a worker is being replaced.
    pub(super) fn is_replacing(&self) -> bool {
        self.places.iter().any(|place| place.stay != Stay::Unbounded)
    }

    /// Starts the successor of the worker in this place.
    pub(super) async fn replace(&mut self, number: u32) {
        let successor = self.new_place();
        if let Some(place) = self.place(number) {
            place.stay = Stay::UntilReady(successor);
        }
        self.refill(successor).await;
    }

    /// A worker is ready: the one that it replaces may leave.
    pub(super) fn succeed(&mut self, successor: u32) {
        let replaced = self.places.iter().find(|place| place.stay == Stay::UntilReady(successor));
        if let Some(number) = replaced.map(|place| place.number) {
            self.leave(number);
        }
    }

    /// The worker in this place finishes what it has, and the place is given up.
    pub(super) fn leave(&mut self, number: u32) {
        let (context, sender) = (Rc::clone(&self.plan.context), self.sender.clone());
        let limit = self.plan.config.limits.drain;
        let Some(place) = self.place(number) else { return };
        place.stay = Stay::Leaving;
        let Some(id) = place.occupant.id() else { return };
        context.table.drain(&[id]);
        spawn_local(async move {
            // What takes longer is cut off, as when a node is stopped.
            let _ = timeout(limit, context.shared.drained(&[id])).await;
            // A node that has gone has ended it too.
            let _ = sender.send(Event::Drained(number));
        });
    }

    /// Nobody waits for anything of the worker in this place any more.
    pub(super) fn part(&mut self, number: u32) {
        let limit = units::show_duration(self.plan.config.limits.drain);
        let Some(place) = self.place(number) else { return };
        let pid = place.occupant.pid();
        if let Some(id) = place.occupant.forget_id() {
            let cut = self.plan.context.shared.load(id).awaited();
            if 0 < cut {
                let name = &self.label.name;
                self.say(&format!(
                    "{name}: worker {pid} has not finished {cut} requests after {limit}: they are cut off"
                ));
            }
            self.note_cut(cut);
            self.plan.context.table.cut_off(&[id]);
            let grace = if self.is_to_freeze(number) { FREEZE_GRACE } else { EXIT_GRACE };
            self.dismiss(id);
            self.later(grace, Event::Overdue(number));
        }
    }

    /// The worker in this place should have ended by itself.
    pub(super) fn end_overdue(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        let pid = place.occupant.pid();
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // One that is no more has been quicker.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let config = config::load(
            &config::Locate {
                directory: Some(std::env::temp_dir()),
                file: None,
                current: std::env::temp_dir(),
                cores: 1,
            },
            &config::Environment::default(),
            &config::Overrides { app: Some("main:app".to_owned()), ..config::Overrides::default() },
        );
        config.unwrap().limits
    }

    #[test]
    fn bounds_are_reached_between_nine_tenths_and_all_of_them() {
        for _ in 0..100 {
            let share = Share::any();
            assert!((900..=1000).contains(&share.of_count(1000)));
            assert_eq!(share.of_count(1), 1);
            assert!(share.of_time(Duration::from_secs(10)) <= Duration::from_secs(10));
        }
    }

    #[test]
    fn a_worker_is_due_when_it_is_used_up_old_large_or_stuck() {
        let (now, pid) = (Instant::now(), std::process::id());
        let none = limits();
        let (requests, age, memory) = (Some(100), Some(Duration::from_secs(60)), Some(units::Bytes::new(1 << 10)));
        let of = |requests, expired| Load { requests, expired, in_flight: expired, slots: 1, ..Load::default() };
        let due =
            |limits: &Limits, load, after| Seen::new(now).due(limits, load, pid, now + Duration::from_secs(after));
        assert_eq!(due(&none, of(1_000_000, 0), 1_000_000), None);
        assert_eq!(due(&Limits { requests, ..none }, of(89, 0), 0), None);
        assert!(due(&Limits { requests, ..none }, of(100, 0), 0).unwrap().contains("100 requests"));
        assert_eq!(due(&Limits { age, ..none }, of(0, 0), 53), None);
        assert!(due(&Limits { age, ..none }, of(0, 0), 60).unwrap().contains("old (limits.age is "));
        assert_eq!(due(&Limits { memory, ..none }, of(0, 0), 1), None, "not looked at yet");
        assert!(due(&Limits { memory, ..none }, of(0, 0), 2).unwrap().contains("memory"));

        let mut seen = Seen::new(now);
        let mut at = |expired, second| seen.due(&none, of(5, expired), pid, now + Duration::from_secs(second));
        assert_eq!(at(1, 10), None);
        assert_eq!(at(0, 11), None, "it has ended after all");
        assert_eq!(at(1, 12), None);
        assert!(at(1, 14).unwrap().contains("a request has not ended"));

        let mut seen = Seen::new(now);
        let mut at =
            |slots, second| seen.due(&none, Load { slots, ..of(5, 0) }, pid, now + Duration::from_secs(second));
        assert_eq!([at(0, 1), at(1, 2), at(0, 3)], [None, None, None]);
        assert!(at(0, 4).unwrap().contains("it has closed its links"));
    }
}
