//! All of it, in order: find, read, merge, check.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use units::Bytes;

use crate::{
    admin, app, balance, env_file, layers, listen,
    model::{
        AccessLog, AppRef, Compression, Config, Expose, Limits, Listen, OnDisconnect, Protocol, ServerTiming, Tls,
        Tracing,
    },
    problem::{Problem, Problems},
    protection,
    read::{self, Origin, Raw},
    retry,
    routes::{self, Routes},
    secure,
    source::{self, Environment, Locate, Overrides, Role, Source},
    trusted::TrustedProxies,
    upstream,
    values::Values,
    workers::{self, Workers},
};

/// The configuration of the project, or everything that is wrong with it.
pub fn load(locate: &Locate, environment: &Environment, flags: &Overrides) -> Result<Config, Problems> {
    match examine(locate, environment, flags) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => Err(Problems(problems)),
    }
}

/// The configuration as far as it is valid, with a default for whatever is not, and everything that is wrong with it.
/// None when it does not even say what to run.
pub fn examine(locate: &Locate, environment: &Environment, flags: &Overrides) -> (Option<Config>, Vec<Problem>) {
    match try_examine(locate, environment, flags) {
        Ok((config, problems)) => (config, in_order(problems)),
        Err(problems) => (None, problems.0),
    }
}

fn try_examine(
    locate: &Locate,
    environment: &Environment,
    flags: &Overrides,
) -> Result<(Option<Config>, Vec<Problem>), Problems> {
    let source = source::find(locate)?;
    let mut problems = Vec::new();
    // In a file that cannot be read to its end anything may stand: whatever else were said would be a guess.
    let file = read::read(&source, &mut problems).map_err(|problem| Problems(vec![*problem]))?;
    let mut values = Values::new(layers::merge(file, environment, flags), problems);
    let config = check(&source, &mut values, locate.cores, flags);
    Ok((config, values.problems))
}

/// In the order of the file, as it is read from top to bottom; what has no place comes last.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_cached_key(|problem| match &problem.place {
        Some(place) => (false, place.file.clone(), place.line, place.column),
        None => (true, PathBuf::new(), 0, 0),
    });
    problems
}

/// The project's directory, whatever its configuration says.
pub fn project(locate: &Locate) -> Result<PathBuf, Problems> {
    source::find(locate).map(|source| source.project)
}

fn check(source: &Source, values: &mut Values, cores: u32, flags: &Overrides) -> Option<Config> {
    let role = flags.role;
    let project = source.project.clone();
    let upstreams = upstream::upstreams(values, &project);
    let discover = upstream::discover(values, &project);
    let name = name(values);
    let routes = routes::routes(source, &name, values);
    let elsewhere = Elsewhere::of(upstreams.is_some() || discover.is_some(), &routes);
    let app = app_ref(source, values, &routes, elsewhere, role);
    let (env, env_file) = environment(source, values);
    let pythonpath = values.list("pythonpath").unwrap_or_default();
    let tls = secure::tls(source, values);
    let socket_mode = socket_mode(values);
    let listen = addresses(source, values, tls.as_ref(), socket_mode, role);
    let https_redirect = secure::https_redirect(values, &listen);
    let trusted_proxies = TrustedProxies::read("trusted_proxies", values);
    let proxy_protocol = secure::proxy_protocol(values, &trusted_proxies);
    let (balance, sticky) = (balance::balance(values), balance::sticky(values));
    let slow_start = values.duration("slow_start", Duration::ZERO..=Duration::from_secs(3600)).unwrap_or_default();
    let config = Config {
        name,
        node: flags.node.clone(),
        nodes: nodes(values, role),
        workers: workers::workers(values, cores).unwrap_or_else(|| Workers::fixed(cores.clamp(1, 1024))),
        threads: values.number("threads", 1..=4096).unwrap_or(256),
        cores: values.number("cores", 1..=256).unwrap_or_else(|| cores.clamp(1, 256)),
        listen,
        admin: admin::admin(source, values, socket_mode),
        tls: tls.unwrap_or(Tls::Local),
        https_redirect,
        trusted_proxies,
        proxy_protocol,
        routes,
        protection: protection::protection(source, values),
        python: python(source, values),
        pythonpath: pythonpath.into_iter().map(|(path, _)| source::clean(&project.join(path))).collect(),
        env,
        env_file,
        user: values.text("user").map(|(user, _)| user),
        expose: if values.flag("expose").unwrap_or(false) { Expose::Shown } else { Expose::Hidden },
        server_timing: match values.flag("server_timing") {
            Some(true) => ServerTiming::Shown,
            _ => ServerTiming::Hidden,
        },
        tracing: values
            .choice("traceparent", &[("make", Tracing::Make), ("pass", Tracing::Pass)])
            .unwrap_or(Tracing::Make),
        compression: Compression::of(values.flag("compress").unwrap_or(false)),
        limits: limits(values),
        access_log: values
            .choice(
                "log.access",
                &[
                    ("auto", AccessLog::Auto),
                    ("text", AccessLog::Text),
                    ("json", AccessLog::Json),
                    ("combined", AccessLog::Combined),
                    ("off", AccessLog::Off),
                ],
            )
            .unwrap_or(AccessLog::Auto),
        file: source.file.clone(),
        project,
        // Last: the problems of all the others are to be found even if there is nothing to run.
        app: app?,
        upstreams: upstreams.unwrap_or_default(),
        discover,
        health: upstream::health(values),
        retry_on: retry::retry_on(values),
        balance,
        sticky,
        slow_start,
    };
    Some(config)
}

/// What other servers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elsewhere {
    Nothing,
    /// What some routes say.
    Routes,
    Everything,
}

impl Elsewhere {
    fn of(is_everything: bool, routes: &Routes) -> Self {
        match is_everything {
            true => Self::Everything,
            false if !routes.services.is_empty() => Self::Routes,
            false => Self::Nothing,
        }
    }
}

/// What is to be run; nothing where there are upstreams. Where there are some of routes, it need not be there.
fn app_ref(source: &Source, values: &mut Values, routes: &Routes, elsewhere: Elsewhere, role: Role) -> Option<AppRef> {
    if role == Role::Node && elsewhere == Elsewhere::Everything {
        let hint = "`tierce edge` is the balancer alone: it sends requests to them";
        let problem = Problem::new("`tierce node` runs an application, but `upstream` says that other servers answer");
        values.problems.push(problem.of_command_line().hint(hint));
        return None;
    }
    if elsewhere == Elsewhere::Everything {
        if let Some(given) = values.given("app") {
            let hint = "an application runs here, upstreams elsewhere: leave one of the two keys out";
            values.reject("app", &given, "there are `upstream`s too, or `discover`", Some(hint.to_owned()));
        }
        return Some(AppRef::none());
    }
    if role == Role::Edge && (elsewhere == Elsewhere::Routes || routes.answer_themselves()) {
        if let Some(given) = values.given("app") {
            let hint = "`tierce up` runs it, and serves the routes as well";
            values.reject("app", &given, "`tierce edge` runs no application", Some(hint.to_owned()));
        }
        return Some(AppRef::none());
    }
    if role == Role::Edge {
        let hint = "name where requests go: `tierce edge --upstream http://HOST:PORT`, or the key `upstream`, also of a route; or `--discover docker`; or \
             what answers here: `static`, or a route with `static`, `respond` or `redirect`";
        values.problems.push(Problem::new("there is no upstream").of_command_line().hint(hint));
        return None;
    }
    if values.given("app").is_some() {
        let (text, given) = values.text("app")?;
        return match app::parse(&text) {
            Ok(app) => Some(AppRef { place: given.origin.shown(), ..app }),
            Err((what, hint)) => {
                values.reject("app", &given, what, hint);
                None
            }
        };
    }
    match app::find(&source.project) {
        Ok(app) => Some(app),
        Err(_) if elsewhere == Elsewhere::Routes && role != Role::Node => Some(AppRef::none()),
        Err(problem) => {
            values.problems.push(*problem);
            None
        }
    }
}

/// A container is one node, whatever is said of those beside each other on a machine.
fn nodes(values: &mut Values, role: Role) -> u32 {
    let nodes = values.number("nodes", 0..=1000).unwrap_or(1);
    if role == Role::Node { 1 } else { nodes }
}

fn name(values: &mut Values) -> String {
    let Some((name, given)) = values.text("name") else { return "web".to_owned() };
    if !is_service_name(&name) {
        let what = format!("expected lower-case letters, digits and `-`, at most 40, found {name:?}");
        values.reject("name", &given, what, None);
    }
    name
}

pub(crate) fn is_service_name(name: &str) -> bool {
    let start = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    start && rest && name.len() <= 40
}

fn addresses(
    source: &Source,
    values: &mut Values,
    tls: Option<&Tls>,
    socket_mode: Option<u32>,
    role: Role,
) -> Vec<Listen> {
    let Some(texts) = values.list("listen") else {
        let host = if role == Role::All { "localhost" } else { "0.0.0.0" };
        return vec![Listen::Tcp { host: host.to_owned(), port: 8080, protocol: Protocol::Http }];
    };
    let mut addresses = Vec::new();
    for (text, given) in &texts {
        match listen::parse(text, &source.project) {
            Ok(Listen::Unix { path, protocol, .. }) => {
                addresses.push(Listen::Unix { path, protocol, mode: socket_mode });
            }
            Ok(address) => {
                if secure::needs_certificate(&address, tls) {
                    values.problems.push(secure::without_certificate(given, &address));
                }
                addresses.push(address);
            }
            Err((what, hint)) => match &given.origin {
                // It gives the port only; the rest of the address is ours.
                Origin::Variable(name) if name == layers::PORT => {
                    let port = text.trim_start_matches(layers::PORT_HOST);
                    values.reject("listen", given, format!("expected a port from 0 to 65535, found {port:?}"), None);
                }
                _ => values.reject("listen", given, what, hint),
            },
        }
    }
    // A list whose elements were all refused is empty too, and has been spoken of.
    if let Some(given) = values.given("listen")
        && texts.is_empty()
        && !matches!(&given.raw, Raw::List(elements) if !elements.is_empty())
    {
        values.reject("listen", &given, "expected at least one address", None);
    }
    addresses
}

fn socket_mode(values: &mut Values) -> Option<u32> {
    let given = values.given("socket_mode")?;
    let hint =
        || Some("write the digits of chmod in quotes: \"660\" lets the group connect, \"666\" everybody".to_owned());
    match &given.raw {
        Raw::Text(text) => {
            let mode = listen::parse_mode(text);
            if mode.is_none() {
                let what = format!("{text:?} is not the mode of a socket that somebody can connect to");
                values.reject("socket_mode", &given, what, hint());
            }
            mode
        }
        other => {
            values.reject("socket_mode", &given, format!("expected a text, found {}", other.kind()), hint());
            None
        }
    }
}

/// A path is relative to the project, wherever it was given.
fn python(source: &Source, values: &mut Values) -> Option<PathBuf> {
    let (path, _) = values.text("python")?;
    // A bare name is looked up on PATH by whoever runs it.
    Some(if path.contains('/') { source::clean(&source.project.join(path)) } else { PathBuf::from(path) })
}

/// The variables, and the file that some of them come from.
fn environment(source: &Source, values: &mut Values) -> (BTreeMap<String, String>, Option<PathBuf>) {
    let mut env = BTreeMap::new();
    let mut file = None;
    if let Some((path, given)) = values.text("env_file") {
        let path = source::clean(&source.project.join(path));
        match source::text(&path) {
            Ok(text) => env = env_file::read(&path, &text, &mut values.problems),
            Err(what) => values.reject("env_file", &given, what, None),
        }
        file = Some(path);
    }
    let Some(given) = values.given("env") else { return (env, file) };
    let Raw::Table(entries) = &given.raw else {
        values.reject("env", &given, format!("expected a table of texts, found {}", given.raw.kind()), None);
        return (env, file);
    };
    for (name, entry) in entries {
        let path = format!("env.{name}");
        match &entry.raw {
            Raw::Text(value) if env_file::is_name(name) && !value.contains('\0') => {
                env.insert(name.clone(), value.clone());
            }
            Raw::Text(_) => values.reject(&path, entry, "this cannot be an environment variable", None),
            other => {
                let hint = Some("variables are texts: put the value in quotes".to_owned());
                values.reject(&path, entry, format!("expected a text, found {}", other.kind()), hint);
            }
        }
    }
    (env, file)
}

const SECONDS_30: Duration = Duration::from_secs(30);
const SECONDS_60: Duration = Duration::from_secs(60);

fn limits(values: &mut Values) -> Limits {
    let day = Duration::from_secs(86_400);
    let positive = Duration::from_millis(1)..=day;
    let (notice, grace) = notice(values);
    Limits {
        body: values.size("limits.body").unwrap_or(Bytes::new(10_000_000)),
        time: values.duration("limits.time", positive.clone()).unwrap_or(SECONDS_30),
        queue: values.duration("limits.queue", positive.clone()).unwrap_or(SECONDS_30),
        queue_length: values.number("limits.queue_length", 1..=1_000_000).unwrap_or(10_000),
        in_flight: values.number("limits.in_flight", 1..=1_000_000),
        tunnel: values.duration("limits.tunnel", Duration::from_millis(1)..=365 * day).unwrap_or(SECONDS_60 * 60),
        on_disconnect: values
            .choice("limits.on_disconnect", &[("finish", OnDisconnect::Finish), ("interrupt", OnDisconnect::Interrupt)])
            .unwrap_or(OnDisconnect::Finish),
        requests: values.number("limits.requests", 1..=1_000_000_000),
        age: values.duration("limits.age", Duration::from_secs(1)..=365 * day),
        memory: values.size("limits.memory"),
        idle: values.duration("limits.idle", Duration::from_secs(1)..=day).unwrap_or(SECONDS_60),
        start: values.duration("limits.start", positive).unwrap_or(SECONDS_60),
        drain: values.duration("limits.drain", Duration::ZERO..=day).unwrap_or(SECONDS_30),
        notice,
        grace,
    }
}

/// How long a container goes on accepting when it is told to stop, and how long it has before it is killed.
fn notice(values: &mut Values) -> (Duration, Duration) {
    /// What is left at least, to finish requests and to end.
    const REST: Duration = Duration::from_secs(2);
    let hour = Duration::from_secs(3600);
    let grace = values.duration("limits.grace", Duration::from_secs(3)..=hour).unwrap_or(Duration::from_secs(10));
    let said = values.given("limits.notice").or_else(|| values.given("limits.grace"));
    let usual = Duration::from_secs(2).min(grace - REST);
    let notice = values.duration("limits.notice", Duration::from_millis(200)..=hour).unwrap_or(usual);
    if let Some(said) = said.filter(|_| grace < notice + REST) {
        let (most, grace) = (units::show_duration(grace - REST), units::show_duration(grace));
        let what = format!("expected at most {most}: 2s less than limits.grace, which is {grace}");
        values.reject(
            "limits.notice",
            &said,
            what,
            Some("shorten it, or give the container more time to stop".to_owned()),
        );
    }
    (notice, grace)
}
