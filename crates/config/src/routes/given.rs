//! The keys of the file: `static`, `internal` and `[[route]]`.
//!
//! Invariant: whatever is wrong is a problem with its place; a route with a problem is never served, as no configuration with
//! problems is.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, HostPattern, Mount, Mounting, Route, RouteLimits, Routes, Service,
    fields::{edits, fields, is_value},
    services::{self, Wanted},
};
use crate::{
    keys,
    model::Compression,
    problem::Problem,
    protection::{self, Maintenance, Own},
    read::{Given, Origin, Raw},
    redirect,
    source::{self, Source},
    trusted::TrustedProxies,
    users::{self, Users},
    values::Values,
};

/// `static`, `internal` and all of `[[route]]`. `name` is that of the configuration.
pub(crate) fn routes(source: &Source, name: &str, values: &mut Values) -> Routes {
    let (files, internal) = (mounts("static", source, values), mounts("internal", source, values));
    let (list, services) = list(source, name, values);
    Routes { list, services, files, internal }
}

fn list(source: &Source, name: &str, values: &mut Values) -> (Vec<Route>, Vec<Service>) {
    let Some(given) = values.given("route") else { return Default::default() };
    let Raw::List(elements) = &given.raw else {
        let hint = Some("write `[[route]]`, with its keys below".to_owned());
        values.reject("route", &given, format!("expected tables, found {}", given.raw.kind()), hint);
        return Default::default();
    };
    let (mut list, mut wanted) = (Vec::new(), Vec::<Option<Wanted>>::new());
    for element in elements {
        match &element.raw {
            Raw::Table(entries) => {
                let mut own = Values::new(flat(entries, &mut values.problems), Vec::new());
                wanted.push(services::wanted(&source.project, &mut own));
                list.push(route(source, &mut own));
                values.problems.append(&mut own.problems);
            }
            other => values.reject("route", element, format!("expected a table, found {}", other.kind()), None),
        }
    }
    let services = services::services(&mut list, wanted, name, values);
    (list, services)
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

fn mounts(key: &str, source: &Source, values: &mut Values) -> Vec<Mount> {
    let Some(given) = values.given(key) else { return Vec::new() };
    let Raw::Table(entries) = &given.raw else {
        let hint = Some(format!("write `{key} = {{ \"/path\" = \"directory/\" }}`"));
        values.reject(key, &given, format!("expected a table of directories, found {}", given.raw.kind()), hint);
        return Vec::new();
    };
    let mut mounts = Vec::new();
    for (path, entry) in entries {
        let key = format!("{key}.{path:?}");
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
        allow: values.given("route.allow").is_some().then(|| TrustedProxies::read("route.allow", values)),
        deny: TrustedProxies::read("route.deny", values),
        users: users(source, values),
        rate: protection::rate("route.rate_limit", values),
        maintenance: maintenance(source, values),
        limits: limits(values),
        compression: values.flag("route.compress").map(Compression::of),
        request: edits("route.set_request_header", "route.remove_request_header", values),
        response: edits("route.set_header", "route.remove_header", values),
        service: None,
        action: action(source, values),
    }
}

/// A file that cannot be read is a problem, so that it opens no door.
fn users(source: &Source, values: &mut Values) -> Option<Users> {
    let (path, given) = values.text("route.basic_auth")?;
    let file = source::clean(&source.project.join(path));
    match source::text(&file) {
        Ok(text) => match users::read(&text) {
            Ok(users) => return Some(users),
            Err((what, hint)) => values.reject("route.basic_auth", &given, format!("{}: {what}", file.display()), hint),
        },
        Err(what) => values.reject("route.basic_auth", &given, what, None),
    }
    None
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
        if !is_name(name) && (below || !is_ipv6) {
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

fn limits(values: &mut Values) -> RouteLimits {
    let positive = Duration::from_millis(1)..=Duration::from_secs(86_400);
    let limits = RouteLimits {
        body: values.size("route.limits.body"),
        time: values.duration("route.limits.time", positive.clone()),
        response: values.size("route.limits.response"),
        queue: values.duration("route.limits.queue", positive),
        in_flight: values.number("route.limits.in_flight", 1..=1_000_000),
        queue_length: values.number("route.limits.queue_length", 1..=1_000_000),
    };
    if limits.in_flight.is_none()
        && let Some(given) = values.given("route.limits.queue_length")
    {
        let hint =
            Some("set `limits.in_flight` of the route too: its requests have no queue of their own without it".into());
        values.reject("route.limits.queue_length", &given, "nothing waits for this route alone", hint);
    }
    limits
}

/// Where the route itself is the answer nobody has to be kept from the application.
fn maintenance(source: &Source, values: &mut Values) -> Own<Maintenance> {
    let Some((own, given)) = protection::maintenance("route.maintenance", source, values) else {
        return Own::AsForAll;
    };
    if ["redirect", "redirect.to", "respond", "respond.status", "respond.body"]
        .iter()
        .any(|action| values.given(&format!("route.{action}")).is_some())
    {
        values.reject("route.maintenance", &given, "this route does not ask the application", None);
    }
    own
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
    if let Some((name @ ("redirect" | "respond" | "static"), _)) = named.first()
        && let Some(given) = values.given("route.upstream")
    {
        let hint = Some("make two routes of them: the first that fits counts".to_owned());
        values.reject("route.upstream", &given, format!("this route answers itself, with `{name}`"), hint);
    }
    if values.given("route.static").is_none()
        && let Some(given) = values.given("route.fallback")
    {
        let what = "it is the file that is sent in place of one that is missing below `static`";
        values.reject("route.fallback", &given, what, None);
    }
    match named.first() {
        Some(("redirect", _)) => redirect(values),
        Some(("respond", given)) => respond(values, &given.clone()),
        Some(("static", _)) => {
            let text = values.text("route.static").map(|(text, _)| text).unwrap_or_default();
            Action::Files { directory: source::clean(&source.project.join(text)), fallback: fallback(values) }
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

/// A name below the directory of `static`.
fn fallback(values: &mut Values) -> Option<String> {
    let (text, given) = values.text("route.fallback")?;
    let is_plain = |segment: &str| !segment.is_empty() && !segment.starts_with('.');
    if !text.split('/').all(is_plain) {
        let what = format!("expected the name of a file below `static`, found {text:?}");
        values.reject("route.fallback", &given, what, Some("write \"index.html\"".to_owned()));
    }
    Some(text)
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
