//! An upstream, and certificates with their keys, as `written` has the rest.

use std::path::Path;

use super::written::{Element, maybe, one, relative, socket};
use crate::model::{
    CertificateFiles, ProxyVersion, Tls, Upstream, UpstreamAddress, UpstreamRole, UpstreamTls, UpstreamTrust,
};

pub(super) fn upstream(upstream: &Upstream, project: &Path) -> Element {
    let Upstream { address, container: _, protocol, weight, role, max_concurrency, tls, proxy_protocol } = upstream;
    let name = match address {
        UpstreamAddress::Tcp { .. } => format!("{protocol}://{address}"),
        UpstreamAddress::Unix { path } => socket(*protocol, path, project),
    };
    let mut keys = vec![
        ("weight", one(weight)),
        ("backup", one(*role == UpstreamRole::Backup)),
        ("max_concurrency", one(max_concurrency)),
        (
            "proxy_protocol",
            maybe(proxy_protocol.map(|version| match version {
                ProxyVersion::V1 => "v1",
                ProxyVersion::V2 => "v2",
            })),
        ),
    ];
    let (mut ca, mut asked, mut shown, mut verified) = (None, None, None, true);
    if let Some(UpstreamTls { server_name, trust, identity }) = tls {
        match trust {
            UpstreamTrust::System => {}
            UpstreamTrust::File(file) => ca = Some(relative(file, project)),
            UpstreamTrust::Anybody => verified = false,
        }
        asked = Some(server_name);
        shown = identity.as_ref().map(|files| certificate(files, project));
    }
    let (shown, key) = shown.unzip();
    keys.extend([
        ("ca", maybe(ca)),
        ("server_name", maybe(asked)),
        ("verify", one(verified)),
        ("certificate", maybe(shown)),
        ("key", maybe(key)),
    ]);
    Element { name, keys }
}

/// The names of the two files.
fn certificate(files: &CertificateFiles, project: &Path) -> (String, String) {
    // Where they were named may be another line now.
    let CertificateFiles { certificate, key, place: _ } = files;
    (relative(certificate, project), relative(key, project))
}

pub(super) fn certificates(tls: &Tls, project: &Path) -> Vec<Element> {
    let files = match tls {
        Tls::Local => &[][..],
        Tls::Files(files) => files,
    };
    let pairs = files.iter().map(|files| certificate(files, project));
    pairs.map(|(name, key)| Element { name, keys: vec![("key", one(key))] }).collect()
}
