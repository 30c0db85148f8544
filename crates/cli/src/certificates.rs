//! The certificates of the https listeners: read at the start, at a reload, and when their files change. And those with which
//! upstreams are met: read at the start and at a reload.
//!
//! Invariant: certificates that cannot be used keep a Tierce from starting or reloading, and never take the place of ones
//! that can.

use std::{cell::RefCell, convert::Infallible, io::ErrorKind, path::PathBuf, time::Duration};

use config::{Config, Listen, Protocol, Tls};
use supervise::Explanation;
use telemetry::LogSink;
use tls::{Authority, AuthorityError, CertificateError, Clients, Loaded, Store, StoreError};
use tokio::sync::Notify;

use crate::{exit::Exit, project, refuse::Refusal, say};

/// How often the files are looked at: what has been the same twice has come to rest.
const LOOK: Duration = Duration::from_secs(1);

/// Reads what the https listeners of `config` need; `None` when there are none.
pub(crate) fn load(config: &Config) -> Result<Option<Loaded>, Vec<Refusal>> {
    if !is_secure(config) {
        return Ok(None);
    }
    let authority = authority().map_err(|refusal| vec![refusal])?;
    let loaded = Loaded::read(&config.tls, &authority);
    loaded.map(Some).map_err(|errors| errors.iter().map(refusal).collect())
}

/// Reads what the upstreams of all services of `config` are met with.
pub(crate) fn clients(config: &Config) -> Result<Clients, Vec<Refusal>> {
    let upstreams: Vec<_> = config.services().into_iter().flat_map(|service| service.upstreams).collect();
    Clients::read(&upstreams).map_err(|errors| errors.iter().map(refusal).collect())
}

/// What is wrong with files that are named, for `check`, which makes no authority.
pub(crate) fn check(config: &Config) -> (Vec<Refusal>, Vec<String>) {
    let clients = clients(config).map(|clients| clients.notices);
    let loaded = match config.tls {
        Tls::Local => Ok(Vec::new()),
        Tls::Files(_) => load(config).map(|loaded| loaded.map(|loaded| loaded.notices).unwrap_or_default()),
    };
    let (mut refusals, mut notices) = (Vec::new(), Vec::new());
    for result in [clients, loaded] {
        match result {
            Ok(told) => notices.extend(told),
            Err(wrong) => refusals.extend(wrong),
        }
    }
    (refusals, notices)
}

/// For a start: what upstreams are met with; what is wrong with it is said.
pub(crate) fn open_clients(config: &Config) -> Result<Clients, Exit> {
    let clients = clients(config).map_err(say_all)?;
    clients.notices.iter().for_each(|notice| say::message(&warning(notice)));
    Ok(clients)
}

/// For a start: the certificates; what is wrong with them is said.
pub(crate) fn open(config: &Config) -> Result<Option<Store>, Exit> {
    let opened = load(config).and_then(|loaded| {
        let Some(loaded) = loaded else { return Ok(None) };
        let notices = loaded.notices.clone();
        let store = Store::new(loaded).map_err(|error| vec![refusal(&error)])?;
        notices.iter().for_each(|notice| say::message(&warning(notice)));
        Ok(Some(store))
    });
    opened.map_err(say_all)
}

fn say_all(refusals: Vec<Refusal>) -> Exit {
    let exit = refusals.into_iter().map(Refusal::say).reduce(|first, _| first);
    exit.unwrap_or(Exit::FAILED)
}

/// The local authority of this user.
fn authority() -> Result<Authority, Refusal> {
    let environment = project::environment();
    let absolute = |name: &str| environment.0.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    match data {
        Some(data) => Ok(Authority::new(data.join("tierce/ca"))),
        None => {
            let what = "there is no place for the local certificate authority: neither XDG_DATA_HOME nor HOME is set";
            let explanation =
                Explanation::new(what).hint("set one of them, or write `tls` with a certificate of yours");
            Err(Refusal { explanation: Box::new(explanation), exit: Exit::CONFIG })
        }
    }
}

/// What is said below the addresses when a browser does not know yet who has made the certificate.
pub(crate) fn how_to_trust(config: &Config) -> Option<String> {
    if config.tls != Tls::Local || !is_secure(config) {
        return None;
    }
    let root = authority().ok()?.certificate();
    let root = root.display();
    Some(format!(
        "  its certificate is of a local authority; to trust it, import {root}\n  into the browser, or: curl --cacert {root}"
    ))
}

/// Whether anything is served through TLS.
fn is_secure(config: &Config) -> bool {
    config.listen.iter().any(|listen| matches!(listen, Listen::Tcp { protocol: Protocol::Https, .. }))
}

fn refusal(error: &StoreError) -> Refusal {
    let explanation = Explanation::new(error.to_string()).during("reading the certificates");
    let (explanation, exit) = match error {
        StoreError::Certificate { error, place } => {
            let denied = matches!(error, CertificateError::Unreadable { error, .. } if error.kind() == ErrorKind::PermissionDenied);
            let explanation = explanation.place(place.clone());
            let explanation = match error.hint() {
                Some(hint) => explanation.hint(hint),
                None => explanation,
            };
            (explanation, if denied { Exit::NO_PERMISSION } else { Exit::CONFIG })
        }
        StoreError::Authority(AuthorityError::Broken { directory, .. }) => {
            let hint = format!("remove {}: a new one is made, which has to be trusted anew", directory.display());
            (explanation.hint(hint), Exit::FAILED)
        }
        StoreError::Authority(AuthorityError::Unusable { .. }) => {
            (explanation.hint("set XDG_DATA_HOME, or write `tls` with a certificate of yours"), Exit::FAILED)
        }
        StoreError::Name { place, .. } => {
            (explanation.place(place.clone()).hint("name the one in its certificate in `server_name`"), Exit::CONFIG)
        }
        StoreError::NoAuthorities { .. } => {
            (explanation.hint("install the package ca-certificates, or name a file in `ca`"), Exit::CONFIG)
        }
        StoreError::Library(_) => (explanation, Exit::FAILED),
    };
    Refusal { explanation: Box::new(explanation), exit }
}

/// What is said of a certificate that can be used all the same.
pub(crate) fn warning(notice: &str) -> String {
    format!("warning: {notice}")
}

/// The certificates in use, if there are https listeners.
pub(crate) struct Certificates {
    store: RefCell<Option<Store>>,
    /// There are some now.
    came: Notify,
    sink: LogSink,
    quiet: bool,
}

/// What a reload has read, and can be served with.
pub(crate) enum Renewal {
    /// There are no https listeners, or no more.
    None,
    /// The first.
    First(Store, Vec<String>),
    /// Others in the place of those in use.
    Others(Loaded),
}

impl Certificates {
    pub(crate) fn new(store: Option<Store>, sink: LogSink, quiet: bool) -> Self {
        Self { store: RefCell::new(store), came: Notify::new(), sink, quiet }
    }

    /// Follows the files.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            while self.store.borrow().is_none() {
                self.came.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            let told = self.store.borrow_mut().as_mut().and_then(Store::look);
            match told {
                None => {}
                Some(Ok(notices)) => {
                    say::note(
                        &self.sink,
                        self.quiet,
                        "the certificates have changed: new connections get the new ones",
                    );
                    notices.iter().for_each(|notice| self.sink.message(&warning(notice)));
                }
                Some(Err(errors)) => {
                    let texts: Vec<_> = errors.iter().map(|error| refusal(error).explanation.to_string()).collect();
                    self.sink.message(&format!("{}\nthe certificates from before stay in use", texts.join("\n")));
                }
            }
        }
    }

    /// Makes of what a reload has read what it takes to serve with it; nothing changes.
    pub(crate) fn prepare(&self, loaded: Option<Loaded>) -> Result<Renewal, Refusal> {
        match loaded {
            None => Ok(Renewal::None),
            Some(loaded) if self.store.borrow().is_some() => Ok(Renewal::Others(loaded)),
            Some(loaded) => {
                let notices = loaded.notices.clone();
                let store = Store::new(loaded).map_err(|error| refusal(&error))?;
                Ok(Renewal::First(store, notices))
            }
        }
    }

    /// Takes it over; returns what handshakes are answered with, if there are to be any.
    pub(crate) fn renew(&self, renewal: Renewal) -> Option<tls::Server> {
        let mut store = self.store.borrow_mut();
        let notices = match renewal {
            Renewal::None => {
                *store = None;
                return None;
            }
            Renewal::First(first, notices) => {
                *store = Some(first);
                notices
            }
            Renewal::Others(mut loaded) => {
                let notices = std::mem::take(&mut loaded.notices);
                if let Some(store) = &mut *store {
                    store.exchange(loaded);
                }
                notices
            }
        };
        notices.iter().for_each(|notice| self.sink.message(&warning(notice)));
        self.came.notify_one();
        store.as_ref().map(Store::server)
    }
}
