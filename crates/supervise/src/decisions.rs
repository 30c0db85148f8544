//! What workers have decided by themselves, for the log: `ps -v` shows the present, this the past.
//!
//! Invariant: of one worker and one topic at most one line in [`PAUSE`], whatever goes to and fro.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use link::{Verdict, Vitals};
use policy::Window;
use telemetry::About;

use crate::{context::Context, status};

/// A decision is told when it is this old and still true, so that what is corrected at once is none.
const SETTLED: Duration = Duration::from_millis(500);

/// How long nothing more is said of the same.
const PAUSE: Duration = Duration::from_secs(60);

/// The decisions of all workers that there are.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    by_worker: HashMap<u32, Decided>,
}

impl Decisions {
    /// Looks at all workers, and records what is new.
    pub(crate) fn look(&mut self, context: &Context, now: Instant) {
        let workers = context.roster.workers();
        self.by_worker.retain(|pid, _| workers.iter().any(|(_, worker)| worker.pid == *pid));
        for (label, worker) in &workers {
            let (Some(id), Some(link)) = (worker.id, &worker.link) else { continue };
            let decided = self.by_worker.entry(worker.pid).or_default();
            for text in decided.news(link.vitals(), context.shared.load(id).window, now) {
                let text = format!("{}: worker {}: {text}", label.name, worker.pid);
                context.sink.record_about(About::Node(&label.name), &text);
            }
        }
    }
}

/// Of one worker.
#[derive(Debug)]
struct Decided {
    threads: Topic<Verdict>,
    interval: Topic<Duration>,
    window: Topic<bool>,
}

impl Default for Decided {
    /// What a worker begins with, as far as it is the same for all.
    fn default() -> Self {
        let (threads, window) = (Topic::new(Some(Verdict::Enough)), Topic::new(Some(false)));
        Self { threads, interval: Topic::new(None), window }
    }
}

impl Decided {
    fn news(&mut self, vitals: Vitals, window: u32, now: Instant) -> Vec<String> {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let threads = self.threads.news(vitals.verdict, now);
        let threads = threads.map(|verdict| format!("{} ({} threads)", status::verdict(verdict), vitals.threads));
        // Until its first request a worker tells nothing.
        let interval = Some(vitals.switch_interval).filter(|interval| !interval.is_zero());
        let interval = interval.and_then(|interval| self.interval.news(interval, now)).map(|interval| {
            let wait = ms(vitals.gil_wait);
            format!("running threads take turns every {} ms; one waits {wait:.1} ms for the GIL", ms(interval))
        });
        // Each step is too much to tell.
        let window = self.window.news(window < Window::WIDEST / 2, now).map(|narrow| match narrow {
            true => {
                format!("it is given {window} at most that it has not started: others would have started them sooner")
            }
            false => format!("it is given up to {window} that it has not started: it starts them at once"),
        });
        [threads, interval, window].into_iter().flatten().collect()
    }
}

/// One thing that is decided again and again.
#[derive(Debug)]
struct Topic<T> {
    /// What readers of the log know.
    known: Option<T>,
    told: Option<Instant>,
    seen: Option<(T, Instant)>,
}

impl<T: Copy + PartialEq> Topic<T> {
    /// A topic of which nothing was told; without anything known, the first value is no news.
    fn new(known: Option<T>) -> Self {
        Self { known, told: None, seen: None }
    }

    /// The value, if it is to be told now.
    fn news(&mut self, value: T, now: Instant) -> Option<T> {
        let known = *self.known.get_or_insert(value);
        let since = match self.seen {
            Some((seen, since)) if seen == value => since,
            _ => {
                self.seen = Some((value, now));
                now
            }
        };
        let is_early =
            now.duration_since(since) < SETTLED || self.told.is_some_and(|told| now.duration_since(told) < PAUSE);
        if known == value || is_early {
            return None;
        }
        (self.known, self.told) = (Some(value), Some(now));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_settled_is_told_once_and_not_too_often() {
        let (begin, mut topic) = (Instant::now(), Topic::<u32>::new(None));
        let mut at = |ms: u64, value| topic.news(value, begin + Duration::from_millis(ms));
        assert_eq!((at(0, 0), at(600, 0)), (None, None), "where every worker begins");
        assert_eq!((at(1000, 1), at(1250, 0), at(1500, 1), at(1750, 1)), (None, None, None, None), "to and fro");
        assert_eq!((at(2000, 1), at(2250, 1)), (Some(1), None));
        assert_eq!((at(3000, 2), at(9000, 2)), (None, None), "so soon");
        assert_eq!((at(62_000, 2), at(200_000, 2), at(200_250, 0), at(201_000, 0)), (Some(2), None, None, Some(0)));
    }

    #[test]
    fn each_decision_has_its_words() {
        let (begin, mut decided) = (Instant::now(), Decided::default());
        let vitals = Vitals {
            gil_wait: Duration::from_micros(2100),
            switch_interval: Duration::from_micros(500),
            threads: 8,
            verdict: Verdict::NoMemory,
        };
        let first = Vitals { switch_interval: Duration::from_millis(1), ..Vitals::default() };
        assert!(decided.news(first, Window::WIDEST, begin).is_empty() && decided.news(vitals, 1, begin).is_empty());
        let told = decided.news(vitals, 1, begin + SETTLED);
        let expected = [
            "no more threads: memory is scarce (8 threads)",
            "running threads take turns every 0.5 ms; one waits 2.1 ms for the GIL",
            "it is given 1 at most that it has not started: others would have started them sooner",
        ];
        assert_eq!(told, expected);
    }
}
