//! How often CPython lets running threads take turns (`sys.setswitchinterval`).
//!
//! Its 5 ms make a quick request behind one that computes wait that long; a short interval costs nothing while few
//! threads run, but every waiter wakes once in each, which hundreds of threads cannot afford. Nor can workers that crowd
//! the cores: whoever holds the GIL is often not running, and to ask it again for the GIL only takes its core. All of it
//! was measured. Invariant: an interval that the application has chosen itself is left alone.

use std::time::Duration;

use pyo3::prelude::*;

/// CPython's own.
const USUAL: Duration = Duration::from_millis(5);

/// While few requests run.
const SHORT: Duration = Duration::from_millis(1);

/// While few requests run and threads have to wait for the GIL, because others keep it.
const SHORTEST: Duration = Duration::from_micros(500);

/// From so many running requests on the usual interval is kept, and until so few are left.
const MANY: usize = 64;
const FEW: usize = 32;

/// Waiting for the GIL so long means that it is kept; so short, that it is not.
const KEPT: Duration = Duration::from_micros(400);
const GIVEN: Duration = Duration::from_micros(100);

/// Whether the workers have a core to themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    Enough,
    /// There are several workers for each.
    Crowded,
}

/// What is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Whether it is ours to choose.
    ours: bool,
    interval: Duration,
}

impl Pace {
    /// Starts with a short interval, unless the application has chosen one or the cores are crowded.
    pub(crate) fn new(py: Python<'_>, cores: Cores) -> PyResult<Self> {
        let seconds: f64 = py.import("sys")?.call_method0("getswitchinterval")?.extract()?;
        let interval = Duration::try_from_secs_f64(seconds).unwrap_or(USUAL);
        let chosen = Duration::from_micros(1) <= interval.abs_diff(USUAL);
        let ours = !chosen && cores == Cores::Enough;
        if !ours {
            return Ok(Self { ours, interval });
        }
        set(py, SHORT);
        Ok(Self { ours, interval: SHORT })
    }

    /// The interval at present.
    pub(crate) fn interval(self) -> Duration {
        self.interval
    }

    /// Follows how many requests run and how long threads wait for the GIL; what is to be set, if that changes.
    pub(crate) fn follow(&mut self, running: usize, gil_wait: Duration) -> Option<Duration> {
        let many = if self.interval == USUAL { FEW <= running } else { MANY <= running };
        let kept = if self.interval == SHORTEST { GIVEN <= gil_wait } else { KEPT <= gil_wait };
        let wanted = match (many, kept) {
            (true, _) => USUAL,
            (false, true) => SHORTEST,
            (false, false) => SHORT,
        };
        if !self.ours || wanted == self.interval {
            return None;
        }
        self.interval = wanted;
        Some(wanted)
    }
}

/// Sets it. CPython takes any positive number; if that ever fails, the old interval goes on.
pub(crate) fn set(py: Python<'_>, interval: Duration) {
    let set = || py.import("sys")?.call_method1("setswitchinterval", (interval.as_secs_f64(),));
    let _: PyResult<_> = set();
}
