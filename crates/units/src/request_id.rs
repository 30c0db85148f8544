//! The name of one request: 16 hexadecimal digits, unique within a run and unlikely to repeat across runs; or the name that a
//! trusted proxy has given it.
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// The longest name; 64 characters hold a SHA-256 and every UUID.
const MAX: usize = 64;

/// Names one request in the log, in `X-Request-Id` and on error pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    text: [u8; MAX],
    length: u8,
}

impl RequestId {
    /// An id of our own: 16 lower-case hexadecimal digits.
    pub fn new(number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; MAX];
        for (at, byte) in text.iter_mut().take(16).enumerate() {
            *byte = DIGITS[(number >> (60 - 4 * at) & 0xf) as usize];
        }
        Self { text, length: 16 }
    }

    /// An id that somebody else has made: 1 to 64 letters, digits, `-`, `_`, `.` and `:`.
    pub fn parse(given: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        if given.is_empty() || !given.iter().all(plain) {
            return None;
        }
        let mut text = [0; MAX];
        text.get_mut(..given.len())?.copy_from_slice(given);
        Some(Self { text, length: u8::try_from(given.len()).ok()? })
    }

    /// The id as it is written everywhere.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
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
        RequestId::new(self.number())
    }

    /// A number of the same source.
    pub(crate) fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.next;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
        for number in [255, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(RequestId::new(number).to_string(), format!("{number:016x}"));
        }
    }

    #[test]
    fn ids_of_others_have_a_form() {
        let longest = "x".repeat(64);
        for text in ["a", "550e8400-e29b-41d4-a716-446655440000", "7F00:0001_1.2", &longest] {
            assert_eq!(RequestId::parse(text.as_bytes()).map(|id| id.to_string()).as_deref(), Some(text));
        }
        for text in ["", "a b", "a\r\nb", "é", "a\"b", &format!("{longest}x")] {
            assert_eq!(RequestId::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
