//! How often CPython lets running threads take turns (`sys.setswitchinterval`).
//!
//! Its 5 ms make a quick request behind one that computes wait that long; a short interval costs nothing while few
//! threads run, but every waiter wakes once in each, which hundreds of threads cannot afford. Both were measured.
//! Invariant: an interval that the application has chosen itself is left alone.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::prelude::*;

/// CPython's own, in seconds.
const USUAL: f64 = 0.005;
const SHORT: f64 = 0.001;

/// From so many running requests on the usual interval is kept, and until so few are left.
const MANY: usize = 64;
const FEW: usize = 32;

/// What has been set.
#[derive(Debug)]
pub(crate) struct Pace {
    ours: bool,
    short: AtomicBool,
}

impl Pace {
    /// Starts with the short interval.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let interval: f64 = py.import("sys")?.call_method0("getswitchinterval")?.extract()?;
        let ours = (interval - USUAL).abs() < 1e-6;
        if ours {
            set(py, SHORT)?;
        }
        Ok(Self { ours, short: AtomicBool::new(true) })
    }

    /// Follows the number of running requests.
    pub(crate) fn follow(&self, py: Python<'_>, running: usize) {
        let short = self.short.load(Relaxed);
        let wanted = if short { running < MANY } else { running < FEW };
        if self.ours && wanted != short {
            self.short.store(wanted, Relaxed);
            // It takes any positive number; if it ever fails, the old pace goes on.
            let _ = set(py, if wanted { SHORT } else { USUAL });
        }
    }
}

fn set(py: Python<'_>, seconds: f64) -> PyResult<()> {
    py.import("sys")?.call_method1("setswitchinterval", (seconds,)).map(drop)
}
