//! Proxies that are believed: addresses, networks (`10.0.0.0/8`), and `unix` for peers that come through a Unix socket.

use std::{fmt, net::IpAddr};

use crate::values::Values;

/// Whom a request's peer has to be among, so that what it tells of the client counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Trusted>);

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    /// Whoever may open the socket.
    Unix,
    /// All addresses that have the first `prefix` bits of this one.
    Network { address: IpAddr, prefix: u8 },
}

impl TrustedProxies {
    /// Nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list at `path`.
    pub(crate) fn read(path: &str, values: &mut Values) -> Self {
        let mut list = Self::default();
        for (text, given) in values.list(path).unwrap_or_default() {
            if let Err((what, hint)) = list.add(&text) {
                values.reject(path, &given, what, hint);
            }
        }
        list
    }

    /// Adds an entry of the list; or says what is wrong with it, and what to do.
    pub fn add(&mut self, text: &str) -> Result<(), (String, Option<String>)> {
        self.0.push(parse(text)?);
        Ok(())
    }

    /// As they are written.
    pub(crate) fn entries(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }

    /// Whether a peer is trusted; `None` is one that comes through a Unix socket, an IPv4 address is not written as IPv6.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        self.0.iter().any(|trusted| match (*trusted, peer) {
            (Trusted::Unix, None) => true,
            (Trusted::Network { address, prefix }, Some(peer)) => {
                address.is_ipv4() == peer.is_ipv4() && first_bits(address, prefix) == first_bits(peer, prefix)
            }
            _ => false,
        })
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, trusted) in self.0.iter().enumerate() {
            write!(f, "{}{trusted}", if nth == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Network { address, prefix } if *prefix == width(*address) => write!(f, "{address}"),
            Self::Network { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}

fn parse(text: &str) -> Result<Trusted, (String, Option<String>)> {
    const FORMS: &str = "write an IP address, a network like \"10.0.0.0/8\", or \"unix\"";
    if text == "unix" {
        return Ok(Trusted::Unix);
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        let hint = match text {
            "*" => "to trust everybody, where only proxies can connect, write \"0.0.0.0/0\" and \"::/0\"",
            _ if text.starts_with("unix:") => "write \"unix\": it stands for all Unix sockets",
            _ => FORMS,
        };
        return Err((format!("{text:?} is not an address"), Some(hint.to_owned())));
    };
    let widest = width(address);
    let prefix = match prefix.map(str::parse::<u8>) {
        None => widest,
        Some(Ok(prefix)) if prefix <= widest => prefix,
        Some(_) => return Err((format!("{text:?} is not a network"), Some(format!("behind the / is 0 to {widest}")))),
    };
    let network = first_bits(address, prefix);
    if network != address {
        let hint = format!("write \"{network}/{prefix}\" for the network, \"{address}\" for the one address");
        return Err((format!("{text:?} is not a network: the address has bits behind the first {prefix}"), Some(hint)));
    }
    // Peers are told as what they are: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
    match address.to_canonical() {
        mapped if mapped.is_ipv4() && address.is_ipv6() && 96 <= prefix => {
            Ok(Trusted::Network { address: mapped, prefix: prefix - 96 })
        }
        _ => Ok(Trusted::Network { address, prefix }),
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits behind the first `prefix` cleared.
fn first_bits(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_trusted() {
        for (entry, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"][..], &["9.255.255.255", "11.0.0.0", "::1", "unix"][..]),
            ("127.0.0.1", &["127.0.0.1"], &["127.0.0.2", "::1"]),
            ("0.0.0.0/0", &["1.2.3.4"], &["::1", "unix"]),
            ("::/0", &["::1", "2001:db8::1"], &["1.2.3.4"]),
            ("2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
            ("unix", &["unix"], &["127.0.0.1"]),
        ] {
            let trusted = TrustedProxies(vec![parse(entry).unwrap()]);
            for (peers, expected) in [(inside, true), (outside, false)] {
                for peer in peers {
                    assert_eq!(trusted.contains(peer.parse().ok()), expected, "{peer} in {entry}");
                }
            }
        }
        assert!(!TrustedProxies::default().contains(None));
    }

    #[test]
    fn what_is_no_entry() {
        for text in
            ["", "*", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "10.0.0.1/8", "10.0.0", "unix:a"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["10.0.0.0/8", "10.0.0.1", "::1", "2001:db8::/32", "unix"] {
            assert_eq!(TrustedProxies(vec![parse(text).unwrap()]).to_string(), text);
        }
    }
}
