//! What holds of text that operators write, whatever it is. The fuzz target calls this, and so does a test, with inputs that are
//! nearly right.

use crate::users;

/// A file of users.
pub fn users(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match users::read(&text) {
        Ok(users) => assert!(users.typical_hash().is_some_and(|hash| hash.starts_with("$2") && hash.len() == 60)),
        Err((why, _)) => assert!(!why.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use testkit::mutants;

    #[test]
    fn users() {
        let text = format!("# who\n\nana:$2y$05${}\r\nben:$2b$10${}\n", "a".repeat(53), "b".repeat(53));
        mutants(&[text.as_bytes()], 20_000, super::users);
    }
}
