//! The uwsgi packet on its way to a server: what [`crate::parse_uwsgi`] reads, written.
//!
//! Invariant: no size is ever cut. A packet that does not fit into its 16 bits is refused as a whole, so that nothing in a
//! value can come to be read as a variable.

use std::borrow::Cow;

use crate::{
    head::{Refusal, refuse},
    target::hex,
};

const HEADER: usize = 4;

/// The most bytes that variables and their sizes take.
const SIZE_MAX: usize = u16::MAX as usize;

/// A packet that is being written.
#[derive(Debug)]
pub struct PacketWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    fits: bool,
}

impl<'a> PacketWriter<'a> {
    /// Begins one behind what `out` holds; modifiers are 0, as for WSGI applications.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        Self { out, start, fits: true }
    }

    /// Adds a variable.
    pub fn variable(&mut self, name: &[u8], value: &[u8]) {
        let room = SIZE_MAX.saturating_sub(self.size());
        let sizes = u16::try_from(name.len()).ok().zip(u16::try_from(value.len()).ok());
        match sizes {
            Some((name_size, value_size)) if name.len() + value.len() + 4 <= room => {
                self.out.extend_from_slice(&name_size.to_le_bytes());
                self.out.extend_from_slice(name);
                self.out.extend_from_slice(&value_size.to_le_bytes());
                self.out.extend_from_slice(value);
            }
            _ => self.fits = false,
        }
    }

    /// Adds a field of the request: `X-A` becomes `HTTP_X_A`. The two that tell of the body have names of their own
    /// (RFC 3875 §4.1.18).
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let upper = name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() });
        let is_plain = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-length");
        let prefix: &[u8] = if is_plain { b"" } else { b"HTTP_" };
        let name: Vec<u8> = prefix.iter().copied().chain(upper).collect();
        self.variable(&name, value);
    }

    /// Adds a path whose escapes are to be resolved (RFC 3986 §2.1); a `%` that begins none stays.
    pub fn path(&mut self, name: &[u8], path: &[u8]) {
        self.variable(name, &unescaped(path));
    }

    /// Ends it; a packet that has become too large leaves nothing behind.
    pub fn end(self) -> Result<(), Refusal> {
        match u16::try_from(self.size()) {
            Ok(size) if self.fits => {
                self.out[self.start + 1..self.start + 3].copy_from_slice(&size.to_le_bytes());
                Ok(())
            }
            _ => {
                self.out.truncate(self.start);
                refuse(431, "the head does not fit into a uwsgi packet")
            }
        }
    }

    fn size(&self) -> usize {
        self.out.len() - self.start - HEADER
    }
}

fn unescaped(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let escaped = match path[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(path[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests;
