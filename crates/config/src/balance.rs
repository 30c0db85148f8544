//! Which node gets a request: `balance`, `hash_on`, `sticky`, `slow_start`.

use crate::{
    model::{Balance, HashOn},
    read::{Given, Raw},
    values::Values,
};

/// The cookie of `sticky = true`.
pub(crate) const COOKIE: &str = "tierce_node";

/// What others call a way to balance, and what to write here.
const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["leastconn", "least_conn", "least_connections", "least_request", "least_requests", "first"],
        "write \"least_outstanding\", which is the default",
    ),
    (&["roundrobin", "round-robin", "rr", "wrr", "static-rr", "weighted_round_robin"], "write \"round_robin\""),
    (&["random", "random_choose", "p2c", "random two"], "write \"random_two\""),
    (
        &["ip_hash", "client_ip_hash", "source", "remote_addr"],
        "write \"consistent_hash\", whose `hash_on` is \"client\" unless it says otherwise",
    ),
    (
        &["hash", "uri", "uri_hash", "url_param", "hdr", "ring_hash", "maglev", "hrw"],
        "write \"consistent_hash\", and `hash_on`",
    ),
    (&["cookie", "sticky"], "write `sticky = true`"),
];

pub(crate) fn balance(values: &mut Values) -> Balance {
    let hash_on = values.text("hash_on");
    let name = match values.text("balance") {
        Some((name, given)) => match FOREIGN.iter().find(|(names, _)| names.contains(&name.as_str())) {
            Some((_, hint)) => {
                values.reject("balance", &given, format!("{name:?} is not known"), Some((*hint).to_owned()));
                return Balance::LeastOutstanding;
            }
            None => name,
        },
        None => String::new(),
    };
    if name == "consistent_hash" {
        let hash_on = match hash_on {
            Some((text, given)) => parse_hash_on(values, &text, &given),
            None => HashOn::Client,
        };
        return Balance::ConsistentHash(hash_on);
    }
    if let Some((_, given)) = hash_on {
        let hint = "write `balance = \"consistent_hash\"` too";
        values.reject("hash_on", &given, "nothing is hashed", Some(hint.to_owned()));
    }
    let choices = [
        ("least_outstanding", Balance::LeastOutstanding),
        ("round_robin", Balance::RoundRobin),
        ("random_two", Balance::RandomTwo),
        ("consistent_hash", Balance::ConsistentHash(HashOn::Client)),
    ];
    match choices.into_iter().find(|(known, _)| *known == name) {
        Some((_, balance)) => balance,
        None if name.is_empty() => Balance::LeastOutstanding,
        None => {
            if let Some(given) = values.given("balance") {
                let expected = "\"least_outstanding\", \"round_robin\", \"random_two\", \"consistent_hash\"";
                values.reject("balance", &given, format!("expected one of {expected}, found {name:?}"), None);
            }
            Balance::LeastOutstanding
        }
    }
}

fn parse_hash_on(values: &mut Values, text: &str, given: &Given) -> HashOn {
    let named = |name: &str| is_token(name).then(|| name.to_owned());
    let parsed = match text.split_once(':') {
        None if text == "client" => Some(HashOn::Client),
        None if text == "path" => Some(HashOn::Path),
        None if text == "uri" => Some(HashOn::Uri),
        Some(("header", name)) => named(name).map(HashOn::Header),
        Some(("cookie", name)) => named(name).map(HashOn::Cookie),
        _ => None,
    };
    parsed.unwrap_or_else(|| {
        let hint = "write \"client\", \"path\", \"uri\" (path and query), \"header:NAME\" or \"cookie:NAME\"";
        values.reject("hash_on", given, format!("{text:?} is no part of a request"), Some(hint.to_owned()));
        HashOn::Client
    })
}

/// The name of the cookie by which clients stick to a node, if they do.
pub(crate) fn sticky(values: &mut Values) -> Option<String> {
    let given = values.given("sticky")?;
    let Raw::Table(entries) = &given.raw else {
        return values.flag("sticky").unwrap_or(false).then(|| COOKIE.to_owned());
    };
    let mut cookie = COOKIE.to_owned();
    for (name, entry) in entries {
        match (name.as_str(), &entry.raw) {
            ("cookie", Raw::Text(text)) if is_token(text) => text.clone_into(&mut cookie),
            ("cookie", _) => {
                let what = "expected the name of a cookie: letters, digits, `-` and `_`";
                values.reject("sticky.cookie", entry, what, None);
            }
            _ => values.reject(&format!("sticky.{name}"), entry, "unknown key; `sticky` has `cookie`", None),
        }
    }
    Some(cookie)
}

/// A narrow form of a token (RFC 9110 §5.6.2), which every client and every server takes.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
