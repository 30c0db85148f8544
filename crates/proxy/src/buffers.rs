//! Buffers that connections borrow while bytes are there.
//!
//! Invariant: what is kept for others is bounded, and what was not needed for a while is given back.

use std::cell::RefCell;

/// Up to this size it is a short one: a head and what comes with it.
pub(crate) const SHORT: usize = 16 * 1024;

/// A long one: a piece of a body. What has grown beyond is not kept.
pub(crate) const LONG: usize = 64 * 1024;

/// How many are kept at most.
const SHORT_MAX: usize = 1024;
const LONG_MAX: usize = 256;

/// The buffers of one thread that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    short: RefCell<Spare>,
    long: RefCell<Spare>,
}

#[derive(Debug, Default)]
struct Spare {
    /// The one used last is used next.
    list: Vec<Vec<u8>>,
    /// The fewest that there were since the last look: so many are not needed.
    least: usize,
}

impl Buffers {
    /// An empty buffer, mostly with room for a head.
    pub(crate) fn take_short(&self) -> Vec<u8> {
        self.short.borrow_mut().take()
    }

    /// An empty buffer with room for [`LONG`] bytes.
    pub(crate) fn take_long(&self) -> Vec<u8> {
        let mut buffer = self.long.borrow_mut().take();
        buffer.reserve_exact(LONG);
        buffer
    }

    /// Takes a buffer back.
    pub(crate) fn put(&self, mut buffer: Vec<u8>) {
        let (spare, most) = match buffer.capacity() {
            0 => return,
            1..=SHORT => (&self.short, SHORT_MAX),
            capacity if capacity <= LONG => (&self.long, LONG_MAX),
            _ => return,
        };
        let list = &mut spare.borrow_mut().list;
        if list.len() < most {
            buffer.clear();
            list.push(buffer);
        }
    }

    /// Gives half of what was not needed since the last time back.
    pub(crate) fn tidy(&self) {
        self.short.borrow_mut().tidy();
        self.long.borrow_mut().tidy();
    }

    /// Gives all of it back.
    pub(crate) fn clear(&self) {
        *self.short.borrow_mut() = Spare::default();
        *self.long.borrow_mut() = Spare::default();
    }
}

impl Spare {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.list.pop().unwrap_or_default();
        self.least = self.least.min(self.list.len());
        buffer
    }

    fn tidy(&mut self) {
        self.list.drain(..self.least.div_ceil(2));
        self.least = self.list.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(buffers: &Buffers) -> [usize; 2] {
        [&buffers.short, &buffers.long].map(|spare| spare.borrow().list.len())
    }

    #[test]
    fn buffers_serve_again_by_their_size() {
        let buffers = Buffers::default();
        for capacity in [0, 100, SHORT, SHORT + 1, LONG, LONG + 1] {
            buffers.put(Vec::with_capacity(capacity));
        }
        assert_eq!(counts(&buffers), [2, 2]);
        assert_eq!(buffers.take_short().capacity(), SHORT);
        assert_eq!(buffers.take_long().capacity(), LONG);
        assert_eq!(counts(&buffers), [1, 1]);
        (0..2 * SHORT_MAX).for_each(|_| buffers.put(vec![1]));
        assert_eq!(counts(&buffers), [SHORT_MAX, 1]);
        assert!(buffers.take_short().is_empty());
    }

    #[test]
    fn what_is_not_needed_goes_and_what_is_needed_stays() {
        let buffers = Buffers::default();
        (0..16).for_each(|_| buffers.put(vec![1]));
        buffers.tidy();
        assert_eq!(counts(&buffers)[0], 16, "they have just come");
        for expected in [10, 7, 5, 4, 4] {
            let used: Vec<_> = (0..4).map(|_| buffers.take_short()).collect();
            used.into_iter().for_each(|buffer| buffers.put(buffer));
            buffers.tidy();
            assert_eq!(counts(&buffers)[0], expected);
        }
    }
}
