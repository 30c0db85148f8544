//! The local authority: it vouches for `localhost` on this machine, to whoever trusts it.
//!
//! Invariant: it can vouch for nothing but loopback names and addresses, and its key is readable for its user only. It is
//! made once in a directory of the user's; no store of the system is touched.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use config::CertificateFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::certificate::{self, Pair};

const DAY: Duration = Duration::from_secs(86_400);

/// For so long it vouches, and for so long a certificate is valid; one is made at every start.
const YEARS_10: Duration = Duration::from_secs(86_400 * 3650);
const LEAF_TIME: Duration = Duration::from_secs(86_400 * 90);

/// A certificate is replaced when it is so old.
pub(crate) const LEAF_AGE: Duration = Duration::from_secs(86_400 * 60);

/// The authority of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    directory: PathBuf,
}

/// Why there is no local authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its directory cannot be used.
    #[error("the local certificate authority in {directory} cannot be {what}: {error}", directory = directory.display())]
    Unusable {
        /// Where it is.
        directory: PathBuf,
        /// `made` or `read`
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// What lies there is not an authority.
    #[error("the local certificate authority in {directory} does not work: {why}", directory = directory.display())]
    Broken {
        /// Where it is.
        directory: PathBuf,
        /// In the words of whoever tried.
        why: String,
    },
}

impl Authority {
    /// The authority that lives in `directory`, or will.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The certificate that clients have to trust.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("root.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("root-key.pem")
    }

    /// A certificate for `localhost`. The authority is made if there is none.
    pub(crate) fn issue(&self) -> Result<Pair, AuthorityError> {
        self.make().map_err(|error| self.unusable("made", error))?;
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| self.unusable("read", error));
        let (certificate, key) = (read(&self.certificate())?, read(&self.key())?);
        let broken = |error: rcgen::Error| self.broken(error.to_string());
        let key = KeyPair::from_pem(&key).map_err(broken)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(broken)?;
        let (leaf_key, params) = leaf().map_err(broken)?;
        let leaf = params.signed_by(&leaf_key, &issuer).map_err(broken)?;
        let files = CertificateFiles {
            certificate: self.certificate(),
            key: self.key(),
            place: self.directory.display().to_string(),
        };
        let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into();
        certificate::pair(vec![leaf.der().clone()], key, &files).map_err(|error| self.broken(error.to_string()))
    }

    /// Both files come into being at once, so that of two that begin at the same time one makes it for both.
    fn make(&self) -> io::Result<()> {
        if self.key().exists() {
            return Ok(());
        }
        let parent = self.directory.parent().unwrap_or_else(|| Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let next = parent.join(format!("ca.{}", std::process::id()));
        let _ = fs::remove_dir_all(&next);
        DirBuilder::new().mode(0o700).create(&next)?;
        let (certificate, key) = root().map_err(io::Error::other)?;
        write(&next.join("root.pem"), 0o644, &certificate)?;
        write(&next.join("root-key.pem"), 0o600, &key)?;
        match fs::rename(&next, &self.directory) {
            Err(_) if self.key().exists() => fs::remove_dir_all(&next),
            other => other,
        }
    }

    fn unusable(&self, what: &'static str, error: io::Error) -> AuthorityError {
        AuthorityError::Unusable { directory: self.directory.clone(), what, error }
    }

    fn broken(&self, why: String) -> AuthorityError {
        AuthorityError::Broken { directory: self.directory.clone(), why }
    }
}

fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The authority's certificate and key. Whoever steals the key can pretend to be nobody but this machine.
fn root() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named("Tierce local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    });
    valid(&mut params, YEARS_10);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn leaf() -> Result<(KeyPair, CertificateParams), rcgen::Error> {
    let mut params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
    params.distinguished_name = named("localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, LEAF_TIME);
    Ok((KeyPair::generate()?, params))
}

fn named(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

/// From yesterday on, as clocks differ.
fn valid(params: &mut CertificateParams, time: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + time).into();
}

/// A certificate that vouches for itself.
#[cfg(test)]
pub(crate) fn self_signed(names: &[&str]) -> Pair {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = CertificateFiles { certificate: "c".into(), key: "k".into(), place: String::new() };
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    certificate::pair(vec![made.cert.der().clone()], key, &files).unwrap()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_its_key_is_its_users_alone() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::new(home.path().join("share/tierce/ca"));
        let pair = authority.issue().unwrap();
        assert_eq!(pair.names, ["localhost"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&authority.directory), mode(&authority.key())), (0o700, 0o600));
        let root = fs::read(authority.certificate()).unwrap();
        authority.issue().unwrap();
        assert_eq!(fs::read(authority.certificate()).unwrap(), root);
        assert_eq!(fs::read_dir(authority.directory.parent().unwrap()).unwrap().count(), 1);
        fs::write(authority.key(), "x").unwrap();
        assert!(matches!(authority.issue(), Err(AuthorityError::Broken { .. })));
    }
}
