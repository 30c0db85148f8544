//! How a dispatch is balanced: the part of the configuration that concerns it.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
    time::Instant,
};

use config::Config;
use control::Place;
use policy::{Balance, Secret, Shared};
use supervise::Explanation;

/// What it takes of the configuration.
#[derive(Debug)]
pub(crate) struct Balancing {
    balance: Balance,
    secret: Option<Secret>,
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
    Ok(Balancing { balance, secret: secret.map(|bytes| Secret::new(&bytes)) })
}

/// Why there is none.
pub(crate) fn explain(error: &io::Error, place: &Place) -> Explanation {
    Explanation::new("the secret by which clients stick to nodes (`sticky`) can be neither read nor made")
        .place(place.directory().display().to_string())
        .cause(error.to_string())
}

/// Bounds and balancing of what `shared` gives out follow the configuration.
pub(crate) fn follow(shared: &Arc<Shared>, config: &Config, balancing: Balancing) {
    shared.change(Instant::now(), |dispatch| {
        dispatch.bound_queue(config.limits.queue_length);
        dispatch.bound_in_flight(config.limits.in_flight);
        dispatch.set_balance(balancing.balance, RandomState::new().hash_one(0));
        dispatch.set_slow_start(config.slow_start);
        dispatch.set_secret(balancing.secret);
    });
}
