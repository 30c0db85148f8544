//! TLS as a client sees it and as a server does, and certificates for tests.

use std::{
    io::{self, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{
    client::Client,
    upstream::{Caller, Upstream},
};

pub use rustls::{
    HandshakeKind,
    version::{TLS12, TLS13},
};

/// A connection through TLS.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A certificate that vouches for itself, and its key; in PEM.
#[derive(Debug)]
pub struct Made {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Makes a certificate for these names, valid for an hour.
///
/// # Panics
/// When one of them is no name.
pub fn certificate(names: &[&str]) -> Made {
    until(names, SystemTime::now() + Duration::from_secs(3600))
}

/// The same, but that it has expired an hour ago.
///
/// # Panics
/// When one of them is no name.
pub fn expired_certificate(names: &[&str]) -> Made {
    until(names, SystemTime::now() - Duration::from_secs(3600))
}

fn until(names: &[&str], end: SystemTime) -> Made {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = end.into();
    let key = KeyPair::generate().unwrap();
    Made { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A client that trusts some certificates. It remembers its sessions.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts these certificates, in any version of TLS.
    pub fn new(certificates: &[&str]) -> Self {
        Self::only(certificates, &[&TLS12, &TLS13], &[b"http/1.1"])
    }

    /// The same in these versions only, and with these protocols.
    ///
    /// # Panics
    /// When one of the certificates is none.
    pub fn only(certificates: &[&str], versions: &[&'static SupportedProtocolVersion], protocols: &[&[u8]]) -> Self {
        let roots = roots(certificates);
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Connects to a port of this machine, where a server with this name is expected.
    pub fn connect(&self, port: u16, name: &str) -> io::Result<Client<Secure>> {
        let plain = Client::connect(port)?;
        self.over(plain.into_stream(), name)
    }

    /// The same over a connection that is there.
    ///
    /// # Panics
    /// When the name is none.
    pub fn over(&self, mut stream: TcpStream, name: &str) -> io::Result<Client<Secure>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Client::over(StreamOwned::new(session, stream)))
    }
}

/// A connection through TLS that was accepted.
pub type Accepted = StreamOwned<ServerConnection, TcpStream>;

/// Who is to be there: a certificate, and whether clients have to show one of these.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// Whoever has this certificate; in these versions.
    ///
    /// # Panics
    /// When it is none.
    pub fn new(made: &Made, versions: &[&'static SupportedProtocolVersion], clients: &[&str]) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
        let builder = if clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(clients)), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        };
        let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.send_half_rtt_data = clients.is_empty();
        Self(Arc::new(config))
    }

    /// Answers the handshake on a connection that is there; `early` is sent before its end, as soon as that is possible.
    ///
    /// # Panics
    /// When the library fails.
    pub fn over(&self, mut stream: TcpStream, early: &[u8]) -> io::Result<Accepted> {
        let mut session = ServerConnection::new(Arc::clone(&self.0)).unwrap();
        session.read_tls(&mut stream)?;
        session.process_new_packets().map_err(io::Error::other)?;
        session.writer().write_all(early)?;
        while session.is_handshaking() || session.wants_write() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    /// The next connection to `upstream` that brings a request; any other was a probe.
    ///
    /// # Panics
    /// When a handshake fails.
    pub fn accept(&self, upstream: &Upstream) -> Caller<Accepted> {
        loop {
            let mut caller = Caller::over(self.over(upstream.accept_any(), b"").unwrap());
            if caller.has_come() {
                return caller;
            }
        }
    }
}

fn roots(certificates: &[&str]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    }
    roots
}
