//! How requests are given out: the part of the configuration that concerns the queues of services.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Config, Limits};
use control::Place;
use policy::{Balance, Secret, Shared};
use supervise::Explanation;

/// What it takes of the configuration, the same for all services.
pub(crate) struct Balancing {
    balance: Balance,
    slow_start: Duration,
    limits: Limits,
    /// The service that is not of a route.
    main: String,
    secret: Option<[u8; 32]>,
}

/// Reads, or makes, what marks are made with, where clients stick to nodes.
pub(crate) fn prepare(config: &Config, place: &Place) -> io::Result<Balancing> {
    let balance = match config.balance {
        config::Balance::LeastOutstanding => Balance::LeastOutstanding,
        config::Balance::RoundRobin => Balance::RoundRobin,
        config::Balance::RandomTwo => Balance::RandomTwo,
        config::Balance::ConsistentHash(_) => Balance::ConsistentHash,
    };
    let secret = config.sticky.as_ref().map(|_| place.secret()).transpose()?;
    Ok(Balancing { balance, slow_start: config.slow_start, limits: config.limits, main: config.name.clone(), secret })
}

/// Why there is none.
pub(crate) fn explain(error: &io::Error, place: &Place) -> Explanation {
    Explanation::new("the secret by which clients stick to nodes (`sticky`) can be neither read nor made")
        .place(place.directory().display().to_string())
        .cause(error.to_string())
}

impl Balancing {
    /// Bounds and balancing of what `shared` gives out, which is the queue of this service, follow the configuration.
    pub(crate) fn follow(&self, shared: &Arc<Shared>, service: &str) {
        shared.change(Instant::now(), |dispatch| {
            dispatch.bound_queue(self.limits.queue_length);
            // Those of routes have `max_concurrency`.
            dispatch.bound_in_flight(self.limits.in_flight.filter(|_| service == self.main));
            dispatch.set_balance(self.balance, RandomState::new().hash_one(0));
            dispatch.set_slow_start(self.slow_start);
            dispatch.set_secret(self.secret.map(|bytes| Secret::new(&bytes, service)));
        });
    }
}
