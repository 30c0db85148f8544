//! Names and values of fields, as routes compare and change them.
//!
//! Invariant: none is accepted that would break the framing of a message, or that only the edge can know.

use super::Edits;
use crate::{read::Raw, values::Values};

/// Fields that the request has to have; `"*"` is any value.
pub(super) fn fields(values: &mut Values) -> Vec<(String, Option<String>)> {
    let pairs = pairs("route.header", values, |_| None);
    pairs.into_iter().map(|(name, value)| (name, (value != "*").then_some(value))).collect()
}

pub(super) fn edits(set: &str, remove: &str, values: &mut Values) -> Edits {
    let allows_host = set == "route.set_request_header";
    let set = pairs(set, values, if allows_host { ours_but_host } else { ours });
    let mut names = Vec::new();
    for (name, given) in values.list(remove).unwrap_or_default() {
        match (is_token(&name), ours(&name)) {
            (false, _) => values.reject(remove, &given, format!("{name:?} is not the name of a field"), None),
            (_, Some(why)) => values.reject(remove, &given, format!("{name}: {why}"), None),
            _ => names.push(name),
        }
    }
    Edits { set, remove: names }
}

/// The same of what the application is told, which may be for another host; but it has to be one.
fn ours_but_host(name: &str) -> Option<&'static str> {
    if name.eq_ignore_ascii_case("host") { None } else { ours(name) }
}

/// Why a field cannot be changed here.
fn ours(name: &str) -> Option<&'static str> {
    const FRAMING: [&str; 8] =
        ["content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "upgrade", "te", "expect"];
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        name if FRAMING.contains(&name) => Some("how a message is framed is decided for each connection"),
        "host" => Some("the host is the one that the client has asked for"),
        "x-request-id" => Some("it is the name of the request in the log"),
        name if name.contains('_') => Some("names of fields have no `_`, which variables cannot tell from `-`"),
        _ => None,
    }
}

fn pairs(path: &str, values: &mut Values, objection: fn(&str) -> Option<&'static str>) -> Vec<(String, String)> {
    let Some(given) = values.given(path) else { return Vec::new() };
    let Raw::Table(entries) = &given.raw else {
        values.reject(path, &given, format!("expected a table of texts, found {}", given.raw.kind()), None);
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for (name, entry) in entries {
        let key = format!("{path}.{name}");
        match (&entry.raw, objection(name)) {
            _ if !is_token(name) => values.reject(&key, entry, "this is not the name of a field", None),
            (_, Some(why)) => values.reject(&key, entry, why, None),
            (Raw::Text(value), _) if name.eq_ignore_ascii_case("host") && !is_authority(value) => {
                values.reject(&key, entry, format!("{value:?} is not a host"), None);
            }
            (Raw::Text(value), _) if is_value(value) => pairs.push((name.clone(), value.clone())),
            (Raw::Text(_), _) => values.reject(&key, entry, "a field cannot have this value", None),
            (other, _) => values.reject(&key, entry, format!("expected a text, found {}", other.kind()), None),
        }
    }
    pairs
}

pub(crate) fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_tchar)
}

/// A name or an address, with a port perhaps.
fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte))
}

pub(super) fn is_value(value: &str) -> bool {
    value.trim() == value && value.chars().all(|letter| !letter.is_control() || letter == '\t')
}
