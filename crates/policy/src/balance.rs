//! Ways to choose a node, and what a request can wish of the choice.

/// By what a node is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The least outstanding work for its weight. Own nodes with about the least have turns.
    #[default]
    LeastOutstanding,
    /// Turns, as many as the weight says.
    RoundRobin,
    /// The one of two that chance names which has less to do. Several balancers in front of the same servers do not all
    /// choose the same one so.
    RandomTwo,
    /// The one to which the request's key belongs, unless it has much more to do than others.
    ConsistentHash,
}

/// What a request wishes of the choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// What it is known by where a hash decides; of equal keys all go to one node.
    pub key: Option<u64>,
    /// The mark of the node that it sticks to ([`crate::Dispatch::mark`]).
    pub mark: Option<Mark>,
}

/// By what clients name a node without knowing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub u128);

/// The key of some bytes: the same in every process (FNV-1a, mixed). It need not resist anybody, as no node gets much more
/// than others, whatever the keys are.
pub fn hash_key(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Spreads what is near over all numbers (the finalizer of splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
