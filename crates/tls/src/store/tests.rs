use std::time::{Duration, SystemTime};

use config::CertificateFiles;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// A certificate and its key under these names, valid until so many seconds from now.
    fn make(&self, certificate: &str, key: &str, until: i64) {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let age = Duration::from_secs(until.unsigned_abs());
        let now = SystemTime::now();
        params.not_after = if until < 0 { now - age } else { now + age }.into();
        let made = KeyPair::generate().unwrap();
        self.write(certificate, params.self_signed(&made).unwrap().pem());
        self.write(key, made.serialize_pem());
    }

    fn tls(&self, pairs: &[(&str, &str)]) -> Tls {
        let path = |name: &str| self.0.path().join(name);
        let files = pairs.iter().map(|(certificate, key)| CertificateFiles {
            certificate: path(certificate),
            key: path(key),
            place: format!("the place of {certificate}"),
        });
        Tls::Files(files.collect())
    }

    fn authority(&self) -> Authority {
        Authority::new(self.0.path().join("ca"))
    }

    fn load(&self, pairs: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let shown = |error: StoreError| error.to_string().replace(self.0.path().to_str().unwrap(), "");
        Loaded::read(&self.tls(pairs), &self.authority()).map_err(|errors| errors.into_iter().map(shown).collect())
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let files = Files::new();
    files.make("a.pem", "a-key.pem", 60);
    files.make("b.pem", "b-key.pem", 60);
    files.write("empty.pem", "");
    files.write("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write("bad-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    files.write("secret.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let errors = files
        .load(&[
            ("a.pem", "b-key.pem"),
            ("none.pem", "a-key.pem"),
            ("empty.pem", "a-key.pem"),
            ("a.pem", "empty.pem"),
            ("a.pem", "a-key.pem"),
            ("bad.pem", "a-key.pem"),
            ("a.pem", "bad-key.pem"),
            ("a.pem", "secret.pem"),
        ])
        .unwrap_err();
    let starts = [
        "the key in /b-key.pem is not the key of the certificate in /a.pem",
        "/none.pem cannot be read: No such file",
        "/empty.pem holds no certificate in PEM",
        "/empty.pem holds no key in PEM",
        "the certificate in /bad.pem cannot be used",
        "the key in /bad-key.pem cannot be used",
        "the key in /secret.pem is encrypted",
    ];
    assert_eq!(errors.len(), starts.len(), "{errors:?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn an_expired_certificate_is_served_and_told_of() {
    let files = Files::new();
    files.make("old.pem", "key.pem", -60);
    let loaded = files.load(&[("old.pem", "key.pem")]).unwrap();
    assert!(loaded.notices[0].contains("old.pem has expired"), "{:?}", loaded.notices);
}

#[test]
fn what_changes_is_read_once_it_rests_and_what_is_broken_changes_nothing() {
    let files = Files::new();
    files.make("a.pem", "key.pem", 60);
    let mut store = Store::new(files.load(&[("a.pem", "key.pem")]).unwrap()).unwrap();
    let server = store.server();
    assert!(store.look().is_none());
    files.write("key.pem", "x");
    assert!(store.look().is_none(), "it may still be changing");
    assert!(store.look().unwrap().is_err());
    assert!(store.look().is_none(), "it is told of once");
    files.make("a.pem", "key.pem", 3600);
    assert!(store.look().is_none());
    assert!(store.look().unwrap().unwrap().is_empty());
    assert!(store.look().is_none());
    assert!(Arc::ptr_eq(&server, &store.server()));
}
