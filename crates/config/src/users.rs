//! Users and their passwords, as `htpasswd -B` writes them: a line `name:hash` for each.
//!
//! Invariant: every hash is one of bcrypt or argon2id; what is weaker, or would take minutes, is refused. Neither names nor hashes are ever shown.

use std::fmt;

use argon2::{Params, password_hash::phc::PasswordHash};

/// Who may come, and the hashes of their passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// Names and hashes.
    known: Vec<(String, String)>,
    /// Which of them has what most have paid for their hash.
    typical: usize,
}

impl Users {
    /// The hash of a user's password.
    pub fn hash(&self, name: &str) -> Option<&str> {
        self.known.iter().find(|(known, _)| known == name).map(|(_, hash)| hash.as_str())
    }

    /// What an unknown user's password is compared with, so that it takes as long as for most of those that are known. Where hashes
    /// cost differently there is none that takes as long as all of them.
    pub fn typical_hash(&self) -> Option<&str> {
        self.known.get(self.typical).map(|(_, hash)| hash.as_str())
    }

    /// The file's lines, to be compared and never to be shown.
    pub(crate) fn written(&self) -> String {
        self.known.iter().map(|(name, hash)| format!("{name}:{hash}\n")).collect()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.known.len())
    }
}

/// Reads the text of such a file; or says what is wrong, and what to do.
pub(crate) fn read(text: &str) -> Result<Users, (String, Option<String>)> {
    let mut users = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, hash)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
            return Err((format!("line {number} is not `name:hash`"), Some(HOW.to_owned())));
        };
        if !is_bcrypt(hash) && !is_argon2id(hash) {
            return Err((format!("line {number}: the hash is not one of bcrypt or argon2id"), Some(HOW.to_owned())));
        }
        if users.iter().any(|(known, _)| known == name) {
            return Err((format!("line {number}: this user was there before"), None));
        }
        users.push((name.to_owned(), hash.to_owned()));
    }
    if users.is_empty() {
        return Err(("there is no user in it".to_owned(), Some(HOW.to_owned())));
    }
    Ok(Users { typical: typical(&users), known: users })
}

/// The first of those whose hashes cost what most of them cost.
fn typical(users: &[(String, String)]) -> usize {
    let mut counts: Vec<(&str, usize, usize)> = Vec::new();
    for (at, (_, hash)) in users.iter().enumerate() {
        match counts.iter_mut().find(|(known, ..)| *known == cost(hash)) {
            Some((_, _, count)) => *count += 1,
            None => counts.push((cost(hash), at, 1)),
        }
    }
    counts.iter().rev().max_by_key(|(.., count)| count).map_or(0, |(_, first, _)| *first)
}

/// The part of a hash that says how long it takes: `10` of `$2y$10$…`, `m=…,t=…,p=…` of argon2.
fn cost(hash: &str) -> &str {
    hash.split('$').find(|part| part.starts_with("m=")).or_else(|| hash.split('$').nth(2)).unwrap_or("")
}

const HOW: &str = "write the line with: htpasswd -B FILE NAME";

/// `$2y$10$` and 53 letters.
fn is_bcrypt(hash: &str) -> bool {
    let start = ["$2a$", "$2b$", "$2y$"].iter().find_map(|start| hash.strip_prefix(start));
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
    match start.and_then(|rest| rest.split_once('$')) {
        Some((cost, rest)) => {
            let cost = cost.parse::<u8>().ok().filter(|_| cost.len() == 2);
            cost.is_some_and(|cost| (4..=17).contains(&cost)) && rest.len() == 53 && rest.bytes().all(is_letter)
        }
        None => false,
    }
}

/// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, of at most 1 GiB and 64 rounds.
fn is_argon2id(hash: &str) -> bool {
    const MEMORY_MAX_KIB: u32 = 1 << 20;
    const ROUNDS_MAX: u32 = 64;
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    let is_whole = parsed.algorithm.as_str() == "argon2id" && parsed.salt.is_some() && parsed.hash.is_some();
    is_whole
        && matches!(parsed.version, None | Some(19))
        && Params::try_from(&parsed)
            .is_ok_and(|params| params.m_cost() <= MEMORY_MAX_KIB && params.t_cost() <= ROUNDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn unknown_users_cost_what_most_of_the_known_cost() {
        let bcrypt = |kind: &str, cost: &str| format!("${kind}${cost}${}", "a".repeat(53));
        for (hashes, expected) in [
            (vec![bcrypt("2y", "05")], 0),
            (vec![bcrypt("2y", "05"), bcrypt("2y", "12"), bcrypt("2b", "12")], 1),
            (vec![bcrypt("2y", "12"), ARGON.to_owned(), ARGON.to_owned()], 1),
            (vec![ARGON.replace("t=2", "t=3"), ARGON.to_owned(), bcrypt("2a", "10"), ARGON.to_owned()], 1),
            (vec![bcrypt("2y", "12"), bcrypt("2y", "05")], 0),
        ] {
            let text: String = hashes.iter().enumerate().map(|(at, hash)| format!("user{at}:{hash}\n")).collect();
            assert_eq!(read(&text).unwrap().typical_hash(), Some(hashes[expected].as_str()), "{text}");
        }
    }

    #[test]
    fn only_hashes_that_are_hard_to_guess_are_taken() {
        let hash = format!("$2y$05${}", "a".repeat(53));
        let users = read(&format!("# who\n\nana:{hash}\r\nben:$2b$10${}\n", "b".repeat(53))).unwrap();
        assert_eq!((users.hash("ana"), users.hash("eve")), (Some(hash.as_str()), None));
        assert_eq!(format!("{users:?}"), "Users(2)");
        assert!(read(&format!("ana:{ARGON}\n")).is_ok());
        for text in [
            String::new(),
            "# nobody\n".into(),
            "ana".into(),
            format!(":{hash}"),
            "ana:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".into(),
            "ana:$apr1$x$y".into(),
            "ana:secret".into(),
            format!("ana:{hash}x"),
            format!("ana:$2y$31${}", "a".repeat(53)),
            format!("ana:{hash}\nana:{hash}"),
            format!("ana:{}", ARGON.replace("argon2id", "argon2i")),
            format!("ana:{}", ARGON.replace("m=256", "m=4000000")),
            format!("ana:{}", ARGON.replace("t=2", "t=65")),
            format!("ana:{}", ARGON.rsplit_once('$').unwrap().0),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }
}
