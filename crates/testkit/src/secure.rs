//! TLS as a client sees it, and certificates for tests.

use std::{
    io,
    net::TcpStream,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::client::Client;

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
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
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
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        }
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
