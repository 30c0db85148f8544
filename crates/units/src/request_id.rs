//! The name of one request: 16 hexadecimal digits, unique within a run and unlikely to repeat across runs.
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// Names one request in the log, in `X-Request-Id` and on error pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The id as it is written everywhere: 16 lower-case hexadecimal digits.
    pub fn digits(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|at| DIGITS[(self.0 >> (60 - 4 * at) & 0xf) as usize])
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes request ids: a counter run through a mixing bijection, so that no two of one source are equal.
#[derive(Debug)]
pub struct RequestIds {
    next: u64,
}

impl RequestIds {
    /// A source that begins at a random point.
    pub fn new() -> Self {
        Self { next: RandomState::new().hash_one(0u64) }
    }

    /// The next id. (The mixer is SplitMix64's finalizer, a bijection on 64 bits.)
    pub fn make(&mut self) -> RequestId {
        self.next = self.next.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.next;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        RequestId(z ^ (z >> 31))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_print_as_16_digits() {
        let mut ids = RequestIds::new();
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| ids.make()).collect();
        assert_eq!(made.len(), 10_000);
        for id in [RequestId(255), RequestId(u64::MAX), RequestId(0x0123_4567_89ab_cdef)] {
            assert_eq!(id.to_string().as_bytes(), id.digits());
        }
        assert_eq!(RequestId(255).to_string(), "00000000000000ff");
    }
}
