//! The certificates in use, and how others take their place.
//!
//! Invariant: the configuration that listeners serve with is made once: the keys of its session tickets are those of all
//! threads and outlive every exchange of certificates, and no connection ends by one.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use config::Tls;
use rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::{
    Server,
    authority::{Authority, AuthorityError, LEAF_AGE},
    certificate::{self, CertificateError, Pair},
    chosen::{Chooser, Chosen},
};

/// The certificates of the listeners.
#[derive(Debug)]
pub struct Store {
    chooser: Arc<Chooser>,
    server: Server,
    /// What is in use was read from.
    source: Source,
    /// How the files looked when they were read, and when they were last looked at.
    read: Vec<Look>,
    seen: Vec<Look>,
    since: SystemTime,
}

#[derive(Clone, Debug)]
struct Source {
    tls: Tls,
    authority: Authority,
}

/// Certificates that were read and can be served with.
#[derive(Debug)]
pub struct Loaded {
    source: Source,
    chosen: Chosen,
    looks: Vec<Look>,
    /// What the operator should know about them.
    pub notices: Vec<String>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// One of the certificates.
    #[error("{error}")]
    Certificate {
        /// What is wrong with it.
        error: CertificateError,
        /// Where it was named.
        place: String,
    },
    /// The local authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// No certificate can be for this name.
    #[error("{name:?} is no name that a certificate could have")]
    Name {
        /// The name.
        name: String,
        /// Where it was named.
        place: String,
    },
    /// Nobody could vouch for upstreams.
    #[error("this machine knows no authority that could vouch for an upstream: {why}")]
    NoAuthorities {
        /// In the words of whoever looked for them.
        why: String,
    },
    /// The library for TLS.
    #[error("TLS cannot be spoken: {0}")]
    Library(#[from] rustls::Error),
}

/// What tells one content of a file from another, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    path: PathBuf,
    file: Option<(u64, i64, i64, u64)>,
}

impl Look {
    fn at(path: &Path) -> Self {
        let file = fs::metadata(path).ok();
        let file = file.map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.len()));
        Self { path: path.to_owned(), file }
    }
}

impl Loaded {
    /// Reads what `tls` names, all of it or nothing; all that is wrong is told at once.
    pub fn read(tls: &Tls, authority: &Authority) -> Result<Self, Vec<StoreError>> {
        // Before the files are read: what changes meanwhile is noticed.
        let looks = looks(tls);
        let mut errors = Vec::new();
        let pairs: Vec<Pair> = match tls {
            Tls::Local => authority.issue().map_err(|error| errors.push(error.into())).into_iter().collect(),
            Tls::Files(files) => {
                let read = files.iter().filter_map(|files| {
                    let wrong = |error| errors.push(StoreError::Certificate { error, place: files.place.clone() });
                    certificate::read(files).map_err(wrong).ok()
                });
                read.collect()
            }
        };
        match Chosen::new(&pairs) {
            Some(chosen) if errors.is_empty() => {
                let notices = pairs.into_iter().filter_map(|pair| pair.notice).collect();
                let source = Source { tls: tls.clone(), authority: authority.clone() };
                Ok(Self { source, chosen, looks, notices })
            }
            _ => Err(errors),
        }
    }
}

impl Store {
    /// Serves with these certificates from now on.
    pub fn new(loaded: Loaded) -> Result<Self, StoreError> {
        let chooser = Arc::new(Chooser::new(loaded.chosen));
        let server = server(&chooser)?;
        let (source, read) = (loaded.source, loaded.looks);
        Ok(Self { chooser, server, source, seen: read.clone(), read, since: SystemTime::now() })
    }

    /// What handshakes are answered with; the same for as long as this lives.
    pub fn server(&self) -> Server {
        Arc::clone(&self.server)
    }

    /// New handshakes are answered with these; connections go on.
    pub fn exchange(&mut self, loaded: Loaded) {
        self.chooser.exchange(loaded.chosen);
        (self.source, self.seen, self.read) = (loaded.source, loaded.looks.clone(), loaded.looks);
        self.since = SystemTime::now();
    }

    /// Looks whether the files are others than those that were read, and have come to rest, as a certificate and its key are
    /// seldom replaced in the same moment; if so, the new ones take their place. `Some` tells what came of it: what to say
    /// about them, or why the old ones stay. To be called now and then.
    pub fn look(&mut self) -> Option<Result<Vec<String>, Vec<StoreError>>> {
        let now = looks(&self.source.tls);
        let rests = now == self.seen;
        self.seen = now;
        let is_old = self.source.tls == Tls::Local && self.since.elapsed().is_ok_and(|age| LEAF_AGE < age);
        if !(is_old || (rests && self.seen != self.read)) {
            return None;
        }
        // Also when they cannot be used: they are told of once.
        (self.read, self.since) = (self.seen.clone(), SystemTime::now());
        let Source { tls, authority } = self.source.clone();
        Some(Loaded::read(&tls, &authority).map(|loaded| {
            let notices = loaded.notices.clone();
            self.exchange(loaded);
            notices
        }))
    }
}

fn looks(tls: &Tls) -> Vec<Look> {
    match tls {
        Tls::Local => Vec::new(),
        Tls::Files(files) => {
            files.iter().flat_map(|files| [&files.certificate, &files.key]).map(|path| Look::at(path)).collect()
        }
    }
}

/// TLS 1.3 and 1.2 as the library has them. HTTP/1.1 is all that is spoken behind it.
fn server(chooser: &Arc<Chooser>) -> Result<Server, StoreError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificates: Arc<dyn rustls::server::ResolvesServerCert> = Arc::<Chooser>::clone(chooser);
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(server))
}

#[cfg(test)]
mod tests;
