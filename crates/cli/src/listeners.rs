//! All that is listened on, and what applications are told of it.

use config::Config;
use control::{AdminBound, Place};
use proxy::{Address, Bound};
use supervise::ListenerName;

use crate::{
    certificates,
    exit::Exit,
    refuse::{cannot_bind, cannot_bind_admin},
};

/// All that is listened on.
pub(crate) struct Listeners {
    pub(crate) bound: Bound,
    pub(crate) admin: AdminBound,
    /// Of the https listeners, if there are any.
    pub(crate) certificates: Option<tls::Store>,
}

/// Binds all that the configuration says.
pub(crate) fn listen(config: &Config, place: &Place) -> Result<Listeners, Exit> {
    let certificates = certificates::open(config)?;
    let bound = proxy::bind(&config.listen, config.cores as usize);
    let mut bound = bound.map_err(|error| cannot_bind(&error).say())?;
    if let Some(store) = &certificates {
        bound.secure(store.server());
    }
    let admin = AdminBound::bind(&config.admin, place).map_err(|error| cannot_bind_admin(&error).say())?;
    Ok(Listeners { bound, admin, certificates })
}

/// How applications name listeners, each at its number.
pub(crate) fn listener_names(numbered: &[Address]) -> Vec<ListenerName> {
    let system = rustix::system::uname();
    let machine = system.nodename().to_str().ok().filter(|name| !name.is_empty()).unwrap_or("localhost");
    let name = |address: &Address| match address {
        Address::Tcp { host, port, .. } => {
            ListenerName { name: server_name(host, machine), port: port.to_string(), scheme: "http".to_owned() }
        }
        Address::Unix { .. } => {
            ListenerName { name: "localhost".to_owned(), port: "80".to_owned(), scheme: "http".to_owned() }
        }
    };
    numbered.iter().map(name).collect()
}

/// What `SERVER_NAME` says (RFC 3875 §4.1.14): an IPv6 address in brackets, and this machine's name for a wildcard, which
/// is no name that a client could use.
fn server_name(host: &str, machine: &str) -> String {
    match host {
        "0.0.0.0" | "::" => machine.to_owned(),
        // A zone says something only on this machine.
        host if host.contains(':') => format!("[{}]", host.split('%').next().unwrap_or(host)),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_names_that_are_hosts_in_a_url() {
        for (host, expected) in [
            ("example.org", "example.org"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("fe80::1%eth0", "[fe80::1]"),
            ("0.0.0.0", "machine"),
            ("::", "machine"),
        ] {
            assert_eq!(server_name(host, "machine"), expected, "{host}");
        }
    }
}
