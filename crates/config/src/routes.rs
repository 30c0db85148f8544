//! `[[route]]` and `static`: what is asked for, and what becomes of it.
//!
//! Invariant: a path is kept decoded and without a slash at its end (but for `/` itself), a host in lower case, a field's name and
//! value as they may stand in a message.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use units::Bytes;

use crate::{
    keys,
    problem::Problem,
    read::{Given, Origin, Raw},
    redirect::{self, Piece},
    source::{self, Source},
    trusted::TrustedProxies,
    values::Values,
};

/// All routes, and the files beside the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The first that fits counts.
    pub list: Vec<Route>,
    /// Where files are looked for, before the application is asked.
    pub files: Vec<Mount>,
}

/// A directory whose files are found below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `/static`.
    pub path: String,
    /// The directory.
    pub directory: PathBuf,
}

/// Which requests it is for, what they have to fulfil, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Any, when there are none.
    pub hosts: Vec<HostPattern>,
    /// Those below it, segment by segment.
    pub path: String,
    /// Any, when there are none.
    pub methods: Vec<String>,
    /// Fields that the request has to have, with this value or with any.
    pub fields: Vec<(String, Option<String>)>,
    /// Who may come, if not everybody.
    pub allow: Option<TrustedProxies>,
    /// Who may not, in any case.
    pub deny: TrustedProxies,
    /// In place of `limits.body`.
    pub body: Option<Bytes>,
    /// In place of `limits.time`.
    pub time: Option<Duration>,
    /// What is changed in the request's head.
    pub request: Edits,
    /// What is changed in the response's.
    pub response: Edits,
    /// Who answers.
    pub action: Action,
}

/// A host that a request may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// Any below it: of `*.example.org`, `.example.org`.
    Below(String),
}

/// Changes of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Fields that take the place of whatever has their name.
    pub set: Vec<(String, String)>,
    /// Names of fields that are left out.
    pub remove: Vec<String>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The application, or a file of `static`.
    App(Mounting),
    /// The client is sent elsewhere.
    Redirect {
        /// Where.
        to: Vec<Piece>,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// Always the same.
    Respond {
        /// Any final status.
        status: u16,
        /// The Content-Type.
        kind: String,
        /// The body.
        body: String,
    },
    /// A file below this directory, or the application where there is none.
    Files(PathBuf),
}

/// What the application is told of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounting {
    /// As it came.
    Whole,
    /// Without the route's path, which becomes `SCRIPT_NAME`.
    Stripped,
    /// With this in place of the route's path.
    Rewritten(String),
}

/// `static` and all of `[[route]]`.
pub(crate) fn routes(source: &Source, values: &mut Values) -> Routes {
    let files = mounts(source, values);
    let Some(given) = values.given("route") else { return Routes { list: Vec::new(), files } };
    let Raw::List(elements) = &given.raw else {
        let hint = Some("write `[[route]]`, with its keys below".to_owned());
        values.reject("route", &given, format!("expected tables, found {}", given.raw.kind()), hint);
        return Routes { list: Vec::new(), files };
    };
    let mut list = Vec::new();
    for element in elements {
        match &element.raw {
            Raw::Table(entries) => {
                let mut own = Values::new(flat(entries, &mut values.problems), Vec::new());
                list.push(route(source, &mut own));
                values.problems.append(&mut own.problems);
            }
            other => values.reject("route", element, format!("expected a table, found {}", other.kind()), None),
        }
    }
    Routes { list, files }
}

/// The keys of one route by their path in the reference, as `route.limits.body`.
fn flat(entries: &[(String, Given)], problems: &mut Vec<Problem>) -> BTreeMap<String, Given> {
    let mut keys = BTreeMap::new();
    for (name, given) in entries {
        let path = format!("route.{name}");
        match &given.raw {
            Raw::Table(inner) if keys::holds_route_keys(&path) => {
                for (name, given) in inner {
                    add(format!("{path}.{name}"), given, &mut keys, problems);
                }
            }
            _ => add(path, given, &mut keys, problems),
        }
    }
    keys
}

fn add(path: String, given: &Given, keys: &mut BTreeMap<String, Given>, problems: &mut Vec<Problem>) {
    if keys::is_known_in_route(&path) {
        keys.insert(path, given.clone());
        return;
    }
    let place = match &given.origin {
        Origin::File(place) => Some(place.clone()),
        _ => None,
    };
    let problem = Problem::new(format!("unknown key `{path}`")).at(place);
    problems.push(match keys::suggest_in_route(&path) {
        (Some(meant), _) => problem.note(format!("did you mean `{meant}`?")),
        (None, Some(hint)) => problem.hint(hint),
        (None, None) => problem,
    });
}

fn mounts(source: &Source, values: &mut Values) -> Vec<Mount> {
    let Some(given) = values.given("static") else { return Vec::new() };
    let Raw::Table(entries) = &given.raw else {
        let hint = Some("write `static = { \"/static\" = \"static/\" }`".to_owned());
        values.reject("static", &given, format!("expected a table of directories, found {}", given.raw.kind()), hint);
        return Vec::new();
    };
    let mut mounts = Vec::new();
    for (path, entry) in entries {
        let key = format!("static.{path:?}");
        let clean = path_of(&key, path, entry, values);
        match &entry.raw {
            Raw::Text(text) if !text.is_empty() && !text.contains('\0') => {
                let directory = source::clean(&source.project.join(text));
                mounts.extend(clean.map(|path| Mount { path, directory }));
            }
            other => values.reject(&key, entry, format!("expected a directory, found {}", other.kind()), None),
        }
    }
    mounts
}

/// `/static/` → `/static`.
fn path_of(key: &str, text: &str, given: &Given, values: &mut Values) -> Option<String> {
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let mut segments = trimmed.split('/');
    let what = if segments.next() != Some("") {
        "a path begins with a slash"
    } else if !trimmed.is_empty() && !segments.all(is_plain) {
        "a path has no empty segments, and none that is `.` or `..`"
    } else if text.contains(['?', '#', '%', '*', '\0']) {
        "a path is written without escapes, patterns and query: all below it is meant"
    } else {
        return Some(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() });
    };
    values.reject(key, given, format!("{text:?}: {what}"), None);
    None
}

fn route(source: &Source, values: &mut Values) -> Route {
    let path = values.text("route.path").and_then(|(text, given)| path_of("route.path", &text, &given, values));
    Route {
        hosts: hosts(values),
        path: path.unwrap_or_else(|| "/".to_owned()),
        methods: methods(values),
        fields: fields(values),
        allow: values.given("route.allow").is_some().then(|| addresses("route.allow", values)),
        deny: addresses("route.deny", values),
        body: values.size("route.limits.body"),
        time: values.duration("route.limits.time", Duration::from_millis(1)..=Duration::from_secs(86_400)),
        request: edits("route.set_request_header", "route.remove_request_header", values),
        response: edits("route.set_header", "route.remove_header", values),
        action: action(source, values),
    }
}

fn hosts(values: &mut Values) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (text, given) in values.list("route.host").unwrap_or_default() {
        let lower = text.to_ascii_lowercase();
        let (name, below) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let is_name = |name: &str| {
            name.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            })
        };
        let is_ipv6 = name.starts_with('[') && name.ends_with(']');
        if !is_name(name) && !(is_ipv6 && !below) {
            let hint = "write \"example.org\", or \"*.example.org\" for all below it; a port does not count";
            values.reject("route.host", &given, format!("{text:?} is not a host"), Some(hint.to_owned()));
        }
        hosts.push(if below { HostPattern::Below(format!(".{name}")) } else { HostPattern::Exact(name.to_owned()) });
    }
    hosts
}

fn methods(values: &mut Values) -> Vec<String> {
    let mut methods = Vec::new();
    for (text, given) in values.list("route.method").unwrap_or_default() {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            let what = format!("expected a method in capitals, found {text:?}");
            values.reject("route.method", &given, what, None);
        }
        methods.push(text);
    }
    methods
}

fn addresses(path: &str, values: &mut Values) -> TrustedProxies {
    let mut addresses = TrustedProxies::default();
    for (text, given) in values.list(path).unwrap_or_default() {
        if let Err((what, hint)) = addresses.add(&text) {
            values.reject(path, &given, what, hint);
        }
    }
    addresses
}

/// Fields that the request has to have; `"*"` is any value.
fn fields(values: &mut Values) -> Vec<(String, Option<String>)> {
    let pairs = pairs("route.header", values, |_| None);
    pairs.into_iter().map(|(name, value)| (name, (value != "*").then_some(value))).collect()
}

fn edits(set: &str, remove: &str, values: &mut Values) -> Edits {
    let set = pairs(set, values, ours);
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
            (Raw::Text(value), _) if is_value(value) => pairs.push((name.clone(), value.clone())),
            (Raw::Text(_), _) => values.reject(&key, entry, "a field cannot have this value", None),
            (other, _) => values.reject(&key, entry, format!("expected a text, found {}", other.kind()), None),
        }
    }
    pairs
}

fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_tchar)
}

fn is_value(value: &str) -> bool {
    value.trim() == value && value.chars().all(|letter| !letter.is_control() || letter == '\t')
}

fn action(source: &Source, values: &mut Values) -> Action {
    const ACTIONS: [&str; 5] = ["redirect", "respond", "static", "strip_prefix", "rewrite"];
    let find = |values: &Values, name: &str| {
        let path = format!("route.{name}");
        let inner = ["to", "status", "body", "type"].iter().find_map(|key| values.given(&format!("{path}.{key}")));
        values.given(&path).or(inner)
    };
    let named: Vec<_> = ACTIONS.iter().filter_map(|name| Some((*name, find(values, name)?))).collect();
    if let [(first, _), (second, given), ..] = &named[..] {
        let what = format!("a route has one of {}, and this one has `{first}` too", ACTIONS.join(", "));
        values.reject(&format!("route.{second}"), given, what, None);
    }
    match named.first() {
        Some(("redirect", _)) => redirect(values),
        Some(("respond", given)) => respond(values, &given.clone()),
        Some(("static", _)) => {
            let text = values.text("route.static").map(|(text, _)| text).unwrap_or_default();
            Action::Files(source::clean(&source.project.join(text)))
        }
        Some(("strip_prefix", _)) => {
            let strips = values.flag("route.strip_prefix") == Some(true);
            Action::App(if strips { Mounting::Stripped } else { Mounting::Whole })
        }
        Some((_, given)) => {
            let given = given.clone();
            let text = values.text("route.rewrite").map(|(text, _)| text).unwrap_or_default();
            let path = path_of("route.rewrite", &text, &given, values);
            if path.as_deref().is_some_and(|path| !path.bytes().all(|byte| byte.is_ascii_graphic())) {
                values.reject("route.rewrite", &given, "expected printable ASCII without spaces", None);
            }
            Action::App(Mounting::Rewritten(path.unwrap_or_default()))
        }
        None => Action::App(Mounting::Whole),
    }
}

fn redirect(values: &mut Values) -> Action {
    const CHOICES: [u32; 5] = [301, 302, 303, 307, 308];
    let short = values.given("route.redirect").is_some();
    let path = if short { "route.redirect" } else { "route.redirect.to" };
    let to = match values.text(path) {
        Some((text, given)) => redirect::parse(&text).unwrap_or_else(|(what, hint)| {
            values.reject(path, &given, what, hint);
            Vec::new()
        }),
        None => {
            if let Some(given) = values.given("route.redirect.status") {
                values.reject("route.redirect", &given, "`to` is missing: where is the client to go?", None);
            }
            Vec::new()
        }
    };
    let status = values.number("route.redirect.status", 301..=308).unwrap_or(302);
    if !CHOICES.contains(&status)
        && let Some(given) = values.given("route.redirect.status")
    {
        values.reject("route.redirect.status", &given, "expected 301, 302, 303, 307 or 308", None);
    }
    Action::Redirect { to, status: u16::try_from(status).unwrap_or(302) }
}

fn respond(values: &mut Values, given: &Given) -> Action {
    let short = values.given("route.respond").is_some();
    let status = values.number(if short { "route.respond" } else { "route.respond.status" }, 200..=599);
    let body = values.given("route.respond.body").map(|given| match &given.raw {
        Raw::Text(text) => text.clone(),
        other => {
            values.reject("route.respond.body", &given, format!("expected a text, found {}", other.kind()), None);
            String::new()
        }
    });
    let kind = values.text("route.respond.type").map(|(kind, given)| {
        if !is_value(&kind) {
            values.reject("route.respond.type", &given, "a field cannot have this value", None);
        }
        kind
    });
    let status = u16::try_from(status.unwrap_or(200)).unwrap_or(200);
    if matches!(status, 204 | 205 | 304) && body.as_deref().is_some_and(|body| !body.is_empty()) {
        values.reject("route.respond", given, format!("a response with status {status} has no body"), None);
    }
    Action::Respond {
        status,
        kind: kind.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()),
        body: body.unwrap_or_default(),
    }
}
