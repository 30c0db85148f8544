//! Every key, each kind of difference, and what is never shown.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{
    keys, load,
    source::{Environment, Locate, Overrides},
};

/// Of bcrypt, for the tests.
fn user(name: &str, letter: &str) -> String {
    format!("{name}:$2y$05${}\n", letter.repeat(53))
}

fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("app.py", "app = None\n"),
        ("a.html", "one"),
        ("b.html", "two"),
        ("settings", "A=1\n"),
        ("more", "A=1\n"),
        ("users", &user("ana", "a")),
        ("others", &user("ben", "b")),
    ] {
        fs::write(project.path().join(name), text).unwrap();
    }
    project
}

fn read(project: &Path, text: &str) -> Config {
    fs::write(project.join("tierce.toml"), text).unwrap();
    let locate = Locate { directory: None, file: None, current: project.to_owned(), cores: 2 };
    load(&locate, &Environment::default(), &Overrides::default())
        .unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn lines(old: &str, new: &str) -> Vec<String> {
    let project = project();
    let (old, new) = (read(project.path(), old), read(project.path(), new));
    assert_eq!(differences(&new, &new), []);
    differences(&old, &new).iter().map(ToString::to_string).collect()
}

/// A key; without it or with another value, and with it; all that is said.
type Case<'a> = (&'a str, [&'a str; 2], &'a [&'a str]);

const OF_ALL: &[Case<'_>] = &[
    ("app", ["", "app = 'app:other'"], &["app: app:app → app:other"]),
    (
        "discover",
        ["discover = 'docker'", "upstream = ['http://a:1']"],
        &["upstream: + http://a:1", "discover: docker → off", "docker.socket: /var/run/docker.sock → none"],
    ),
    (
        "docker.socket",
        ["discover = 'docker'", "discover = 'docker'\ndocker.socket = 'd.sock'"],
        &["docker.socket: /var/run/docker.sock → d.sock"],
    ),
    (
        "docker.project",
        ["discover = 'docker'", "discover = 'docker'\ndocker.project = 'shop'"],
        &["docker.project: none → shop"],
    ),
    (
        "upstream",
        ["upstream = ['http://a:1', 'uwsgi:run/b']", "upstream = ['http://a:1', 'https://c']"],
        &["upstream: - uwsgi:run/b", "upstream: + https://c:443"],
    ),
    ("health.path", ["", "health.path = '/up'"], &["health.path: none → /up"]),
    ("health.every", ["", "health.every = '5s'"], &["health.every: 2s → 5s"]),
    ("health.fail", ["", "health.fail = 5"], &["health.fail: 3 → 5"]),
    ("health.rise", ["", "health.rise = 5"], &["health.rise: 2 → 5"]),
    ("retry_on", ["retry_on = ['503']", "retry_on = ['timeout']"], &["retry_on: - 503", "retry_on: + timeout"]),
    ("balance", ["", "balance = 'round_robin'"], &["balance: least_outstanding → round_robin"]),
    (
        "hash_on",
        ["balance = 'consistent_hash'", "balance = 'consistent_hash'\nhash_on = 'header:X-A'"],
        &["hash_on: client → header:X-A"],
    ),
    ("sticky", ["sticky = true", "sticky = { cookie = 'n' }"], &["sticky: true → { cookie = \"n\" }"]),
    ("slow_start", ["", "slow_start = '10s'"], &["slow_start: 0s → 10s"]),
    ("name", ["", "name = 'shop'"], &["name: web → shop"]),
    ("nodes", ["nodes = 2", "nodes = 5"], &["nodes: 2 → 5"]),
    ("workers", ["", "workers = '2..8'"], &["workers: 2 → 2..8"]),
    ("threads", ["", "threads = 1"], &["threads: 256 → 1"]),
    ("cores", ["", "cores = 1"], &["cores: 2 → 1"]),
    (
        "listen",
        ["listen = [':1', 'unix:run/a']", "listen = ['unix:run/a', '127.0.0.1:9090']"],
        &["listen: - http://0.0.0.0:1", "listen: + http://127.0.0.1:9090"],
    ),
    ("socket_mode", ["listen = 'unix:a'", "listen = 'unix:a'\nsocket_mode = '660'"], &["socket_mode: none → 660"]),
    ("admin", ["", "admin = '127.0.0.1:9180'"], &["admin: admin.sock → http://127.0.0.1:9180"]),
    (
        "tls",
        [
            "tls = { certificate = 'a.pem', key = 'a.key' }",
            "tls = [{ certificate = 'b.pem', key = 'b.key' }, { certificate = 'a.pem', key = 'c.key' }]",
        ],
        &["tls: + b.pem", "tls a.pem: key: a.key → c.key"],
    ),
    ("https_redirect", ["", "https_redirect = 443"], &["https_redirect: false → 443"]),
    (
        "trusted_proxies",
        ["trusted_proxies = ['10.0.0.1', 'unix']", "trusted_proxies = ['10.0.0.0/8', 'unix']"],
        &["trusted_proxies: - 10.0.0.1", "trusted_proxies: + 10.0.0.0/8"],
    ),
    (
        "proxy_protocol",
        ["trusted_proxies = ['unix']", "trusted_proxies = ['unix']\nproxy_protocol = true"],
        &["proxy_protocol: false → true"],
    ),
    ("static", ["", "static = { '/static' = 'files/' }"], &["static.\"/static\": none → files"]),
    ("internal", ["internal = { '/x' = '/srv' }", ""], &["internal.\"/x\": /srv → none"]),
    ("route", ["", "[[route]]\nrespond = 404"], &["[[route]]: + path = \"/\""]),
    ("rate_limit", ["", "rate_limit = '100/min'"], &["rate_limit: none → 100/min"]),
    ("rate_limit.rate", ["rate_limit = '10/s'", "rate_limit.rate = '20/h'"], &["rate_limit: 10/s → 20/h"]),
    (
        "rate_limit.burst",
        ["rate_limit = '10/s'", "rate_limit = { rate = '10/s', burst = 5 }"],
        &["rate_limit: 10/s → 10/s, burst 5"],
    ),
    (
        "rate_limit.by",
        ["rate_limit = '10/s'", "rate_limit = { rate = '10/s', by = 'header:X-A' }"],
        &["rate_limit: 10/s → 10/s, by header:X-A"],
    ),
    ("maintenance", ["", "maintenance = true"], &["maintenance: false → true"]),
    (
        "maintenance.page",
        ["maintenance.page = 'a.html'", "maintenance.page = 'b.html'"],
        &["maintenance.page: changed"],
    ),
    (
        "maintenance.retry_after",
        ["maintenance = true", "maintenance.retry_after = '5m'"],
        &["maintenance.retry_after: 1m → 5m"],
    ),
    ("maintenance.allow", ["maintenance = true", "maintenance.allow = 'unix'"], &["maintenance.allow: + unix"]),
    (
        "error_pages",
        ["error_pages = { 5xx = 'a.html', 404 = 'a.html' }", "error_pages = { 5xx = 'b.html', 502 = 'a.html' }"],
        &["error_pages.404: removed", "error_pages.502: added", "error_pages.5xx: changed"],
    ),
    ("python", ["", "python = '.venv/bin/python'"], &["python: none → .venv/bin/python"]),
    ("pythonpath", ["", "pythonpath = ['lib']"], &["pythonpath: + lib"]),
    (
        "env",
        ["env = { A = 'secret', B = 'secret' }", "env = { A = 'hidden', C = 'secret' }"],
        &["env.A: changed", "env.B: removed", "env.C: added"],
    ),
    ("env_file", ["env_file = 'settings'", "env_file = 'more'"], &["env_file: settings → more"]),
    ("user", ["", "user = 'www-data'"], &["user: none → www-data"]),
    ("expose", ["", "expose = true"], &["expose: false → true"]),
    ("server_timing", ["", "server_timing = true"], &["server_timing: false → true"]),
    ("traceparent", ["", "traceparent = 'pass'"], &["traceparent: make → pass"]),
    ("compress", ["", "compress = true"], &["compress: false → true"]),
    ("limits.body", ["", "limits.body = '64KiB'"], &["limits.body: 10MB → 64KiB"]),
    ("limits.time", ["", "limits.time = '5s'"], &["limits.time: 30s → 5s"]),
    ("limits.queue", ["", "limits.queue = '10s'"], &["limits.queue: 30s → 10s"]),
    ("limits.queue_length", ["", "limits.queue_length = 5"], &["limits.queue_length: 10000 → 5"]),
    ("limits.in_flight", ["", "limits.in_flight = 5"], &["limits.in_flight: none → 5"]),
    ("limits.tunnel", ["", "limits.tunnel = '5m'"], &["limits.tunnel: 1h → 5m"]),
    ("limits.response", ["", "limits.response = '5GB'"], &["limits.response: none → 5GB"]),
    ("limits.client_in_flight", ["", "limits.client_in_flight = 5"], &["limits.client_in_flight: none → 5"]),
    ("limits.client_connections", ["", "limits.client_connections = 5"], &["limits.client_connections: none → 5"]),
    ("limits.on_disconnect", ["", "limits.on_disconnect = 'interrupt'"], &["limits.on_disconnect: finish → interrupt"]),
    ("limits.requests", ["", "limits.requests = 5"], &["limits.requests: none → 5"]),
    ("limits.age", ["", "limits.age = '1h'"], &["limits.age: none → 1h"]),
    ("limits.memory", ["limits.memory = '512MB'", ""], &["limits.memory: 512MB → none"]),
    ("limits.idle", ["", "limits.idle = '5m'"], &["limits.idle: 1m → 5m"]),
    ("limits.start", ["", "limits.start = '5m'"], &["limits.start: 1m → 5m"]),
    ("limits.drain", ["", "limits.drain = '0s'"], &["limits.drain: 30s → 0s"]),
    ("limits.notice", ["", "limits.notice = '5s'"], &["limits.notice: 2s → 5s"]),
    ("limits.grace", ["", "limits.grace = '30s'"], &["limits.grace: 10s → 30s"]),
    ("log.access", ["", "log.access = 'json'"], &["log.access: auto → json"]),
];

const OF_A_ROUTE: &[Case<'_>] = &[
    ("route.host", ["", "host = ['a.b', '*.c']"], &["- path = \"/\"", "+ host = [\"a.b\", \"*.c\"]"]),
    ("route.path", ["path = '/a'", "path = '/b'"], &["- path = \"/a\"", "+ path = \"/b\""]),
    (
        "route.method",
        ["path = '/a'", "path = '/a'\nmethod = 'GET'"],
        &["- path = \"/a\"", "+ path = \"/a\", method = \"GET\""],
    ),
    (
        "route.header",
        ["header = { X-Token = 'secret' }", "header = { X-Token = 'hidden' }"],
        &["header = { X-Token }: header.X-Token: changed"],
    ),
    (
        "route.allow",
        ["", "allow = ['10.0.0.0/8', 'unix']"],
        &["path = \"/\": allow: - everybody", "path = \"/\": allow: + 10.0.0.0/8", "path = \"/\": allow: + unix"],
    ),
    ("route.deny", ["", "deny = ['10.0.0.0/8']"], &["path = \"/\": deny: + 10.0.0.0/8"]),
    ("route.basic_auth", ["basic_auth = 'users'", "basic_auth = 'others'"], &["path = \"/\": basic_auth: changed"]),
    ("route.limits.body", ["", "limits.body = '1kB'"], &["path = \"/\": limits.body: none → 1kB"]),
    ("route.limits.time", ["", "limits.time = '1s'"], &["path = \"/\": limits.time: none → 1s"]),
    ("route.limits.response", ["", "limits.response = '1kB'"], &["path = \"/\": limits.response: none → 1kB"]),
    ("route.limits.queue", ["", "limits.queue = '1s'"], &["path = \"/\": limits.queue: none → 1s"]),
    ("route.limits.in_flight", ["", "limits.in_flight = 1"], &["path = \"/\": limits.in_flight: none → 1"]),
    (
        "route.limits.queue_length",
        ["limits.in_flight = 1", "limits = { in_flight = 1, queue_length = 2 }"],
        &["path = \"/\": limits.queue_length: none → 2"],
    ),
    ("route.rate_limit", ["", "rate_limit = 'off'"], &["path = \"/\": rate_limit: none → off"]),
    ("route.rate_limit.rate", ["", "rate_limit.rate = '1/s'"], &["path = \"/\": rate_limit: none → 1/s"]),
    (
        "route.rate_limit.burst",
        ["rate_limit = '1/s'", "rate_limit = { rate = '60/min', burst = 9 }"],
        &["path = \"/\": rate_limit: 1/s → 1/s, burst 9"],
    ),
    (
        "route.rate_limit.by",
        ["rate_limit = '1/s'", "rate_limit = { rate = '1/s', by = 'header:X-A' }"],
        &["path = \"/\": rate_limit: 1/s → 1/s, by header:X-A"],
    ),
    ("route.maintenance", ["maintenance = false", "maintenance = true"], &["path = \"/\": maintenance: false → true"]),
    (
        "route.maintenance.page",
        ["maintenance = true", "maintenance.page = 'a.html'"],
        &["path = \"/\": maintenance.page: added"],
    ),
    (
        "route.maintenance.retry_after",
        ["maintenance = true", "maintenance.retry_after = '5m'"],
        &["path = \"/\": maintenance.retry_after: 1m → 5m"],
    ),
    (
        "route.maintenance.allow",
        ["maintenance.allow = ['unix', '::1']", "maintenance.allow = ['::1']"],
        &["path = \"/\": maintenance.allow: - unix"],
    ),
    ("route.compress", ["", "compress = false"], &["path = \"/\": compress: none → false"]),
    (
        "route.set_request_header",
        ["set_request_header = { Authorization = 'secret' }", "set_request_header = { Authorization = 'hidden' }"],
        &["path = \"/\": set_request_header.Authorization: changed"],
    ),
    (
        "route.remove_request_header",
        ["", "remove_request_header = ['X-A']"],
        &["path = \"/\": remove_request_header: + X-A"],
    ),
    ("route.set_header", ["set_header = { X-A = 'b' }", ""], &["path = \"/\": set_header.X-A: removed"]),
    ("route.remove_header", ["", "remove_header = ['X-A']"], &["path = \"/\": remove_header: + X-A"]),
    (
        "route.upstream",
        [
            "path = '/a'\nupstream = ['http://a:1']",
            "path = '/a'\nupstream = ['http://b:1', { url = 'http://a:1', weight = 3 }]",
        ],
        &["path = \"/a\": upstream: + http://b:1", "path = \"/a\": upstream http://a:1: weight: 1 → 3"],
    ),
    (
        "route.name",
        ["upstream = ['http://a:1']\nname = 'a'", "upstream = ['http://a:1']\nname = 'b'"],
        &["path = \"/\": name: a → b"],
    ),
    ("route.redirect", ["", "redirect = '/a{rest}'"], &["path = \"/\": redirect: none → /a{rest} (302)"]),
    (
        "route.redirect.to",
        ["redirect = '/a'", "redirect.to = 'https://{host}{uri}'"],
        &["path = \"/\": redirect: /a (302) → https://{host}{uri} (302)"],
    ),
    (
        "route.redirect.status",
        ["redirect = '/a'", "redirect = { to = '/a', status = 308 }"],
        &["path = \"/\": redirect: /a (302) → /a (308)"],
    ),
    ("route.respond", ["respond = 404", "respond = 410"], &["path = \"/\": respond: 404 → 410"]),
    ("route.respond.status", ["respond = 404", "respond.status = 410"], &["path = \"/\": respond: 404 → 410"]),
    (
        "route.respond.body",
        ["respond = { body = 'a' }", "respond = { body = 'b' }"],
        &["path = \"/\": respond.body: changed"],
    ),
    (
        "route.respond.type",
        ["respond = { type = 'text/a' }", "respond = { type = 'text/b' }"],
        &["path = \"/\": respond.type: text/a → text/b"],
    ),
    ("route.static", ["", "static = 'files'"], &["path = \"/\": static: none → files"]),
    (
        "route.fallback",
        ["static = 'files'", "static = 'files'\nfallback = 'index.html'"],
        &["path = \"/\": fallback: none → index.html"],
    ),
    (
        "route.strip_prefix",
        ["path = '/a'", "path = '/a'\nstrip_prefix = true"],
        &["path = \"/a\": strip_prefix: false → true"],
    ),
    (
        "route.rewrite",
        ["path = '/a'\nrewrite = '/b'", "path = '/a'\nrewrite = '/c'"],
        &["path = \"/a\": rewrite: /b → /c"],
    ),
];

/// Decides over what is valid, and is nothing by itself.
const NOT_KEPT: &[&str] = &["admin_public"];

#[test]
fn every_key_is_told_of() {
    for (key, [old, new], expected) in OF_ALL {
        assert_eq!(lines(old, new), *expected, "{key}");
    }
    for (key, [old, new], expected) in OF_A_ROUTE {
        let of_a_route = |text: &str| format!("[[route]]\n{text}");
        let expected: Vec<_> = expected
            .iter()
            .map(|line| format!("[[route]]{}{line}", if line.starts_with(['+', '-']) { ": " } else { " " }))
            .collect();
        assert_eq!(lines(&of_a_route(old), &of_a_route(new)), expected, "{key}");
    }
    let tried: BTreeSet<_> =
        OF_ALL.iter().chain(OF_A_ROUTE).map(|(key, ..)| *key).chain(NOT_KEPT.iter().copied()).collect();
    let known: BTreeSet<_> = keys::all().chain(keys::of_routes()).map(|key| key.path).collect();
    assert_eq!(tried, known, "each key of the reference has a case above, and no other");
}

#[test]
fn all_of_an_upstream_is_told_of() {
    let plain = "upstream = [{ url = 'https://a' }]";
    let all = "upstream = [{ url = 'https://a', weight = 2, backup = true, max_concurrency = 9, ca = 'ca.pem', \
               server_name = 'b', certificate = 'c.pem', key = '/d.key', proxy_protocol = 'v2' }]";
    let of = |line: &str| format!("upstream https://a:443: {line}");
    assert_eq!(
        lines(plain, all),
        [
            "weight: 1 → 2",
            "backup: false → true",
            "max_concurrency: 1024 → 9",
            "proxy_protocol: none → v2",
            "ca: none → ca.pem",
            "server_name: a → b",
            "certificate: none → c.pem",
            "key: none → /d.key",
        ]
        .map(of)
    );
    assert_eq!(lines(plain, "upstream = [{ url = 'https://a', verify = false }]"), [of("verify: true → false")]);
}

#[test]
fn order_counts() {
    let routes = |paths: &[&str]| {
        paths.iter().map(|path| format!("[[route]]\npath = '{path}'\nlimits.body = '1kB'\n")).collect::<String>()
    };
    let of = |old: &[&str], new: &[&str]| lines(&routes(old), &routes(new));
    let moved = |what: &str, to: &str| format!("[[route]] path = \"{what}\": moved {to}");
    assert_eq!(of(&["/a", "/b", "/c"], &["/c", "/a", "/b"]), [moved("/c", "to the front")]);
    assert_eq!(of(&["/a", "/b", "/c"], &["/b", "/c", "/a"]), [moved("/a", "behind path = \"/c\"")]);
    // What comes and goes moves nothing.
    assert_eq!(
        of(&["/a", "/b"], &["/x", "/b", "/y"]),
        ["[[route]]: - path = \"/a\"", "[[route]]: + path = \"/x\"", "[[route]]: + path = \"/y\""]
    );
    let first = "listen = [':1', ':2', ':3']";
    assert_eq!(lines(first, "listen = [':2', ':3', ':1']"), ["listen http://0.0.0.0:1: moved behind http://0.0.0.0:3"]);
}

#[test]
fn routes_that_are_called_the_same_are_numbered() {
    let route = |value: &str| format!("[[route]]\nheader = {{ X-A = '{value}' }}\nrespond = 404\n");
    let (old, new) = (route("1") + &route("2"), route("1") + &route("3"));
    assert_eq!(lines(&old, &new), ["[[route]] header = { X-A } (2): header.X-A: changed"]);
    assert_eq!(lines(&new, &route("1")), ["[[route]]: - header = { X-A } (2)"]);
}

#[test]
fn where_and_how_it_is_written_is_no_difference() {
    let table =
        "\n\n\n# comment\ntls = { certificate = 'a.pem', key = 'a.key' }\nnodes = 1\nlimits.queue = '30000ms'\n";
    assert_eq!(lines("tls = [{ certificate = './a.pem', key = 'a.key' }]", table), [""; 0]);
}

#[test]
fn nobody_may_come_is_not_everybody_may() {
    let old = "[[route]]\npath = '/a'";
    let of = |line: &str| format!("[[route]] path = \"/a\": allow: {line}");
    assert_eq!(lines(old, "[[route]]\npath = '/a'\nallow = []"), [of("- everybody"), of("+ nobody")]);
}

#[test]
fn another_file_and_the_variables_of_a_file_are_told_of() {
    let project = project();
    let old = read(project.path(), "env_file = 'settings'");
    fs::write(project.path().join("settings"), "A=secret\nB=2\n").unwrap();
    fs::rename(project.path().join("tierce.toml"), project.path().join("other.toml")).unwrap();
    let locate =
        Locate { directory: None, file: Some("other.toml".into()), current: project.path().to_owned(), cores: 2 };
    let new = load(&locate, &Environment::default(), &Overrides::default()).unwrap();
    let lines: Vec<_> = differences(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["file: tierce.toml → other.toml", "env.A: changed", "env.B: added"]);
}

#[test]
fn no_secret_is_in_it() {
    let project = project();
    let text = |word: &str| {
        fs::write(project.path().join("users"), user("ana", word)).unwrap();
        fs::write(project.path().join("a.html"), word.repeat(53)).unwrap();
        let secret = word.repeat(53);
        format!(
            "env = {{ A = '{secret}' }}\nerror_pages = {{ 5xx = 'a.html' }}\nmaintenance.page = 'a.html'\n[[route]]\n\
             basic_auth = 'users'\nheader = {{ X-A = '{secret}' }}\nset_request_header = {{ X-A = '{secret}' }}\n\
             set_header = {{ X-A = '{secret}' }}\nrespond = {{ body = '{secret}' }}\n",
        )
    };
    let old = read(project.path(), &text("q"));
    let new = read(project.path(), &text("z"));
    let found = differences(&old, &new);
    assert_eq!(found.len(), 8, "{found:?}");
    let shown = format!("{found:?}");
    assert!(!shown.contains("qqq") && !shown.contains("zzz") && !shown.contains("ana"), "{shown}");
    assert!(found.iter().all(|difference| difference.change == Change::Hidden(Hidden::Changed)), "{shown}");
}
