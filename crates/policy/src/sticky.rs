//! Marks by which clients stick to a node: they name it to nobody who does not have the secret, and nobody can make one up.

use std::fmt;

use aws_lc_rs::hmac;

use crate::Mark;

/// What marks are made with; whoever has it can make them.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// That of a service, from random bytes that nobody else has: marks of one service say nothing to another.
    pub fn new(bytes: &[u8; 32], service: &str) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), service.as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()))
    }

    /// The mark of the node with this name: the first half of an HMAC-SHA256.
    pub(crate) fn mark(&self, name: &str) -> Mark {
        let tag = hmac::sign(&self.0, name.as_bytes());
        let (half, _) = tag.as_ref().split_first_chunk().expect("it has 32 bytes");
        Mark(u128::from_be_bytes(*half))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_depends_on_name_service_and_secret() {
        let [one, secret, service] =
            [(1, "web"), (2, "web"), (1, "api")].map(|(byte, service)| Secret::new(&[byte; 32], service));
        assert_eq!(one.mark("web.1"), one.clone().mark("web.1"));
        for other in [one.mark("web.2"), secret.mark("web.1"), service.mark("web.1")] {
            assert_ne!(one.mark("web.1"), other);
        }
        assert_eq!(format!("{one:?}"), "Secret");
    }
}
