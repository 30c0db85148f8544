//! Where what runs can be watched: `admin`.
//!
//! Invariant: an address that other machines reach is taken only with `admin_public`, so that nobody publishes it by mistake.

use std::net::IpAddr;

use crate::{
    listen,
    model::{Admin, Listen, Protocol},
    source::Source,
    values::Values,
};

/// Only whoever runs Tierce may connect, unless `socket_mode` says otherwise.
const MODE: u32 = 0o600;

/// Reads `admin`; `socket_mode` is that of all Unix sockets.
pub(crate) fn admin(source: &Source, values: &mut Values, socket_mode: Option<u32>) -> Admin {
    let public = values.flag("admin_public").unwrap_or(false);
    let Some((text, given)) = values.text("admin") else { return Admin::Socket };
    if text == "off" {
        return Admin::Off;
    }
    match listen::parse(&text, &source.project) {
        Ok(Listen::Unix { path, protocol: Protocol::Http, .. }) => {
            return Admin::At(Listen::Unix { path, protocol: Protocol::Http, mode: Some(socket_mode.unwrap_or(MODE)) });
        }
        Ok(Listen::Tcp { host, port, protocol: Protocol::Http }) if public || is_loopback(&host) => {
            return Admin::At(Listen::Tcp { host, port, protocol: Protocol::Http });
        }
        Ok(Listen::Tcp { port, protocol: Protocol::Http, .. }) => {
            let hint = format!("write \"127.0.0.1:{port}\"; if they are meant to, add `admin_public = true`");
            values.reject("admin", &given, format!("{text:?} can be reached by other machines"), Some(hint));
        }
        Ok(Listen::Tcp { .. } | Listen::Unix { .. }) => {
            let hint = "write \"127.0.0.1:9180\", \"unix:PATH\" or \"off\"".to_owned();
            values.reject("admin", &given, format!("{text:?}: HTTP is spoken there"), Some(hint));
        }
        Err((what, hint)) => values.reject("admin", &given, what, hint),
    }
    Admin::Socket
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
