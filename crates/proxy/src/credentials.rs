//! Names and passwords of basic authentication (RFC 7617), compared with bcrypt's hashes.
//!
//! Invariant: a hash is computed on a thread of its own, few at a time, and only once for a password that was right; what is kept of
//! that tells nobody the password. A name that nobody has takes as long as one with a wrong password.

use std::{
    cell::RefCell,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use config::Users;
use http::RequestHead;
use tokio::sync::Semaphore;

/// Hashes that a thread of the edge has computed at a time; each takes a core for a while.
const AT_A_TIME: usize = 2;

/// Right credentials that are remembered; beyond, all are forgotten.
const KNOWN_MAX: usize = 1024;

/// What one thread of the edge knows of credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Of those that were right, with the hash that they were compared with: two keyed hashes, as one could collide.
    known: RefCell<HashSet<(u64, u64)>>,
    keys: (RandomState, RandomState),
    computing: Semaphore,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            known: RefCell::default(),
            keys: (RandomState::new(), RandomState::new()),
            computing: Semaphore::new(AT_A_TIME),
        }
    }
}

impl Credentials {
    /// Whether the request names one of `users` with the right password.
    pub(crate) async fn are_right(&self, head: &RequestHead, input: &[u8], users: &Users) -> bool {
        let Some((name, password)) = given(head, input) else { return false };
        let found = users.hash(&name);
        let Some(hash) = found.or_else(|| users.any_hash()).map(ToOwned::to_owned) else { return false };
        let print = (self.keys.0.hash_one((&name, &password, &hash)), self.keys.1.hash_one((&name, &password, &hash)));
        if found.is_some() && self.known.borrow().contains(&print) {
            return true;
        }
        let Ok(_permit) = self.computing.acquire().await else { return false };
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let right = found.is_some() && matches!(compared, Ok(Ok(true)));
        if right {
            let mut known = self.known.borrow_mut();
            if KNOWN_MAX <= known.len() {
                known.clear();
            }
            known.insert(print);
        }
        right
    }
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
