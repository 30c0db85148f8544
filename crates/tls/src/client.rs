//! TLS towards upstreams: who has to be at the other end, who vouches for it, and who we are.
//!
//! Invariant: whatever is not verified was asked for by name (`verify = false`), and is told of at every start. What was read
//! from files was read whole; sessions are remembered for each upstream apart.

use std::{path::Path, sync::Arc};

use config::{Upstream, UpstreamTls, UpstreamTrust};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};

use crate::{
    certificate::{self, CertificateError},
    store::StoreError,
};

/// What handshakes with one upstream begin with.
#[derive(Clone, Debug)]
pub struct Client {
    /// Shared by all threads, as sessions are remembered in it.
    pub config: Arc<ClientConfig>,
    /// Who has to be there.
    pub name: ServerName<'static>,
}

/// The same for all upstreams that speak TLS.
#[derive(Debug, Default)]
pub struct Clients {
    made: Vec<(Upstream, Client)>,
    /// What the operator should know about them.
    pub notices: Vec<String>,
}

impl Clients {
    /// Reads what these upstreams need, all of it or nothing; all that is wrong is told at once.
    pub fn read(upstreams: &[Upstream]) -> Result<Self, Vec<StoreError>> {
        let mut clients = Self::default();
        let mut errors = Vec::new();
        let mut system = None;
        for upstream in upstreams {
            let Some(tls) = upstream.tls.as_ref().filter(|_| clients.of(upstream).is_none()) else { continue };
            match clients.make(upstream, tls, &mut system) {
                Ok(client) => clients.made.push((upstream.clone(), client)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(clients) } else { Err(errors) }
    }

    /// What handshakes with this one begin with; `None` where TLS is not spoken.
    pub fn of(&self, upstream: &Upstream) -> Option<Client> {
        self.made.iter().find(|(known, _)| known == upstream).map(|(_, client)| client.clone())
    }

    fn make(
        &mut self,
        upstream: &Upstream,
        tls: &UpstreamTls,
        system: &mut Option<Arc<RootCertStore>>,
    ) -> Result<Client, StoreError> {
        let place = format!("the upstream {}", upstream.address);
        let wrong = |error| StoreError::Certificate { error, place: place.clone() };
        // A final dot is for resolvers, and in no certificate (RFC 6066 §3).
        let name = tls.server_name.strip_suffix('.').unwrap_or(&tls.server_name).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| StoreError::Name { name: tls.server_name.clone(), place: place.clone() })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &tls.trust {
            UpstreamTrust::System => {
                let roots = match system {
                    Some(roots) => roots,
                    None => system.insert(system_roots()?),
                };
                builder.with_root_certificates(Arc::clone(roots))
            }
            UpstreamTrust::File(path) => builder.with_root_certificates(roots(path).map_err(wrong)?),
            UpstreamTrust::Anybody => {
                self.notices.push(format!(
                    "{} is not verified (`verify = false`): anybody on the way can pretend to be it, read and change everything",
                    upstream.address
                ));
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody::new(&provider)))
            }
        };
        let mut config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let pair = certificate::read(files).map_err(wrong)?;
                self.notices.extend(pair.notice);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key)))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Client { config: Arc::new(config), name })
    }
}

/// The authorities in a file.
fn roots(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificate::read_chain(path)? {
        roots.add(certificate).map_err(|error| CertificateError::Malformed {
            path: path.to_owned(),
            what: "certificate",
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The authorities that this machine trusts; some may be of kinds that nobody uses any more.
fn system_roots() -> Result<Arc<RootCertStore>, StoreError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(StoreError::NoAuthorities { why });
    }
    Ok(Arc::new(roots))
}

/// Takes anybody for the one who is meant, as long as they have the key of the certificate that they show.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl Anybody {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
