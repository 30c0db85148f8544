//! Certificates, the redirect to https, and the PROXY protocol: what stands before the first request of a connection.

use std::path::PathBuf;

use crate::{
    model::{CertificateFiles, Listen, Protocol, ProxyProtocol, Tls},
    problem::Problem,
    read::{Given, Raw},
    source::{self, Source},
    trusted::TrustedProxies,
    values::Values,
};

const FORM: &str = "write tls = { certificate = \"cert.pem\", key = \"key.pem\" }, or a list of such";

/// The certificates of the listeners. Without any, `https://localhost` has the one of a local authority.
pub(crate) fn tls(source: &Source, values: &mut Values) -> Option<Tls> {
    let Some(given) = values.given("tls") else { return Some(Tls::Local) };
    let hint = || Some(FORM.to_owned());
    let tables: Vec<&Given> = match &given.raw {
        Raw::Table(_) => vec![&given],
        Raw::List(elements) if !elements.is_empty() => elements.iter().collect(),
        Raw::List(_) => {
            values.reject("tls", &given, "expected at least one certificate", hint());
            return None;
        }
        other => {
            values.reject("tls", &given, format!("expected a table, found {}", other.kind()), hint());
            return None;
        }
    };
    let files: Vec<_> = tables.into_iter().filter_map(|table| files(source, values, table)).collect();
    Some(Tls::Files(files))
}

fn files(source: &Source, values: &mut Values, table: &Given) -> Option<CertificateFiles> {
    let Raw::Table(entries) = &table.raw else {
        let what = format!("expected a table, found {}", table.raw.kind());
        values.reject("tls", table, what, Some(FORM.to_owned()));
        return None;
    };
    let (mut certificate, mut key) = (None, None);
    for (name, entry) in entries {
        let path = format!("tls.{name}");
        let file = match name.as_str() {
            "certificate" => &mut certificate,
            "key" => &mut key,
            _ => {
                values.reject(&path, entry, "unknown key", Some(FORM.to_owned()));
                continue;
            }
        };
        *file = path_of(source, values, &path, entry);
    }
    let missing = [("certificate", &certificate), ("key", &key)];
    for (name, _) in missing.iter().filter(|(name, _)| !entries.iter().any(|(given, _)| given == name)) {
        values.reject("tls", table, format!("`{name}` is missing"), Some(FORM.to_owned()));
    }
    Some(CertificateFiles { certificate: certificate?, key: key?, place: table.origin.shown() })
}

fn path_of(source: &Source, values: &mut Values, path: &str, entry: &Given) -> Option<PathBuf> {
    match &entry.raw {
        Raw::Text(text) if !text.is_empty() && !text.contains('\0') => Some(source::clean(&source.project.join(text))),
        Raw::Text(_) => {
            values.reject(path, entry, "this is not the path of a file", None);
            None
        }
        other => {
            values.reject(path, entry, format!("expected a text, found {}", other.kind()), None);
            None
        }
    }
}

/// Why an address cannot be served without a certificate of one's own: nobody would trust another.
pub(crate) fn needs_certificate(address: &Listen, tls: Option<&Tls>) -> bool {
    let Listen::Tcp { host, protocol: Protocol::Https, .. } = address else { return false };
    let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    tls == Some(&Tls::Local) && !is_local
}

/// The port of https that plain requests are sent to.
pub(crate) fn https_redirect(values: &mut Values, listen: &[Listen]) -> Option<u16> {
    const PATH: &str = "https_redirect";
    let given = values.given(PATH)?;
    let word = match &given.raw {
        Raw::Flag(false) => return None,
        Raw::Flag(true) => None,
        Raw::Number(number) => Some(number.to_string()),
        Raw::Text(text) if given.origin.is_word() => match text.as_str() {
            "false" => return None,
            "true" => None,
            text => Some(text.to_owned()),
        },
        other => Some(other.kind().to_owned()),
    };
    if let Some(word) = word {
        let port = word.parse().ok().filter(|port| *port != 0);
        if port.is_none() {
            let what = format!("expected true, false or the port of https as clients see it, found {word}");
            values.reject(PATH, &given, what, None);
        }
        return port;
    }
    let port = listen.iter().find_map(|address| match address {
        Listen::Tcp { port, protocol: Protocol::Https, .. } => Some(*port),
        _ => None,
    });
    if port.is_none_or(|port| port == 0) {
        let hint = "add an https:// address to `listen`, or write the port: https_redirect = 443";
        values.reject(PATH, &given, "`listen` has no https port to send clients to", Some(hint.to_owned()));
    }
    port
}

/// Whether connections begin with a header of the PROXY protocol. Without anybody who is trusted none could be served.
pub(crate) fn proxy_protocol(values: &mut Values, trusted: &TrustedProxies) -> ProxyProtocol {
    const PATH: &str = "proxy_protocol";
    if !values.flag(PATH).unwrap_or(false) {
        return ProxyProtocol::Unused;
    }
    if let Some(given) = values.given(PATH)
        && trusted.is_empty()
        && values.given("trusted_proxies").is_none()
    {
        let hint = "write the addresses of the proxies that send it: trusted_proxies = [\"10.0.0.0/8\"]";
        values.reject(PATH, &given, "nobody is trusted to send it", Some(hint.to_owned()));
    }
    ProxyProtocol::Required
}

/// What is said of an address that has no certificate.
pub(crate) fn without_certificate(given: &Given, address: &Listen) -> Problem {
    let problem = Problem::new(format!("`listen`: {address} needs a certificate"));
    let place = match &given.origin {
        crate::read::Origin::File(place) => Some(place.clone()),
        _ => None,
    };
    problem.at(place).hint(FORM)
}
