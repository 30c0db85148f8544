//! Waiting for something to become true, with a deadline: the only way in which a test waits.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// The longest that anything may take, on a machine that has other things to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// Waits until `ready` says so.
///
/// # Panics
/// When it never does.
pub fn wait_for(what: &str, ready: impl FnMut() -> bool) {
    wait_within(DEADLINE, what, ready);
}

/// The same for what is promised to happen within a certain time.
///
/// # Panics
/// When it does not.
pub fn wait_within(limit: Duration, what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !ready() {
        assert!(Instant::now() < until, "{what}: not within {limit:?}");
        sleep(LOOK);
    }
}
