//! Other servers that answer: `http://HOST:PORT`, `https://HOST`, `unix:PATH`, `uwsgi://HOST:PORT`, `uwsgi:PATH`, or a table with
//! one of these and what else is to be said.

mod secure; // TLS and the PROXY protocol on the way there

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    listen::{self, Wrong},
    model::{Discover, Health, Listen, Protocol, Upstream, UpstreamAddress, UpstreamRole, UpstreamTls},
    read::{Given, Raw},
    upstream::secure::Way,
    values::Values,
};

/// Beyond this an upstream gets no more at a time, unless it is told otherwise.
const MAX_CONCURRENCY: u32 = 1024;

/// Where the engine listens unless it is told otherwise.
const DOCKER: &str = "/var/run/docker.sock";

/// The key `upstream`; `None` when it was not given.
pub(crate) fn upstreams(values: &mut Values, project: &Path) -> Option<Vec<Upstream>> {
    let given = values.given("upstream")?;
    let elements = match &given.raw {
        Raw::Text(text) if given.origin.is_word() => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| Given { raw: Raw::Text(part.to_owned()), origin: given.origin.clone() }).collect()
        }
        Raw::Text(_) | Raw::Table(_) => vec![given.clone()],
        Raw::List(elements) => elements.clone(),
        other => {
            let what = format!("expected a list of URLs or tables, found {}", other.kind());
            values.reject("upstream", &given, what, None);
            return Some(Vec::new());
        }
    };
    if elements.is_empty() {
        values.reject("upstream", &given, "expected at least one upstream", None);
    }
    let mut all: Vec<Upstream> = Vec::new();
    for element in &elements {
        let Some(upstream) = one(values, element, project) else { continue };
        if all.iter().any(|known| known.address == upstream.address) {
            let hint = Some("give it a `weight` instead".to_owned());
            values.reject("upstream", element, format!("{} is there twice", upstream.address), hint);
        } else {
            all.push(upstream);
        }
    }
    Some(all)
}

/// The keys `discover` and `docker`.
pub(crate) fn discover(values: &mut Values, project: &Path) -> Option<Discover> {
    let given = values.given("discover");
    let chosen = values.choice("discover", &[("docker", true), ("off", false)]).unwrap_or(false);
    let socket = values.text("docker.socket").map_or_else(|| PathBuf::from(DOCKER), |(path, _)| project.join(path));
    let of = values.text("docker.project").map(|(name, _)| name);
    let given = given.filter(|_| chosen)?;
    if values.given("upstream").is_some() {
        let hint = "containers are found, upstreams are named: leave one of the two keys out";
        values.reject("discover", &given, "there are `upstream`s too", Some(hint.to_owned()));
    }
    Some(Discover { socket, project: of })
}

/// How upstreams are probed.
pub(crate) fn health(values: &mut Values) -> Health {
    let path = values.text("health.path").and_then(|(path, given)| {
        let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain {
            let hint = Some("write a path like \"/healthz\"".to_owned());
            values.reject("health.path", &given, format!("{path:?} is not a path"), hint);
        }
        plain.then_some(path)
    });
    let often = Duration::from_millis(50)..=Duration::from_secs(3600);
    Health {
        path,
        every: values.duration("health.every", often).unwrap_or(Duration::from_secs(2)),
        fail: values.number("health.fail", 1..=100).unwrap_or(3),
        rise: values.number("health.rise", 1..=100).unwrap_or(2),
    }
}

fn one(values: &mut Values, given: &Given, project: &Path) -> Option<Upstream> {
    let entries = match &given.raw {
        Raw::Text(text) => {
            let (protocol, address) = address(values, given, text, project)?;
            let tls = tls(values, given, Way::default().tls(&address, protocol))?;
            let (role, max_concurrency, proxy_protocol) = (UpstreamRole::Usual, MAX_CONCURRENCY, None);
            return Some(Upstream {
                address,
                container: None,
                protocol,
                weight: 1,
                role,
                max_concurrency,
                tls,
                proxy_protocol,
            });
        }
        Raw::Table(entries) => entries,
        other => {
            let what = format!("expected a URL or a table, found {}", other.kind());
            values.reject("upstream", given, what, None);
            return None;
        }
    };
    let (mut at, mut weight, mut role, mut most) = (None, 1, UpstreamRole::Usual, MAX_CONCURRENCY);
    let mut way = Way::default();
    for (name, entry) in entries {
        match way.take(name, entry, project) {
            Some(Ok(())) => continue,
            Some(Err(expected)) => {
                values.reject(&format!("upstream.{name}"), entry, expected, None);
                return None;
            }
            None => {}
        }
        match (name.as_str(), &entry.raw) {
            ("url", Raw::Text(text)) => at = Some(address(values, entry, text, project)?),
            ("weight", Raw::Number(number)) if (1..=1000).contains(number) => weight = small(*number),
            ("max_concurrency", Raw::Number(number)) if (1..=1_000_000).contains(number) => most = small(*number),
            ("backup", Raw::Flag(true)) => role = UpstreamRole::Backup,
            ("backup", Raw::Flag(false)) => {}
            (name, _) => {
                let expected = match name {
                    "url" => "expected a URL",
                    "weight" => "expected a number from 1 to 1000",
                    "max_concurrency" => "expected a number from 1 to 1000000",
                    "backup" => "expected true or false",
                    _ => {
                        "unknown key; an upstream has `url`, `weight`, `backup`, `max_concurrency`, `proxy_protocol`, and for \
                         https `ca`, `server_name`, `verify`, `certificate` and `key`"
                    }
                };
                values.reject(&format!("upstream.{name}"), entry, expected, secure::hint(name));
                return None;
            }
        }
    }
    let Some((protocol, address)) = at else {
        let hint = Some("write { url = \"http://HOST:PORT\" }".to_owned());
        values.reject("upstream", given, "the `url` is missing", hint);
        return None;
    };
    let proxy_protocol = way.proxy_protocol;
    let tls = tls(values, given, way.tls(&address, protocol))?;
    Some(Upstream { address, container: None, protocol, weight, role, max_concurrency: most, tls, proxy_protocol })
}

fn small(number: i64) -> u32 {
    u32::try_from(number).expect("its range was checked")
}

fn address(values: &mut Values, given: &Given, text: &str, project: &Path) -> Option<(Protocol, UpstreamAddress)> {
    parse(text, project).map_err(|(what, hint)| values.reject("upstream", given, what, hint)).ok()
}

fn tls(values: &mut Values, given: &Given, read: Result<Option<UpstreamTls>, Wrong>) -> Option<Option<UpstreamTls>> {
    read.map_err(|(what, hint)| values.reject("upstream", given, what, hint)).ok()
}

/// The same words as in `listen`, but that it has to be somewhere: no wildcard, no port 0, and nothing of a path.
fn parse(text: &str, project: &Path) -> Result<(Protocol, UpstreamAddress), Wrong> {
    let known = "write http://HOST:PORT, https://HOST or unix:PATH; uwsgi://HOST:PORT or uwsgi:PATH for uWSGI";
    let hint = || Some(known.to_owned());
    let is_socket = text.starts_with("unix:") || text.starts_with("uwsgi:") && !text.starts_with("uwsgi://");
    let schemes = ["http://", "https://", "uwsgi://"];
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    if rest.trim_end_matches('/').contains('/') && !is_socket {
        let what = format!("{text:?}: the path of a request is passed on as it is, an upstream has none");
        return Err((what, hint()));
    }
    match listen::parse(text, project) {
        Ok(Listen::Unix { path, protocol, .. }) => Ok((protocol, UpstreamAddress::Unix { path })),
        Ok(Listen::Tcp { host, port, protocol }) if port != 0 && host != "0.0.0.0" => {
            Ok((protocol, UpstreamAddress::Tcp { host, port }))
        }
        Ok(_) => Err((format!("{text:?} is not where a server can be"), hint())),
        Err((what, own)) => Err((what, if text.starts_with("uwsgi:") { own } else { hint() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        use Protocol::{Http, Https, Uwsgi};
        for (text, protocol, expected) in [
            ("http://127.0.0.1:8190", Http, "127.0.0.1:8190"),
            ("http://app.internal/", Http, "app.internal:80"),
            ("127.0.0.1:1", Http, "127.0.0.1:1"),
            ("http://[::1]:81", Http, "[::1]:81"),
            ("https://app.internal", Https, "app.internal:443"),
            ("https://app.internal:8443/", Https, "app.internal:8443"),
            ("unix:run/app.sock", Http, "unix:/p/run/app.sock"),
            ("uwsgi://app.internal:3031", Uwsgi, "app.internal:3031"),
            ("uwsgi://[::1]:3031/", Uwsgi, "[::1]:3031"),
            ("uwsgi:run/app.sock", Uwsgi, "unix:/p/run/app.sock"),
            ("uwsgi:/run/app.sock", Uwsgi, "unix:/run/app.sock"),
        ] {
            let parsed = parse(text, Path::new("/p")).map(|(protocol, address)| (protocol, address.to_string()));
            assert_eq!(parsed, Ok((protocol, expected.to_owned())), "{text}");
        }
        for text in [
            "https://",
            "https://a/b",
            "http://a/b",
            "http://a:0",
            ":80",
            "http://:80",
            "uwsgi://a",
            "uwsgi://a:0",
            "uwsgi://:3031",
            "uwsgi://a:1/b",
            "uwsgi:a:3031",
            "uwsgi:",
            "unix:",
            "a",
            "",
            "http://a b",
        ] {
            assert!(parse(text, Path::new("/p")).is_err(), "{text}");
        }
    }
}
