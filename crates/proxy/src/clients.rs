//! What clients use up, counted for all threads of the edge together: how often they come, what they have in flight, connections,
//! wrong passwords.
//!
//! Invariant: nothing is locked, and nothing remembered, for what is not configured. A lock is held for one look-up, and clients
//! are spread over many of them.

use std::{
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use config::{RateKey, RateLimit};
use policy::{Rate, Rates, Tally};

/// So many locks.
const SHARDS: usize = 16;

/// So many clients are remembered behind each: 131,072 together, in about 10 MB once there were as many.
const REMEMBERED: usize = 8192;

/// A lock that has a cache line to itself.
#[derive(Debug)]
#[repr(align(64))]
struct Shard<T>(Mutex<T>);

impl<T> Shard<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all clients use up.
#[derive(Debug)]
pub(crate) struct Clients {
    rates: [Shard<Rates>; SHARDS],
    in_flight: Arc<Tallies>,
    connections: Arc<Tallies>,
    /// Nobody can choose addresses or values that have the same name.
    keys: (RandomState, RandomState),
}

#[derive(Debug)]
struct Tallies([Shard<Tally>; SHARDS]);

/// One of what a client may have so many of; gives itself back.
#[derive(Debug)]
pub(crate) struct Share {
    tallies: Arc<Tallies>,
    name: u128,
}

/// Who is counted.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Who<'a> {
    /// An address, of IPv6 the network that one subscriber has; `None` is whoever comes through a Unix socket.
    Address(Option<IpAddr>),
    /// Whoever sends this.
    Value(&'a [u8]),
}

/// A rate that clients have to keep to.
#[derive(Clone, Debug)]
pub(crate) struct RateRule {
    pub(crate) rate: Rate,
    pub(crate) by: RateKey,
    /// What is counted under it; the same after a reload that has not changed it.
    sign: u64,
}

impl RateRule {
    /// The rule for `what` requests.
    pub(crate) fn new(limit: &RateLimit, what: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (what, format!("{limit:?}")).hash(&mut hasher);
        let rate = Rate { every: limit.every, burst: limit.burst };
        Self { rate, by: limit.by.clone(), sign: hasher.finish() }
    }

    /// The rule for something else than requests.
    pub(crate) fn of(rate: Rate, what: u64) -> Self {
        Self { rate, by: RateKey::Client, sign: what }
    }
}

impl Default for Clients {
    fn default() -> Self {
        let tallies = || Arc::new(Tallies(std::array::from_fn(|_| Shard(Mutex::default()))));
        Self {
            rates: std::array::from_fn(|_| Shard(Mutex::new(Rates::new(REMEMBERED)))),
            in_flight: tallies(),
            connections: tallies(),
            keys: (RandomState::new(), RandomState::new()),
        }
    }
}

impl Clients {
    /// Takes one of what a client may have under a rule, or tells how long until there is one.
    pub(crate) fn take(&self, rule: &RateRule, who: Who<'_>, now: Instant) -> Result<(), Duration> {
        let name = self.name((rule.sign, who));
        self.rates[shard(name)].lock().take(name, &rule.rate, now)
    }

    /// One that was taken does not count.
    pub(crate) fn give_back(&self, rule: &RateRule, who: Who<'_>) {
        let name = self.name((rule.sign, who));
        self.rates[shard(name)].lock().give_back(name, &rule.rate);
    }

    /// One more request in flight, if the client has fewer than `most`.
    pub(crate) fn request(&self, who: Who<'_>, most: u32) -> Option<Share> {
        self.share(&self.in_flight, who, most)
    }

    /// One more connection, if the client has fewer than `most`.
    pub(crate) fn connection(&self, who: Who<'_>, most: u32) -> Option<Share> {
        self.share(&self.connections, who, most)
    }

    fn share(&self, tallies: &Arc<Tallies>, who: Who<'_>, most: u32) -> Option<Share> {
        let name = self.name(who);
        let added = tallies.0[shard(name)].lock().add(name, most);
        added.then(|| Share { tallies: Arc::clone(tallies), name })
    }

    fn name(&self, what: impl Hash + Copy) -> u128 {
        u128::from(self.keys.0.hash_one(what)) << 64 | u128::from(self.keys.1.hash_one(what))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.tallies.0[shard(self.name)].lock().remove(self.name);
    }
}

impl Who<'static> {
    /// Who comes from an address. A subscriber has all of an IPv6 /64 (RFC 6177).
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Self::Address(address.map(|address| match address {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        }))
    }
}

fn shard(name: u128) -> usize {
    usize::from(name.to_le_bytes()[0]) % SHARDS
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        thread::scope,
    };

    use super::*;

    fn at(address: &str) -> Who<'static> {
        Who::at(address.parse().ok())
    }

    fn rule(burst: u32) -> RateRule {
        let limit = RateLimit { every: Duration::from_secs(3600), burst, by: RateKey::Client };
        RateRule::new(&limit, "all")
    }

    #[test]
    fn a_rate_is_exact_across_threads() {
        let (clients, rule, granted) = (Clients::default(), rule(100), AtomicU32::new(0));
        let now = Instant::now();
        scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..100 {
                        granted.fetch_add(u32::from(clients.take(&rule, at("192.0.2.1"), now).is_ok()), Relaxed);
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 100);
    }

    #[test]
    fn clients_are_addresses_and_networks_of_ipv6() {
        let (clients, now) = (Clients::default(), Instant::now());
        for (who, is_new) in [
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", false),
            ("2001:db8:0:1::1", true),
            ("unix", true),
            ("unix", false),
        ] {
            assert_eq!(clients.take(&rule(1), at(who), now).is_ok(), is_new, "{who}");
        }
        assert!(clients.take(&rule(1), Who::Value(b"unix"), now).is_ok());
        let other = RateRule::new(&RateLimit { every: Duration::from_secs(1), burst: 1, by: RateKey::Client }, "all");
        assert!(clients.take(&other, at("192.0.2.1"), now).is_ok(), "another rule counts for itself");
    }

    #[test]
    fn shares_give_themselves_back() {
        let clients = Clients::default();
        let first = clients.request(at("192.0.2.1"), 1);
        assert!(first.is_some() && clients.request(at("192.0.2.1"), 1).is_none());
        assert!(clients.connection(at("192.0.2.1"), 1).is_some(), "connections are another thing");
        drop(first);
        assert!(clients.request(at("192.0.2.1"), 1).is_some());
    }
}
