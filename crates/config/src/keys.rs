//! Every key: what it takes, its default, its environment name and flag; and what it is called elsewhere. These tables are the
//! schema: what is not in them is refused, and the reference page is written from them, in their order.

mod app; // what is run
mod upstream; // other servers, and which of them or of the nodes gets a request
mod nodes; // how many of what
mod listen; // where requests come in, and what is before the first
mod files; // files that the edge sends, and routes
mod protection; // what stands before the application
mod python; // how the application is run
mod responses; // what is said or done beside the application's response
mod limits; // `[limits]`
mod log; // `[log]`
mod route; // `[[route]]`

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Dotted path in the file.
    pub(crate) path: &'static str,
    takes: &'static str,
    default: &'static str,
    flag: &'static str,
    about: &'static str,
}

const fn key(
    path: &'static str,
    takes: &'static str,
    default: &'static str,
    flag: &'static str,
    about: &'static str,
) -> Key {
    Key { path, takes, default, flag, about }
}

/// Keys that belong together.
struct Group {
    keys: &'static [Key],
    /// Names that users bring along, and what to write here.
    foreign: &'static [(&'static str, &'static str)],
}

const GROUPS: &[Group] = &[
    app::GROUP,
    upstream::GROUP,
    nodes::GROUP,
    listen::GROUP,
    files::GROUP,
    protection::GROUP,
    python::GROUP,
    responses::GROUP,
    limits::GROUP,
    log::GROUP,
];

/// All keys but those of routes.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|group| group.keys)
}

/// The keys of a route, as `route.path`.
pub(crate) fn of_routes() -> impl Iterator<Item = &'static Key> {
    route::GROUP.keys.iter()
}

pub(crate) fn is_known_in_route(path: &str) -> bool {
    of_routes().any(|key| key.path == path)
}

/// Whether there are keys of a route below this one.
pub(crate) fn holds_route_keys(path: &str) -> bool {
    of_routes().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The same as [`suggest`], within a route.
pub(crate) fn suggest_in_route(path: &str) -> (Option<&'static str>, Option<String>) {
    let word = path.rsplit_once('.').map_or(path, |(_, word)| word);
    if let Some((_, hint)) = route::GROUP.foreign.iter().find(|(foreign, _)| *foreign == word) {
        return (None, Some((*hint).to_owned()));
    }
    let near = of_routes().filter_map(|key| Some((key.path, distance(split(path).1, split(key.path).1)?)));
    (near.min_by_key(|(_, rank)| *rank).map(|(meant, _)| meant), None)
}

/// Keys that a single text cannot hold.
pub(crate) fn has_variable(path: &str) -> bool {
    !["env", "tls", "static", "internal", "route", "error_pages"].contains(&path)
}

/// Tables that hold keys.
pub(crate) const TABLES: &[&str] = &["docker", "health", "limits", "log", "rate_limit", "maintenance"];

/// Keys of the language that this version does not have.
const LATER: &[&str] = &["command"];

pub(crate) fn is_known(path: &str) -> bool {
    all().any(|key| key.path == path)
}

/// What to say of an unknown key: the meant one if it is near, and what to do.
pub(crate) fn suggest(path: &str) -> (Option<&'static str>, Option<String>) {
    if LATER.contains(&path) {
        return (None, Some("this version does not have it".to_owned()));
    }
    let mut foreign = GROUPS.iter().flat_map(|group| group.foreign);
    if let Some((_, hint)) = foreign.find(|(foreign, _)| *foreign == path || *foreign == path.replace('_', "-")) {
        return (None, Some((*hint).to_owned()));
    }
    // The last words, as a key may stand in the wrong table.
    let (table, word) = split(path);
    let names = all().map(|key| key.path).chain(TABLES.iter().copied());
    let near = names.filter_map(|name| {
        let (its_table, its_word) = split(name);
        Some((name, (distance(word, its_word)?, table != its_table)))
    });
    let best = near.min_by_key(|(_, rank)| *rank);
    (best.map(|(meant, _)| meant), None)
}

/// `limits.time` → `limits`, `time`.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// How many letters have to be changed, if it is few enough for a slip of the hand: one of three.
fn distance(given: &str, meant: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(given, meant);
    (distance * 3 <= given.len().min(meant.len())).then_some(distance)
}

/// `limits.queue_length` → `TIERCE_LIMITS__QUEUE_LENGTH`.
pub(crate) fn variable(path: &str) -> String {
    format!("TIERCE_{}", path.replace('.', "__").to_uppercase())
}

/// The reference page of the documentation.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Configuration reference\n\nThe file is `tierce.toml`, or the table `[tool.tierce]` of `pyproject.toml`. A flag wins over the environment, the\n\
         environment over the file, the file over `PORT` and `WEB_CONCURRENCY`, those over the default. Durations are written\n\
         with a unit (`\"30s\"`, `\"200ms\"`, `\"5m\"`), sizes too (`\"10MB\"`, `\"64KiB\"`).\n\n\
         | key | takes | default | environment | flag | |\n|---|---|---|---|---|---|\n",
    );
    for key in all() {
        let variable = if has_variable(key.path) { format!("`{}`", variable(key.path)) } else { String::new() };
        page.push_str(&format!(
            "| `{}` | {} | {} | {variable} | {} | {} |\n",
            key.path, key.takes, key.default, key.flag, key.about
        ));
    }
    page.push_str("\n## Keys of a `[[route]]`\n\n| key | takes | default | |\n|---|---|---|---|\n");
    for key in of_routes() {
        let name = key.path.strip_prefix("route.").unwrap_or(key.path);
        page.push_str(&format!("| `{name}` | {} | {} | {} |\n", key.takes, key.default, key.about));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested_is_near() {
        for (path, meant) in [
            ("worker", Some("workers")),
            ("wrokers", Some("workers")),
            ("limit", Some("limits")),
            ("limits.tiem", Some("limits.time")),
            ("limits.workers", Some("workers")),
            ("drain", Some("limits.drain")),
            ("queue_lenght", Some("limits.queue_length")),
            ("pythnpath", Some("pythonpath")),
            ("env-file", Some("env_file")),
            ("debug", None),
            ("bogus", None),
            ("limits.bogus", None),
            ("access_log", None),
        ] {
            assert_eq!(suggest(path), (meant, None), "{path}");
        }
        for path in ["certfile", "ssl", "host", "harakiri"] {
            let (meant, hint) = suggest(path);
            assert!(meant.is_none() && hint.is_some(), "{path}");
        }
    }
}
