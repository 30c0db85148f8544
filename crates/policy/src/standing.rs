//! How a node takes part, as its operator wants it: `tierce drain`, `ready`, `weight`.

/// Whether a node gets requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// It has its turns.
    #[default]
    Serves,
    /// It gets nothing new until it is told to serve again.
    Rests,
}

/// How a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it gets requests.
    pub duty: Duty,
    /// How many it gets, in proportion to other nodes: 1 to [`Standing::WEIGHT_MAX`].
    pub weight: u32,
}

impl Standing {
    /// The weight of a node of which nothing was said. Large enough that a node can be given a small part of the requests
    /// without telling all the others.
    pub const WEIGHT: u32 = 100;

    /// Ten times as much as others.
    pub const WEIGHT_MAX: u32 = 1000;
}

impl Default for Standing {
    fn default() -> Self {
        Self { duty: Duty::Serves, weight: Self::WEIGHT }
    }
}
