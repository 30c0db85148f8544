//! What holds of text that operators write, whatever it is. The fuzz target calls this, and so does a test, with inputs that are
//! nearly right.

use crate::users;

/// A file of users.
pub fn users(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match users::read(&text) {
        Ok(users) => assert!(users.typical_hash().is_some_and(is_strong)),
        Err((why, _)) => assert!(!why.is_empty()),
    }
}

/// Whether it begins as a hash of bcrypt or argon2id does, and has the length of one.
fn is_strong(hash: &str) -> bool {
    (hash.starts_with("$2") && hash.len() == 60) || (hash.starts_with("$argon2id$") && hash.len() < 300)
}

#[cfg(test)]
mod tests {
    use testkit::mutants;

    #[test]
    fn users() {
        let text = format!("# who\n\nana:$2y$05${}\r\nben:$2b$10${}\n", "a".repeat(53), "b".repeat(53));
        let argon = format!("cyd:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0${}\n", "a".repeat(43));
        super::users(argon.as_bytes());
        mutants(&[text.as_bytes(), argon.as_bytes()], 20_000, super::users);
    }
}
