//! Inputs that are nearly right, for parsers: seeds, changed as fuzzers change them.
//!
//! Invariant: the same seeds and the same number give the same inputs, on every machine.

/// What is special to some parser.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"%00",
    b"%2f",
    b"..",
    b"/",
    b"0",
    b"9",
    b"-",
    b"\x7f",
    b"\xff\xff",
    b"chunked",
    b"18446744073709551615",
];

/// Gives `check` every seed, and then `count` inputs that differ from one in a few places.
pub fn mutants(seeds: &[&[u8]], count: usize, mut check: impl FnMut(&[u8])) {
    seeds.iter().for_each(|seed| check(seed));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..count {
        let mut input = chance.of(seeds).to_vec();
        for _ in 0..=chance.below(4) {
            chance.change(&mut input, seeds);
        }
        check(&input);
    }
}

/// xorshift64*: enough to be spread, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    fn of<'a>(&mut self, all: &[&'a [u8]]) -> &'a [u8] {
        all[self.below(all.len())]
    }

    /// A range within `0..length`, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length - start } else { (length - start).min(4) };
        start..start + self.below(most + 1)
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[&[u8]]) {
        let range = self.range(input.len());
        let byte = u8::try_from(self.below(256)).unwrap();
        match self.below(7) {
            0 => drop(input.drain(range)),
            1 => input.truncate(range.start),
            2 => {
                let copy = input[range.clone()].to_vec();
                input.splice(range.end..range.end, copy);
            }
            3 => drop(input.splice(range.start..range.start, self.of(&PIECES).iter().copied())),
            4 => {
                let other = self.of(seeds);
                let piece = self.range(other.len());
                input.splice(range, other[piece].iter().copied());
            }
            5 if !input.is_empty() => {
                let at = range.start.min(input.len() - 1);
                input[at] ^= 1 << (byte & 7);
            }
            _ => drop(input.splice(range, [byte])),
        }
    }
}
