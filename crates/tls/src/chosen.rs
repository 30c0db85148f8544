//! Which certificate a client gets: the one that has the name it asks for, else one with a wildcard for it, else the first.
//!
//! Invariant: a set is exchanged as a whole; a handshake sees the old or the new one.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::certificate::Pair;

/// Certificates by name.
#[derive(Debug)]
pub(crate) struct Chosen {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.org` under `example.org`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl Chosen {
    /// `None` without any. Of two with the same name the earlier counts.
    pub(crate) fn new(pairs: &[Pair]) -> Option<Self> {
        let first = Arc::clone(&pairs.first()?.key);
        let mut chosen = Self { first, exact: HashMap::new(), wildcard: HashMap::new() };
        for (pair, name) in pairs.iter().flat_map(|pair| pair.names.iter().map(move |name| (pair, name))) {
            let (by, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut chosen.wildcard, parent),
                None => (&mut chosen.exact, name.as_str()),
            };
            by.entry(name.to_owned()).or_insert_with(|| Arc::clone(&pair.key));
        }
        Some(chosen)
    }

    /// For a client that asks for `name`. A wildcard stands for one label (RFC 9525 §6.3).
    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name else { return &self.first };
        let name = name.to_ascii_lowercase();
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(by_wildcard).unwrap_or(&self.first)
    }
}

/// The set that handshakes choose from.
#[derive(Debug)]
pub(crate) struct Chooser(RwLock<Arc<Chosen>>);

impl Chooser {
    pub(crate) fn new(chosen: Chosen) -> Self {
        Self(RwLock::new(Arc::new(chosen)))
    }

    pub(crate) fn exchange(&self, chosen: Chosen) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chosen);
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        Some(Arc::clone(chosen.of(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::self_signed;

    #[test]
    fn the_closest_name_counts_and_the_first_for_all_others() {
        let pairs = [
            self_signed(&["first.example"]),
            self_signed(&["*.example.org", "example.org"]),
            self_signed(&["WWW.example.org", "*.example.org", "first.example"]),
        ];
        let chosen = Chosen::new(&pairs).unwrap();
        for (name, expected) in [
            (None, 0),
            (Some("first.example"), 0),
            (Some("example.org"), 1),
            (Some("a.example.org"), 1),
            (Some("A.Example.ORG"), 1),
            (Some("www.example.org"), 2),
            (Some("a.b.example.org"), 0),
            (Some(".example.org"), 1),
            (Some("org"), 0),
            (Some(""), 0),
            (Some("*.example.org"), 1),
        ] {
            let key = chosen.of(name);
            assert!(Arc::ptr_eq(key, &pairs[expected].key), "{name:?}");
        }
        assert!(Chosen::new(&[]).is_none());
    }
}
