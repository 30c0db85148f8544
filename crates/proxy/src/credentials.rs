//! Names and passwords of basic authentication (RFC 7617), compared with hashes of bcrypt and argon2id.
//!
//! Invariant: a hash is computed on a thread of its own, few at a time, and only once for a password that was right; what is kept of
//! that tells nobody the password. Each try of a client is counted until it turns out to be right, so that nobody can keep the
//! processors busy with guesses. A name that nobody has takes as long as a wrong password of most of those that are there.

use std::{
    cell::RefCell,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use argon2::{Argon2, PasswordVerifier};
use base64::{Engine, engine::general_purpose::STANDARD};
use config::Users;
use http::RequestHead;
use policy::Rate;
use tokio::sync::Semaphore;

use crate::clients::{Clients, RateRule, Who};

/// Hashes that a thread of the edge has computed at a time; each takes a core for a while.
const AT_A_TIME: usize = 2;

/// How often one client may be wrong, in all threads together.
const GUESSES: Rate = Rate { every: Duration::from_secs(1), burst: 20 };

/// Right credentials that are remembered; beyond, all are forgotten.
const KNOWN_MAX: usize = 1024;

/// What one thread of the edge knows of credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Of those that were right, with the hash that they were compared with: two keyed hashes, as one could collide.
    known: RefCell<HashSet<(u64, u64)>>,
    keys: (RandomState, RandomState),
    computing: Semaphore,
    guesses: RateRule,
}

/// What is said of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// The client has been wrong too often, and may try again after this.
    TooOften(Duration),
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            known: RefCell::default(),
            keys: (RandomState::new(), RandomState::new()),
            computing: Semaphore::new(AT_A_TIME),
            guesses: RateRule::of(GUESSES, 0),
        }
    }
}

impl Credentials {
    /// Whether the request names one of `users` with the right password.
    pub(crate) async fn judge(
        &self,
        head: &RequestHead,
        input: &[u8],
        users: &Users,
        (clients, who): (&Clients, Who<'_>),
    ) -> Verdict {
        let Some((name, password)) = given(head, input) else { return Verdict::Wrong };
        let found = users.hash(&name);
        let Some(hash) = found.or_else(|| users.typical_hash()).map(ToOwned::to_owned) else { return Verdict::Wrong };
        let print = (self.keys.0.hash_one((&name, &password, &hash)), self.keys.1.hash_one((&name, &password, &hash)));
        if found.is_some() && self.known.borrow().contains(&print) {
            return Verdict::Right;
        }
        if let Err(wait) = clients.take(&self.guesses, who, Instant::now()) {
            return Verdict::TooOften(wait);
        }
        let Ok(_permit) = self.computing.acquire().await else { return Verdict::Wrong };
        let compared = tokio::task::spawn_blocking(move || is_of(&password, &hash)).await;
        let right = found.is_some() && matches!(compared, Ok(true));
        if right {
            clients.give_back(&self.guesses, who);
            let mut known = self.known.borrow_mut();
            if KNOWN_MAX <= known.len() {
                known.clear();
            }
            known.insert(print);
            return Verdict::Right;
        }
        Verdict::Wrong
    }
}

/// Whether a password has this hash.
fn is_of(password: &[u8], hash: &str) -> bool {
    if hash.starts_with("$argon2id$") {
        return Argon2::default().verify_password(password, hash).is_ok();
    }
    matches!(bcrypt::verify(password, hash), Ok(true))
}

/// The name and the password of the one Authorization field.
pub(crate) fn given(head: &RequestHead, input: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut fields = head.fields.iter().filter(|field| field.name.of(input).eq_ignore_ascii_case(b"authorization"));
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, encoded) = field.value.of(input).split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    Some((String::from_utf8(decoded[..colon].to_vec()).ok()?, decoded[colon + 1..].to_vec()))
}
