//! Why a handshake with an upstream has failed, in words for whoever has to do something about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Whose fault it is that there is no connection (RFC 9209 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its certificate is not one to be trusted.
    Certificate,
    /// Anything else that is not as TLS has it.
    Protocol,
}

/// What `error` means, which came of a connection that speaks TLS.
pub fn explain(error: &io::Error) -> (Fault, String) {
    match inner(error) {
        Some(Error::InvalidCertificate(wrong)) => (Fault::Certificate, certificate(wrong)),
        Some(Error::NoCertificatesPresented) => (Fault::Certificate, "TLS: it shows no certificate".to_owned()),
        Some(Error::AlertReceived(alert)) => (Fault::Protocol, refused(*alert)),
        Some(Error::InvalidMessage(wrong)) => {
            (Fault::Protocol, format!("what it sends is not TLS ({wrong:?}); is it http:// there?"))
        }
        Some(other) => (Fault::Protocol, format!("TLS: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            (Fault::Protocol, "TLS: it has closed the connection in the middle of the handshake".to_owned())
        }
        None => (Fault::Protocol, format!("TLS: {error}")),
    }
}

/// Why the other end has ended the connection, if it has said so.
pub fn refusal(error: &io::Error) -> Option<String> {
    match inner(error)? {
        Error::AlertReceived(alert) => Some(refused(*alert)),
        _ => None,
    }
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate(wrong: &CertificateError) -> String {
    let why = match wrong {
        // An authority of the same name with another key is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is of an authority that is not trusted here; if it is yours, name it in `ca`".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "is not for {}, but for {}; name what it is for in `server_name`",
            expected.to_str(),
            if presented.is_empty() { "nobody".to_owned() } else { names(presented).join(", ") }
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; is the clock right?".to_owned()
        }
        other => format!("cannot be trusted: {other}"),
    };
    format!("its certificate {why}")
}

/// `DnsName("a")` → `a`, as the library has them in words for programmers.
fn names(presented: &[String]) -> Vec<&str> {
    let names = presented.iter().map(|text| text.split_once('(').map_or(text.as_str(), |(_, name)| name));
    names.map(|name| name.trim_matches(['"', ')'])).collect()
}

fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "TLS: it asks for a certificate of ours; name one in `certificate` and `key`".to_owned()
        }
        alert => format!("TLS: it refuses the connection ({alert:?})"),
    }
}
