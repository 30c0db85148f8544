//! A certificate with its key, out of PEM files.
//!
//! Invariant: a [`Pair`] has a key that fits. That it has expired is no obstacle, and is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use config::CertificateFiles;
use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{GeneralName, X509Certificate, parse_x509_certificate};

/// A certificate that can be served with.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) key: Arc<CertifiedKey>,
    /// The host names in it, in lower case.
    pub(crate) names: Vec<String>,
    /// What the operator should know about it.
    pub(crate) notice: Option<String>,
}

/// Why a certificate cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file has nothing of the kind.
    #[error("{path} holds no {what} in PEM", path = path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// `certificate` or `key`
        what: &'static str,
    },
    /// The key has a passphrase.
    #[error("the key in {path} is encrypted", path = path.display())]
    Encrypted {
        /// Which.
        path: PathBuf,
    },
    /// What it holds cannot be understood.
    #[error("the {what} in {path} cannot be used: {why}", path = path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// `certificate` or `key`
        what: &'static str,
        /// In the words of whoever tried.
        why: String,
    },
    /// Two files that do not belong together.
    #[error("the key in {key} is not the key of the certificate in {certificate}", key = key.display(), certificate = certificate.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl CertificateError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("whoever starts Tierce has to be allowed to read it".to_owned())
            }
            Self::Unreadable { .. } => None,
            Self::Missing { .. } => Some("the file has to hold a block that begins with -----BEGIN".to_owned()),
            Self::Encrypted { path } => {
                Some(format!("write it without passphrase: openssl pkey -in {} -out key.pem", path.display()))
            }
            Self::Malformed { .. } => None,
            Self::Mismatch { .. } => {
                Some("the first certificate of the file has to be the server's own, the chain follows".to_owned())
            }
        }
    }
}

/// Reads both files.
pub(crate) fn read(files: &CertificateFiles) -> Result<Pair, CertificateError> {
    let chain = read_chain(&files.certificate)?;
    let key = read_key(&files.key)?;
    pair(chain, key, files)
}

/// Puts together what was read from `files`, or made.
pub(crate) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: &CertificateFiles,
) -> Result<Pair, CertificateError> {
    let malformed = |path: &Path, what, why: String| CertificateError::Malformed { path: path.to_owned(), what, why };
    let (names, notice) = {
        let (_, parsed) = parse_x509_certificate(&chain[0])
            .map_err(|error| malformed(&files.certificate, "certificate", error.to_string()))?;
        let notice = out_of_time(&parsed, SystemTime::now())
            .map(|why| format!("the certificate in {} {why}", files.certificate.display()));
        (names(&parsed), notice)
    };
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        Error::InvalidCertificate(_) => malformed(&files.certificate, "certificate", error.to_string()),
        error => malformed(&files.key, "key", error.to_string()),
    })?;
    Ok(Pair { key: Arc::new(key), names, notice })
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })
}

pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    const WHAT: &str = "certificate";
    let text = read_file(path)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(CertificateError::Missing { path: path.to_owned(), what: WHAT }),
        Ok(chain) => Ok(chain),
        Err(error) => Err(CertificateError::Malformed { path: path.to_owned(), what: WHAT, why: error.to_string() }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    const WHAT: &str = "key";
    let text = read_file(path)?;
    let is_encrypted = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
    };
    if is_encrypted(&text) {
        return Err(CertificateError::Encrypted { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => CertificateError::Missing { path: path.to_owned(), what: WHAT },
        error => CertificateError::Malformed { path: path.to_owned(), what: WHAT, why: error.to_string() },
    })
}

/// The DNS names; the common name does not count any more (RFC 9525 §2).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

/// Why clients refuse the certificate at `now`, if they do.
fn out_of_time(certificate: &X509Certificate<'_>, now: SystemTime) -> Option<&'static str> {
    let validity = certificate.validity();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let now = i64::try_from(seconds).unwrap_or(i64::MAX);
    if validity.not_after.timestamp() < now {
        Some("has expired; clients will refuse it")
    } else if now < validity.not_before.timestamp() {
        Some("is not valid yet; clients will refuse it")
    } else {
        None
    }
}
