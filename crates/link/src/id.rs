//! The name of an exchange on its link: an index into the ledger and the generation of that place.

/// Names one exchange on one link. An index is used again, but then with the next generation, so that a late frame
/// of an old exchange is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(pub u32);

impl ExchangeId {
    /// The exchange of `generation` at `index`.
    pub fn new(index: u16, generation: u16) -> Self {
        Self(u32::from(generation) << 16 | u32::from(index))
    }

    /// Its place in the ledger.
    pub fn index(self) -> u16 {
        u16::try_from(self.0 & 0xffff).expect("16 bits are kept")
    }

    /// How often the place had been used before, modulo 2^16.
    pub fn generation(self) -> u16 {
        u16::try_from(self.0 >> 16).expect("16 bits are left")
    }
}
