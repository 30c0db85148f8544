//! How many requests a worker may hold that it has not started: wide while they start at once, one when they do not.
//!
//! Why: a window of one costs 15 to 30 µs of CPU a request in wake-ups, a window of 8 to 32 costs nothing (measured on
//! prototypes); but a request behind a slow handler should be free to go elsewhere. So the time that requests wait in
//! the window decides: it widens by one while they wait less than [`Window::SHORT`] and it was full, and halves when
//! one waited longer than [`Window::LONG`].

use std::time::Duration;

/// The window of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    size: u32,
}

/// How long the request would have waited at another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// One had nothing unstarted.
    Sooner,
    /// All had.
    AlsoLate,
}

impl Window {
    /// Waits below this widen the window.
    pub const SHORT: Duration = Duration::from_millis(2);
    /// Waits above this narrow it.
    pub const LONG: Duration = Duration::from_millis(5);
    /// Wider brings nothing more (measured: 8 to 32 alike).
    pub const WIDEST: u32 = 32;
    /// Where a new worker begins: cheap, and soon corrected.
    const FIRST: u32 = Self::WIDEST;

    /// The window of a worker of which nothing is known.
    pub fn new() -> Self {
        Self { size: Self::FIRST }
    }

    /// How many unstarted requests the worker may hold now.
    pub fn size(self) -> u32 {
        self.size
    }

    /// A request started after it had waited in the window, in which `unstarted` were, itself included.
    pub(crate) fn started(&mut self, waited: Duration, unstarted: u32, elsewhere: Elsewhere) {
        if Self::LONG < waited {
            if elsewhere == Elsewhere::AlsoLate {
                return;
            }
            self.size = (self.size / 2).max(1);
        } else if waited < Self::SHORT && self.size <= unstarted {
            self.size = (self.size + 1).min(Self::WIDEST);
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_handlers_widen_it_slow_ones_narrow_it() {
        let (fast, slow) = (Duration::from_micros(100), Duration::from_millis(20));
        let mut window = Window::new();
        for _ in 0..100 {
            window.started(fast, window.size(), Elsewhere::Sooner);
        }
        assert_eq!(window.size(), Window::WIDEST);
        for _ in 0..10 {
            window.started(slow, 1, Elsewhere::AlsoLate);
        }
        assert_eq!(window.size(), Window::WIDEST, "nobody was quicker");
        for _ in 0..10 {
            window.started(slow, 1, Elsewhere::Sooner);
        }
        assert_eq!(window.size(), 1);
        window.started(fast, 0, Elsewhere::Sooner);
        assert_eq!(window.size(), 1, "a window that was not full has no reason to grow");
    }
}
