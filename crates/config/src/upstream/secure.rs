//! What may be said of the way to an upstream: TLS, and the PROXY protocol's header.
//!
//! Invariant: whatever stands beside `http://` or a socket and would be for TLS only is refused, so that nobody believes that
//! something is encrypted or verified which is not.

use std::path::{Path, PathBuf};

use crate::{
    listen::Wrong,
    model::{CertificateFiles, Protocol, ProxyVersion, UpstreamAddress, UpstreamTls, UpstreamTrust},
    read::{Given, Raw},
    source,
};

/// Keys that mean nothing without TLS.
const OF_TLS: &[&str] = &["ca", "server_name", "verify", "certificate", "key"];

/// Names that users bring along, and what to write here.
const FOREIGN: &[(&str, &str)] = &[
    ("ssl", "write `url = \"https://HOST:PORT\"`"),
    ("tls", "write `url = \"https://HOST:PORT\"`"),
    ("ca-file", "write `ca`"),
    ("ca_file", "write `ca`"),
    ("rootCAs", "write `ca`"),
    ("proxy_ssl_trusted_certificate", "write `ca`"),
    ("tls_trust_pool", "write `ca`"),
    ("sni", "write `server_name`"),
    ("serverName", "write `server_name`"),
    ("proxy_ssl_name", "write `server_name`"),
    (
        "proxy_ssl_server_name",
        "not needed: the name is always sent; write `server_name` if it is another than the host",
    ),
    ("tls_server_name", "write `server_name`"),
    ("proxy_ssl_verify", "not needed: certificates are verified, unless `verify = false`"),
    (
        "insecureSkipVerify",
        "write `verify = false`, or better `ca`: anybody can pretend to be a server that is not verified",
    ),
    (
        "tls_insecure_skip_verify",
        "write `verify = false`, or better `ca`: anybody can pretend to be a server that is not verified",
    ),
    ("crt", "write `certificate` and `key`"),
    ("cert", "write `certificate` and `key`"),
    ("proxy_ssl_certificate", "write `certificate`"),
    ("proxy_ssl_certificate_key", "write `key`"),
    ("tls_client_auth", "write `certificate` and `key`"),
    ("send-proxy", "write `proxy_protocol = \"v1\"`"),
    ("send-proxy-v2", "write `proxy_protocol = \"v2\"`"),
    ("resolvers", "not needed: names are looked up again when their records have grown old"),
];

/// What a name of another program is here.
pub(super) fn hint(name: &str) -> Option<String> {
    FOREIGN.iter().find(|(foreign, _)| *foreign == name).map(|(_, hint)| (*hint).to_owned())
}

/// What a table says of the way, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Way {
    ca: Option<PathBuf>,
    server_name: Option<String>,
    verify: Option<bool>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    pub(super) proxy_protocol: Option<ProxyVersion>,
}

impl Way {
    /// Takes a key that is about the way. `None`: it is not. `Err` says what was expected.
    pub(super) fn take(&mut self, name: &str, entry: &Given, project: &Path) -> Option<Result<(), &'static str>> {
        let file = match name {
            "ca" => &mut self.ca,
            "certificate" => &mut self.certificate,
            "key" => &mut self.key,
            "server_name" => return Some(self.take_name(entry)),
            "verify" => return Some(self.take_verify(entry)),
            "proxy_protocol" => return Some(self.take_version(entry)),
            _ => return None,
        };
        *file = match &entry.raw {
            Raw::Text(text) if !text.is_empty() && !text.contains('\0') => Some(source::clean(&project.join(text))),
            _ => return Some(Err("expected the path of a PEM file")),
        };
        Some(Ok(()))
    }

    fn take_name(&mut self, entry: &Given) -> Result<(), &'static str> {
        match &entry.raw {
            Raw::Text(text) if is_name(text) => self.server_name = Some(text.clone()),
            _ => return Err("expected the name that stands in its certificate"),
        }
        Ok(())
    }

    fn take_verify(&mut self, entry: &Given) -> Result<(), &'static str> {
        let Raw::Flag(verify) = entry.raw else { return Err("expected true or false") };
        self.verify = Some(verify);
        Ok(())
    }

    fn take_version(&mut self, entry: &Given) -> Result<(), &'static str> {
        self.proxy_protocol = match &entry.raw {
            Raw::Text(text) if text == "v1" => Some(ProxyVersion::V1),
            Raw::Text(text) if text == "v2" => Some(ProxyVersion::V2),
            _ => return Err("expected \"v1\" or \"v2\""),
        };
        Ok(())
    }

    /// How TLS is spoken there, if it is.
    pub(super) fn tls(self, address: &UpstreamAddress, protocol: Protocol) -> Result<Option<UpstreamTls>, Wrong> {
        let wrong = |what: String, hint: &str| Err((what, Some(hint.to_owned())));
        let (Protocol::Https, UpstreamAddress::Tcp { host, .. }) = (protocol, address) else {
            let said = [
                self.ca.is_some(),
                self.server_name.is_some(),
                self.verify.is_some(),
                self.certificate.is_some(),
                self.key.is_some(),
            ];
            return match OF_TLS.iter().zip(said).find(|(_, said)| *said) {
                Some((name, _)) => {
                    let what = format!("`{name}` is for TLS, which is not spoken to {address}");
                    wrong(what, "write https://HOST:PORT")
                }
                None => Ok(None),
            };
        };
        let trust = match (self.ca, self.verify) {
            (Some(_), Some(false)) => {
                let hint = "leave `verify` out: what `ca` vouches for is verified";
                return wrong("`ca` means nothing where nothing is verified".to_owned(), hint);
            }
            (Some(file), _) => UpstreamTrust::File(file),
            (None, Some(false)) => UpstreamTrust::Anybody,
            (None, _) => UpstreamTrust::System,
        };
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => {
                Some(CertificateFiles { certificate, key, place: format!("the upstream {address}") })
            }
            (None, None) => None,
            _ => {
                let hint = "name both files, or none if the upstream asks for no certificate";
                return wrong("`certificate` and `key` belong together".to_owned(), hint);
            }
        };
        let server_name = self.server_name.unwrap_or_else(|| host.clone());
        Ok(Some(UpstreamTls { server_name, trust, identity }))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
}
