//! The routes of a configuration, and the files beside the application, as `written` has the rest.

use std::path::Path;

use super::{
    upstream::upstream,
    written::{
        Element, Keys, Setting, hidden, hidden_table, list, maybe, names, one, rate, relative, table, while_closed,
    },
};
use crate::{
    model::Compression,
    protection::Own,
    redirect::Piece,
    routes::{Action, Edits, HostPattern, Mount, Mounting, Route, RouteLimits, Routes, Service},
    trusted::TrustedProxies,
};

pub(super) fn routes(routes: &Routes, project: &Path) -> Keys {
    let Routes { list: all, services, files, internal } = routes;
    vec![
        ("static", mounts(files, project)),
        ("internal", mounts(internal, project)),
        ("[[route]]", list(all.iter().map(|entry| route(entry, services, project)))),
    ]
}

fn mounts(mounts: &[Mount], project: &Path) -> Setting {
    table(mounts.iter().map(|Mount { path, directory }| (format!("{path:?}"), relative(directory, project))))
}

fn route(route: &Route, services: &[Service], project: &Path) -> Element {
    let Route {
        hosts,
        path,
        methods,
        fields,
        allow,
        deny,
        users,
        rate: own_rate,
        maintenance,
        limits,
        compression,
        request: Edits { set: set_request, remove: remove_request },
        response: Edits { set, remove },
        service,
        action,
    } = route;
    let upstreams = services.iter().find(|known| service.as_ref() == Some(&known.name));
    let [page, retry_after, while_closed] = while_closed(match maintenance {
        Own::This(own) => Some(own),
        Own::AsForAll | Own::Off => None,
    });
    let mut keys = vec![
        ("header", hidden_table(fields.iter().map(|(name, value)| (name.clone(), format!("{value:?}"))))),
        ("allow", names(allowed(allow.as_ref()))),
        ("deny", names(deny.entries())),
        ("basic_auth", hidden(users.as_ref().map(|users| users.written()))),
    ];
    keys.extend(bounds(limits));
    keys.extend([
        ("rate_limit", maybe(own(own_rate, rate, "off"))),
        ("maintenance", maybe(own(maintenance, |_| "true".to_owned(), "false"))),
        ("maintenance.page", page),
        ("maintenance.retry_after", retry_after),
        ("maintenance.allow", while_closed),
        ("compress", maybe(compression.map(|compression| compression == Compression::On))),
        ("set_request_header", hidden_table(set_request.iter().cloned())),
        ("remove_request_header", names(remove_request.iter().cloned())),
        ("set_header", hidden_table(set.iter().cloned())),
        ("remove_header", names(remove.iter().cloned())),
        (
            "upstream",
            list(
                upstreams
                    .into_iter()
                    .flat_map(|Service { name: _, upstreams }| upstreams.iter().map(|entry| upstream(entry, project))),
            ),
        ),
        ("name", maybe(service.as_ref())),
    ]);
    keys.extend(answer(action, project));
    Element { name: identity((hosts, path, methods), fields), keys }
}

/// What tells it from others: `host = "a.example", path = "/api"`. Of fields the names, as values may be secrets.
fn identity((hosts, path, methods): (&[HostPattern], &str, &[String]), fields: &[(String, Option<String>)]) -> String {
    let some = |key: &str, names: Vec<String>| (!names.is_empty()).then(|| format!("{key} = {}", quoted(&names)));
    let hosts = hosts.iter().map(|host| match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Below(name) => format!("*{name}"),
    });
    let fields: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let others = [
        some("method", methods.to_vec()),
        (!fields.is_empty()).then(|| format!("header = {{ {} }}", fields.join(", "))),
    ];
    let host = some("host", hosts.collect());
    let is_said = path != "/" || host.is_none() && others.iter().all(Option::is_none);
    let path = is_said.then(|| format!("path = {path:?}"));
    let parts: Vec<_> = [host, path].into_iter().chain(others).flatten().collect();
    parts.join(", ")
}

/// `"a"`, or `["a", "b"]`.
fn quoted(names: &[String]) -> String {
    match names {
        [name] => format!("{name:?}"),
        names => format!("{names:?}"),
    }
}

/// Without the key everybody may come, with an empty list nobody.
fn allowed(allow: Option<&TrustedProxies>) -> Vec<String> {
    match allow {
        None => vec!["everybody".to_owned()],
        Some(nobody) if nobody.is_empty() => vec!["nobody".to_owned()],
        Some(some) => some.entries().collect(),
    }
}

/// Nothing where it is as for all.
fn own<T>(own: &Own<T>, written: impl Fn(&T) -> String, off: &str) -> Option<String> {
    match own {
        Own::AsForAll => None,
        Own::Off => Some(off.to_owned()),
        Own::This(this) => Some(written(this)),
    }
}

fn bounds(limits: &RouteLimits) -> Keys {
    let RouteLimits { body, time, response, queue, in_flight, queue_length } = *limits;
    vec![
        ("limits.body", maybe(body)),
        ("limits.time", maybe(time.map(units::show_duration))),
        ("limits.response", maybe(response)),
        ("limits.queue", maybe(queue.map(units::show_duration))),
        ("limits.in_flight", maybe(in_flight)),
        ("limits.queue_length", maybe(queue_length)),
    ]
}

/// Who answers: of these keys a route has few.
fn answer(action: &Action, project: &Path) -> Keys {
    let (mut redirect, mut respond, mut kind, mut said) = (None, None, None, None);
    let (mut files, mut missing, mut stripped, mut rewritten) = (None, None, false, None);
    match action {
        Action::App(Mounting::Whole) => {}
        Action::App(Mounting::Stripped) => stripped = true,
        Action::App(Mounting::Rewritten(path)) => rewritten = Some(path),
        Action::Redirect { to, status } => {
            let to: String = to.iter().map(piece).collect();
            redirect = Some(format!("{to} ({status})"));
        }
        Action::Respond { status, kind: given, body } => {
            (respond, kind, said) = (Some(status), Some(given), Some(body).filter(|body| !body.is_empty()));
        }
        Action::Files { directory, fallback } => {
            (files, missing) = (Some(relative(directory, project)), fallback.as_ref());
        }
    }
    vec![
        ("redirect", maybe(redirect)),
        ("respond", maybe(respond)),
        ("respond.body", hidden(said)),
        ("respond.type", maybe(kind)),
        ("static", maybe(files)),
        ("fallback", maybe(missing)),
        ("strip_prefix", one(stripped)),
        ("rewrite", maybe(rewritten)),
    ]
}

fn piece(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) => text,
        Piece::Host => "{host}",
        Piece::Uri => "{uri}",
        Piece::Rest => "{rest}",
    }
}
