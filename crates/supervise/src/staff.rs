//! How many workers the nodes have, where that adapts: what they do is measured, `policy` decides, the nodes are told.
//!
//! All nodes are judged together, as they share one queue and the same cores: if each grew by itself, they would all grow
//! for the same request. Whoever has the fewest gets the next, whoever has the most gives one up.
//!
//! Invariant: every decision is in the log, and the last one in `ps -v`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use policy::{Demand, Load, Obstacle, Staff, StaffBounds, StaffChange, StaffReason, StaffSight};
use telemetry::About;

use crate::{
    context::Context,
    handle::NodeHandle,
    node::Command,
    status::{StaffChanged, StaffStatus},
};

/// What is known of the number of workers.
#[derive(Debug, Default)]
pub(crate) struct Staffing {
    staff: Staff,
    meter: Option<Meter>,
    bounds: Option<(u32, u32)>,
    workers: u32,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    from: u32,
    to: u32,
    reason: StaffReason,
}

/// Clocks that run while something computes, as they stood when they were read.
#[derive(Debug)]
struct Meter {
    at: Instant,
    workers: HashMap<u32, Duration>,
    own: Duration,
    idle: Option<Duration>,
}

/// A worker that gets requests.
#[derive(Clone, Copy, Debug)]
struct Member {
    pid: u32,
    threads: u32,
    load: Load,
}

impl Staffing {
    /// Looks at the nodes, a few times a second.
    pub(crate) fn look(&mut self, now: Instant, context: &Context, nodes: &[NodeHandle]) {
        // One that has no workers yet, or cannot have any, has nothing to do with how many the others need.
        let nodes: Vec<_> = nodes.iter().filter(|node| node.serves()).collect();
        let Some(config) = nodes.first().map(|node| &node.config) else {
            self.meter = None;
            return;
        };
        if !config.workers.adapts() {
            *self = Self::default();
            return;
        }
        let sum = |count: fn(&NodeHandle) -> u32| nodes.iter().map(|node| count(node)).sum::<u32>();
        let bounds = StaffBounds {
            least: sum(|node| node.config.workers.least),
            most: sum(|node| node.config.workers.most),
            idle: config.limits.idle,
        };
        self.bounds = Some((config.workers.least, config.workers.most));
        self.workers = sum(NodeHandle::staff);
        let members = members(&nodes, context);
        let meter = Meter::read(now, &members);
        let Some(before) = self.meter.replace(meter) else { return };
        // While requests are held on purpose, nothing can be told by them.
        let Some(demand) = context.shared.demand() else { return };
        let Some(meter) = &self.meter else { return };
        let sight = sight(self.workers, &members, demand, &before, meter);
        match self.staff.look(now, bounds, sight) {
            Some(StaffChange::More(by, reason)) => self.change(now, context, &nodes, by, reason),
            Some(StaffChange::Fewer(reason)) => self.change(now, context, &nodes, 0, reason),
            None => {}
        }
    }

    /// What `ps -v` shows, where the number adapts.
    pub(crate) fn status(&self) -> Option<StaffStatus> {
        let (least, most) = self.bounds?;
        let last = self.last.as_ref().map(|Last { at, from, to, reason }| StaffChanged {
            ago: at.elapsed().as_secs_f64(),
            from: *from,
            to: *to,
            reason: reason.to_string(),
        });
        Some(StaffStatus { workers: self.workers, least, most, reason: self.staff.reason().to_string(), last })
    }

    /// So many more, or one fewer.
    fn change(&mut self, now: Instant, context: &Context, nodes: &[&NodeHandle], more: u32, reason: StaffReason) {
        let mut counts: Vec<_> = nodes.iter().map(|node| Count::of(node)).collect();
        let before = counts.clone();
        match more {
            0 => fewer(&mut counts),
            _ => (0..more).for_each(|_| one_more(&mut counts)),
        }
        for ((node, count), before) in nodes.iter().zip(&counts).zip(&before) {
            if count.staff == before.staff {
                continue;
            }
            // One that has gone meanwhile is not asked any more.
            let _ = node.commands.send(Command::Staff(count.staff));
            let (name, workers) = (node.name(), units::plural(count.staff, "worker"));
            let text = format!("{name} has {workers} from now on: {reason}");
            context.sink.message_about(About::Node(&name), &text);
        }
        let total = |counts: &[Count]| counts.iter().map(|count| count.staff).sum();
        self.last = Some(Last { at: now, from: total(&before), to: total(&counts), reason });
    }
}

/// What a node has and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    staff: u32,
    least: u32,
    most: u32,
}

impl Count {
    fn of(node: &NodeHandle) -> Self {
        Self { staff: node.staff(), least: node.config.workers.least, most: node.config.workers.most }
    }
}

fn one_more(counts: &mut [Count]) {
    let fewest = counts.iter_mut().filter(|count| count.staff < count.most).min_by_key(|count| count.staff);
    if let Some(count) = fewest {
        count.staff += 1;
    }
}

fn fewer(counts: &mut [Count]) {
    let most = counts.iter_mut().filter(|count| count.least < count.staff).max_by_key(|count| count.staff);
    if let Some(count) = most {
        count.staff -= 1;
    }
}

fn members(nodes: &[&NodeHandle], context: &Context) -> Vec<Member> {
    let of = |node: &&NodeHandle| {
        let (view, threads) = (node.view.borrow(), node.config.threads);
        let ready = view.workers.iter().filter(|worker| !worker.leaving);
        let member = |pid, id| Member { pid, threads, load: context.shared.load(id) };
        ready.filter_map(|worker| Some(member(worker.pid, worker.id?))).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of).collect()
}

fn sight(workers: u32, members: &[Member], demand: Demand, before: &Meter, now: &Meter) -> StaffSight {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
    let since = |earlier: Duration, later: Duration| later.saturating_sub(earlier).as_secs_f64() / seconds;
    let (mut busy, mut computing) = (0.0, 0.0);
    let (mut full, mut waiting, mut running) = (0, demand.queued, 0);
    for Member { pid, threads, load } in members {
        let (earlier, later) = (before.workers.get(pid), now.workers.get(pid));
        let computes = earlier.zip(later).map_or(0.0, |(earlier, later)| since(*earlier, *later));
        let started = load.in_flight.saturating_sub(load.unstarted);
        busy += f64::max(computes, f64::from(started) / f64::from(*threads)).min(1.0);
        computing += computes;
        full += u32::from(*threads <= started);
        waiting += load.unstarted;
        running += started;
    }
    let cores = f64::from(sys::available_cores());
    let left = cores - computing - since(before.own, now.own);
    let idle = before.idle.zip(now.idle).map_or(f64::INFINITY, |(earlier, later)| since(earlier, later));
    let scarce = || sys::FreeMemory::now().is_some_and(sys::FreeMemory::is_scarce);
    StaffSight {
        workers,
        ready: u32::try_from(members.len()).unwrap_or(u32::MAX),
        full,
        waiting,
        started: running,
        ended: demand.ended,
        busy,
        computing,
        cores,
        // What a quota or other programs leave.
        spare: left.min(idle).max(0.0),
        obstacle: demand.obstacle.or_else(|| (0 < waiting && scarce()).then_some(Obstacle::Memory)),
    }
}

impl Meter {
    fn read(now: Instant, members: &[Member]) -> Self {
        let time = |pid| sys::process_time(pid).unwrap_or_default();
        Self {
            at: now,
            workers: members.iter().map(|member| (member.pid, time(member.pid))).collect(),
            own: time(std::process::id()),
            idle: sys::idle_time(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(staff: &[u32]) -> Vec<Count> {
        staff.iter().map(|staff| Count { staff: *staff, least: 1, most: 3 }).collect()
    }

    #[test]
    fn nodes_grow_and_shrink_evenly() {
        let after = |staff: &[u32], change: fn(&mut [Count])| {
            let mut counts = counts(staff);
            change(&mut counts);
            counts.iter().map(|count| count.staff).collect::<Vec<_>>()
        };
        assert_eq!(after(&[2, 1, 1], one_more), [2, 2, 1]);
        assert_eq!(after(&[3, 3, 3], one_more), [3, 3, 3]);
        assert_eq!(after(&[2, 2, 1], fewer), [2, 1, 1]);
        assert_eq!(after(&[1, 1, 1], fewer), [1, 1, 1]);
    }

    #[test]
    fn time_that_is_taken_is_seen() {
        let began = Instant::now();
        let meter = |ms: u64, worker: u64, own: u64, idle: u64| Meter {
            at: began + Duration::from_millis(ms),
            workers: HashMap::from([(7, Duration::from_millis(worker)), (8, Duration::from_millis(0))]),
            own: Duration::from_millis(own),
            idle: Some(Duration::from_millis(idle)),
        };
        let load = |in_flight, unstarted| Load { in_flight, unstarted, ..Load::default() };
        let of = |pid, load| Member { pid, threads: 4, load };
        // The first computes, the second has half of its threads in use.
        let members = [of(7, load(3, 2)), of(8, load(2, 0))];
        let demand = Demand { queued: 5, ended: 100, obstacle: Some(Obstacle::InFlight) };
        let seen = sight(2, &members, demand, &meter(0, 0, 0, 0), &meter(1000, 900, 50, 100));
        assert_eq!((seen.ready, seen.full, seen.waiting, seen.started, seen.ended), (2, 0, 7, 3, 100));
        assert!((seen.busy - 1.4).abs() < 1e-9 && (seen.computing - 0.9).abs() < 1e-9, "{seen:?}");
        assert!(seen.spare <= 0.1 + 1e-9 && seen.obstacle == Some(Obstacle::InFlight), "{seen:?}");
        let full = sight(1, &[of(7, load(4, 0))], demand, &meter(0, 0, 0, 0), &meter(1000, 2000, 0, 0));
        assert_eq!((full.full, full.busy, full.computing), (1, 1.0, 2.0), "no worker is busier than all the time");
    }
}
