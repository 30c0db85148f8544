//! What simulations of the policy share: chance under a seed, and seeds under which a story is told.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A small generator of random numbers (xorshift), so that a seed replays a story.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number from 0, `end` excluded.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.unit();
        (self.0 >> 11) % end
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Plays a story under eight seeds, or under `SIM_SEED` alone, and judges each. `changes`: what to show when one fails.
pub(crate) fn check<T>(play: impl Fn(u64) -> T, changes: impl Fn(&T) -> String, judge: impl Fn(&T)) {
    let replay = std::env::var("SIM_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    for seed in replay.map_or(1..9, |seed| seed..seed + 1) {
        let told = play(seed);
        let judged = catch_unwind(AssertUnwindSafe(|| judge(&told)));
        assert!(judged.is_ok(), "replay with SIM_SEED={seed}; changes: {}", changes(&told));
    }
}
