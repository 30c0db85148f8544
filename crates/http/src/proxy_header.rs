//! The header of the PROXY protocol, versions 1 and 2: for whom a proxy that passes bytes through speaks.
//!
//! Invariant: what is accepted can be read in one way only, and no byte behind it is looked at. Whether whoever has sent it
//! may speak for others is not decided here.

mod write; // the same for upstreams that are to know for whom we speak

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::head::Scheme;

pub use write::{write_proxy_binary, write_proxy_line};

/// What begins version 2; no request begins so.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2: signature, command, family, length.
const FIXED: usize = 16;

/// The longest line of version 1, with its end (specification §2.1).
const LINE_MAX: usize = 107;

/// The longest header of version 2 that is taken: addresses need 232 bytes, the rest is for what proxies tell of certificates.
pub const PROXY_HEADER_MAX: usize = 4096;

/// The TLV that tells of the client's TLS (specification §2.2.6), and the bit in it that says that there is any.
const TLV_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// A header that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it takes.
    pub length: usize,
    /// The client; `None` when the proxy speaks for itself (a health check) or does not know.
    pub client: Option<SocketAddr>,
    /// How the client has reached the proxy, when that is told.
    pub scheme: Option<Scheme>,
}

/// Reads the header at the beginning of `input`. `Ok(None)`: all bytes belong to it, and there are more to come. `Err` says
/// why there is none.
pub fn parse_proxy_header(input: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => parse_line(input),
        Some(_) => parse_binary(input),
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`
fn parse_line(input: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    const START: &[u8] = b"PROXY ";
    if !starts_alike(input, START) {
        return Err("it is not a header of the PROXY protocol");
    }
    let looked_at = &input[..input.len().min(LINE_MAX)];
    let Some(end) = looked_at.iter().position(|byte| !matches!(byte, b' '..=b'~')) else {
        return if looked_at.len() < LINE_MAX { Ok(None) } else { Err("its line is too long") };
    };
    match (&looked_at[end..], end + 1 < LINE_MAX) {
        ([b'\r', b'\n', ..], _) => {}
        ([b'\r'], true) => return Ok(None),
        _ => return Err("its line has a byte that may not be there"),
    }
    let line = std::str::from_utf8(&looked_at[..end]).map_err(|_| "its line is no text")?;
    let client = parse_words(line)?;
    Ok(Some(ProxyHeader { length: end + 2, client, scheme: None }))
}

fn parse_words(line: &str) -> Result<Option<SocketAddr>, &'static str> {
    const WRONG: &str = "its line does not have the form `PROXY TCP4 ADDRESS ADDRESS PORT PORT`";
    let mut words = line.split(' ');
    let mut next = || words.next().ok_or(WRONG);
    let address: fn(&str) -> Option<IpAddr> = match (next()?, next()?) {
        // What follows means nothing (specification §2.1).
        (_, "UNKNOWN") => return Ok(None),
        (_, "TCP4") => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        (_, "TCP6") => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(WRONG),
    };
    let source = address(next()?).ok_or(WRONG)?;
    address(next()?).ok_or(WRONG)?;
    let port = parse_port(next()?).ok_or(WRONG)?;
    parse_port(next()?).ok_or(WRONG)?;
    if words.next().is_some() { Err(WRONG) } else { Ok(Some(named(source, port))) }
}

/// Digits without leading zeros, which could be read as octal.
fn parse_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

fn parse_binary(input: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    if !starts_alike(input, SIGNATURE) {
        return Err("it is not a header of the PROXY protocol");
    }
    let command = match input.get(12) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err("its version or command is not known"),
    };
    let (Some(family), Some(length)) = (input.get(13), input.get(14..FIXED)) else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if PROXY_HEADER_MAX < length {
        return Err("it is too long");
    }
    let Some(block) = input.get(FIXED..length) else { return Ok(None) };
    let (client, scheme) = match command {
        Command::Local => (None, None),
        Command::Proxy => parse_block(*family, block)?,
    };
    Ok(Some(ProxyHeader { length, client, scheme }))
}

enum Command {
    /// The proxy itself: the connection is what it is, and the rest means nothing.
    Local,
    /// Somebody for whom it speaks.
    Proxy,
}

/// Addresses of the family, then what else the proxy tells.
fn parse_block(family: u8, block: &[u8]) -> Result<(Option<SocketAddr>, Option<Scheme>), &'static str> {
    const SHORT: &str = "it is too short for its addresses";
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let (client, rest) = match family {
        // Not known.
        0x00 => return Ok((None, None)),
        0x11 => {
            let address: [u8; 4] = block.get(..12).ok_or(SHORT)?[..4].try_into().map_err(|_| SHORT)?;
            (Some(named(Ipv4Addr::from(address).into(), port(8))), 12)
        }
        0x21 => {
            let address: [u8; 16] = block.get(..36).ok_or(SHORT)?[..16].try_into().map_err(|_| SHORT)?;
            (Some(named(Ipv6Addr::from(address).into(), port(32))), 36)
        }
        // A Unix socket: two paths.
        0x31 => {
            block.get(..216).ok_or(SHORT)?;
            (None, 216)
        }
        _ => return Err("its family of addresses is not one of a stream"),
    };
    Ok((client, parse_told(&block[rest..])?))
}

/// Type, length, value; again and again.
fn parse_told(mut told: &[u8]) -> Result<Option<Scheme>, &'static str> {
    const TORN: &str = "what it tells of the connection is cut off";
    let mut scheme = None;
    while let [kind, high, low, rest @ ..] = told {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length).ok_or(TORN)?;
        if *kind == TLV_SSL {
            let client = value.first().ok_or(TORN)?;
            scheme = Some(if client & CLIENT_SSL == 0 { Scheme::Http } else { Scheme::Https });
        }
        told = &rest[length..];
    }
    if told.is_empty() { Ok(scheme) } else { Err(TORN) }
}

fn named(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

fn starts_alike(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests;
