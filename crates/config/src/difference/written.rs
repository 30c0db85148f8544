//! A configuration as keys and what they are set to, in the words of the file.
//!
//! Invariant: a structure is taken apart without `..`, so that a field which is new does not compile before it is written here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::Path,
};

use super::{
    route::routes,
    upstream::{certificates, upstream},
};
use crate::{
    balance,
    model::{
        AccessLog, Admin, AppRef, Balance, Compression, Config, Expose, HashOn, Health, Limits, Listen, OnDisconnect,
        Protocol, ProxyProtocol, ServerTiming, Tracing,
    },
    protection::{Maintenance, Protection, RETRY_AFTER, RateKey, RateLimit},
    trusted::TrustedProxies,
};

/// Keys in the order of the reference; always the same ones.
pub(super) type Keys = Vec<(&'static str, Setting)>;

/// What a key is set to.
pub(super) enum Setting {
    /// A value, if there is one.
    One(Option<Text>),
    /// Values by their names.
    Table(BTreeMap<String, Text>),
    /// Elements in their order, no two with the same name.
    List(Vec<Element>),
}

/// A value.
#[derive(PartialEq, Eq)]
pub(super) enum Text {
    /// As it is written.
    Shown(String),
    /// To be compared, and never to be shown.
    Hidden(String),
}

/// An element of a list: what identifies it, and what else is said of it.
pub(super) struct Element {
    pub(super) name: String,
    pub(super) keys: Keys,
}

pub(super) fn config(config: &Config) -> Keys {
    let Config {
        project,
        file,
        app,
        upstreams,
        discover,
        health,
        retry_on,
        balance,
        sticky,
        slow_start,
        name,
        // Not a key, and the same for the whole life of a container.
        node: _,
        nodes,
        workers,
        threads,
        cores,
        listen,
        admin,
        tls,
        https_redirect,
        trusted_proxies,
        proxy_protocol,
        routes: all_routes,
        protection: Protection { rate: rate_limit, client_in_flight, client_connections, response, maintenance, pages },
        python,
        pythonpath,
        env,
        env_file,
        user,
        expose,
        server_timing,
        tracing,
        compression,
        limits,
        access_log,
    } = config;
    let at = |path: &Path| relative(path, project);
    let (chosen, hash_on) = balancing(balance);
    let mut keys = vec![
        ("project", one(project.display())),
        ("file", maybe(file.as_deref().map(at))),
        ("app", maybe(app_name(app))),
        ("upstream", list(upstreams.iter().map(|entry| upstream(entry, project)))),
    ];
    let engine = discover.as_ref();
    keys.extend([
        ("discover", one(engine.map_or("off", |_| "docker"))),
        ("docker.socket", maybe(engine.map(|engine| at(&engine.socket)))),
        ("docker.project", maybe(engine.and_then(|engine| engine.project.as_ref()))),
    ]);
    keys.extend(probes(health));
    keys.extend([
        ("retry_on", names(retry_on.names().map(str::to_owned))),
        ("balance", one(chosen)),
        ("hash_on", maybe(hash_on)),
        ("sticky", one(cookie(sticky.as_deref()))),
        ("slow_start", one(units::show_duration(*slow_start))),
        ("name", one(name)),
        ("nodes", one(nodes)),
        ("workers", one(workers)),
        ("threads", one(threads)),
        ("cores", one(cores)),
        ("listen", names(listen.iter().map(|listen| address(listen, project)))),
        ("socket_mode", maybe(socket_mode(listen, admin))),
        ("admin", one(watched(admin, project))),
        ("tls", list(certificates(tls, project))),
        ("https_redirect", one(https_redirect.map_or_else(|| "false".to_owned(), |port| port.to_string()))),
        ("trusted_proxies", names(trusted_proxies.entries())),
        ("proxy_protocol", one(*proxy_protocol == ProxyProtocol::Required)),
    ]);
    keys.extend(routes(all_routes, project));
    let [page, retry_after, allow] = while_closed(maintenance.as_ref());
    keys.extend([
        ("rate_limit", maybe(rate_limit.as_ref().map(rate))),
        ("maintenance", one(maintenance.is_some())),
        ("maintenance.page", page),
        ("maintenance.retry_after", retry_after),
        ("maintenance.allow", allow),
        ("error_pages", hidden_table(pages.entries())),
    ]);
    keys.extend([
        ("python", maybe(python.as_deref().map(at))),
        ("pythonpath", names(pythonpath.iter().map(|path| at(path)))),
        ("env", hidden_table(env.iter().map(|(name, value)| (name.clone(), value.clone())))),
        ("env_file", maybe(env_file.as_deref().map(at))),
        ("user", maybe(user.as_ref())),
        ("expose", one(*expose == Expose::Shown)),
        ("server_timing", one(*server_timing == ServerTiming::Shown)),
        ("traceparent", one(traces(*tracing))),
        ("compress", one(*compression == Compression::On)),
    ]);
    keys.extend(bounds(limits));
    keys.extend([
        ("limits.response", maybe(*response)),
        ("limits.client_in_flight", maybe(*client_in_flight)),
        ("limits.client_connections", maybe(*client_connections)),
    ]);
    keys.push(("log.access", one(log(*access_log))));
    keys
}

pub(super) fn one(value: impl Display) -> Setting {
    maybe(Some(value))
}

pub(super) fn maybe(value: Option<impl Display>) -> Setting {
    Setting::One(value.map(|value| Text::Shown(value.to_string())))
}

pub(super) fn hidden(value: Option<impl Display>) -> Setting {
    Setting::One(value.map(|value| Text::Hidden(value.to_string())))
}

pub(super) fn table(entries: impl IntoIterator<Item = (String, String)>) -> Setting {
    Setting::Table(entries.into_iter().map(|(name, value)| (name, Text::Shown(value))).collect())
}

pub(super) fn hidden_table(entries: impl IntoIterator<Item = (String, String)>) -> Setting {
    Setting::Table(entries.into_iter().map(|(name, value)| (name, Text::Hidden(value))).collect())
}

/// A list of which nothing is said but its elements.
pub(super) fn names(names: impl IntoIterator<Item = String>) -> Setting {
    list(names.into_iter().map(|name| Element { name, keys: Keys::new() }))
}

/// The second of the same name is `NAME (2)`.
pub(super) fn list(elements: impl IntoIterator<Item = Element>) -> Setting {
    let (mut list, mut taken) = (Vec::new(), BTreeMap::<String, u32>::new());
    for mut element in elements {
        let count = taken.entry(element.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            element.name = format!("{} ({count})", element.name);
        }
        list.push(element);
    }
    Setting::List(list)
}

/// As people write it: from the project.
pub(super) fn relative(path: &Path, project: &Path) -> String {
    path.strip_prefix(project).unwrap_or(path).display().to_string()
}

fn app_name(app: &AppRef) -> Option<String> {
    // Whoever has named it, and in which line, it is the same.
    let AppRef { module, callable, found_in: _, place: _ } = app;
    (!module.is_empty()).then(|| format!("{module}:{callable}"))
}

fn probes(health: &Health) -> Keys {
    let Health { path, every, fail, rise } = health;
    vec![
        ("health.path", maybe(path.as_ref())),
        ("health.every", one(units::show_duration(*every))),
        ("health.fail", one(fail)),
        ("health.rise", one(rise)),
    ]
}

/// `balance` and `hash_on`.
fn balancing(balance: &Balance) -> (&'static str, Option<String>) {
    match balance {
        Balance::LeastOutstanding => ("least_outstanding", None),
        Balance::RoundRobin => ("round_robin", None),
        Balance::RandomTwo => ("random_two", None),
        Balance::ConsistentHash(on) => {
            let on = match on {
                HashOn::Client => "client".to_owned(),
                HashOn::Path => "path".to_owned(),
                HashOn::Uri => "uri".to_owned(),
                HashOn::Header(name) => format!("header:{name}"),
                HashOn::Cookie(name) => format!("cookie:{name}"),
            };
            ("consistent_hash", Some(on))
        }
    }
}

fn cookie(sticky: Option<&str>) -> String {
    match sticky {
        None => "false".to_owned(),
        Some(balance::COOKIE) => "true".to_owned(),
        Some(cookie) => format!("{{ cookie = {cookie:?} }}"),
    }
}

fn address(listen: &Listen, project: &Path) -> String {
    match listen {
        Listen::Tcp { host: _, port: _, protocol: _ } => listen.to_string(),
        // Its mode is a key for all of them.
        Listen::Unix { path, protocol, mode: _ } => socket(*protocol, path, project),
    }
}

/// `unix:PATH` or `uwsgi:PATH`.
pub(super) fn socket(protocol: Protocol, path: &Path, project: &Path) -> String {
    format!("{}:{}", protocol.of_socket(), relative(path, project))
}

fn socket_mode(listen: &[Listen], admin: &Admin) -> Option<String> {
    let admin = match admin {
        Admin::At(address) => Some(address),
        Admin::Socket | Admin::Off => None,
    };
    let modes = listen.iter().chain(admin).filter_map(|address| match address {
        Listen::Unix { mode, .. } => *mode,
        Listen::Tcp { .. } => None,
    });
    let modes: BTreeSet<_> = modes.map(|mode| format!("{mode:o}")).collect();
    (!modes.is_empty()).then(|| modes.into_iter().collect::<Vec<_>>().join(", "))
}

fn watched(admin: &Admin, project: &Path) -> String {
    match admin {
        Admin::Socket => "admin.sock".to_owned(),
        Admin::At(listen) => address(listen, project),
        Admin::Off => "off".to_owned(),
    }
}

/// `10/s, burst 20, by header:X-Api-Key`, as far as it has to be said.
pub(super) fn rate(limit: &RateLimit) -> String {
    let RateLimit { every: _, burst, by } = limit;
    let (count, unit) = limit.written();
    let mut text = format!("{count}/{unit}");
    if *burst != count {
        text.push_str(&format!(", burst {burst}"));
    }
    match by {
        RateKey::Client => {}
        RateKey::Header(name) => text.push_str(&format!(", by header:{name}")),
    }
    text
}

/// `page`, `retry_after`, `allow`; what is the default anyway is no news where it begins or ends.
pub(super) fn while_closed(maintenance: Option<&Maintenance>) -> [Setting; 3] {
    let nothing = Maintenance { page: None, retry_after: RETRY_AFTER, allow: TrustedProxies::default() };
    let Maintenance { page, retry_after, allow } = maintenance.unwrap_or(&nothing);
    [hidden(page.as_ref()), one(units::show_duration(*retry_after)), names(allow.entries())]
}

fn traces(tracing: Tracing) -> &'static str {
    match tracing {
        Tracing::Make => "make",
        Tracing::Pass => "pass",
    }
}

fn bounds(limits: &Limits) -> Keys {
    let Limits {
        body,
        time,
        queue,
        queue_length,
        in_flight,
        on_disconnect,
        requests,
        age,
        memory,
        tunnel,
        idle,
        start,
        drain,
        notice,
        grace,
    } = limits;
    let lasts = units::show_duration;
    vec![
        ("limits.body", one(body)),
        ("limits.time", one(lasts(*time))),
        ("limits.queue", one(lasts(*queue))),
        ("limits.queue_length", one(queue_length)),
        ("limits.in_flight", maybe(*in_flight)),
        ("limits.tunnel", one(lasts(*tunnel))),
        (
            "limits.on_disconnect",
            one(match on_disconnect {
                OnDisconnect::Finish => "finish",
                OnDisconnect::Interrupt => "interrupt",
            }),
        ),
        ("limits.requests", maybe(*requests)),
        ("limits.age", maybe(age.map(lasts))),
        ("limits.memory", maybe(*memory)),
        ("limits.idle", one(lasts(*idle))),
        ("limits.start", one(lasts(*start))),
        ("limits.drain", one(lasts(*drain))),
        ("limits.notice", one(lasts(*notice))),
        ("limits.grace", one(lasts(*grace))),
    ]
}

fn log(access_log: AccessLog) -> &'static str {
    match access_log {
        AccessLog::Auto => "auto",
        AccessLog::Text => "text",
        AccessLog::Json => "json",
        AccessLog::Combined => "combined",
        AccessLog::Off => "off",
    }
}
