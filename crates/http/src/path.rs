//! The path of a target as routes and files see it: escapes decoded once, repeated slashes taken for one.
//!
//! Invariant: an escaped slash separates here as a written one does, because an application is told the decoded path and cannot
//! tell them apart: no spelling of a path gets past a rule that is about the path.

use crate::target::hex;

/// How many bytes of `path` the `prefix` takes, if it is a prefix segment by segment: `/a` is one of `/a` and `/a/b`, not of
/// `/ab`. `prefix` is `/`, which takes none, or begins with a slash and does not end with one.
pub fn path_prefix(path: &[u8], prefix: &[u8]) -> Option<usize> {
    if prefix == b"/" {
        return Some(0);
    }
    let mut bytes = Bytes { path, at: 0 };
    for expected in prefix {
        if bytes.next()? != *expected {
            return None;
        }
    }
    let end = bytes.at;
    matches!(bytes.next(), None | Some(b'/')).then_some(end)
}

/// Whether the path has a segment `.` or `..`, in any spelling. Browsers resolve them before they ask.
pub fn has_dot_segments(path: &[u8]) -> bool {
    // Nearly every path is done with here.
    if !path.contains(&b'%') && memchr::memmem::find(path, b"/.").is_none() {
        return false;
    }
    // So many bytes, or `None` when there was one that is no dot.
    let mut dots = None;
    for byte in (Bytes { path, at: 0 }).chain([b'/']) {
        match (byte, dots) {
            (b'/', Some(1 | 2)) => return true,
            (b'/', _) => dots = Some(0),
            (b'.', Some(count)) => dots = Some(count + 1),
            _ => dots = None,
        }
    }
    false
}

/// What the rest of a path names below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A file, or a directory without the slash behind it.
    Plain,
    /// A directory: it ends with a slash, or nothing is left.
    Directory,
}

/// Appends the relative path that `rest` names, decoded. `None` when that can be no file that is meant to be read: segments that are
/// empty, begin with a dot (`.well-known` may), or hold a slash or a NUL once they are decoded.
pub fn relative_path(rest: &[u8], relative: &mut Vec<u8>) -> Option<Named> {
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let mut segments = rest.split(|byte| *byte == b'/');
    let last = segments.next_back().unwrap_or_default();
    for segment in segments {
        decode_segment(segment, relative)?;
        relative.push(b'/');
    }
    if last.is_empty() {
        return Some(Named::Directory);
    }
    decode_segment(last, relative)?;
    Some(Named::Plain)
}

fn decode_segment(segment: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut at = 0;
    while at < segment.len() {
        let (byte, width) = decoded(&segment[at..]);
        if matches!(byte, b'/' | b'\0') {
            return None;
        }
        out.push(byte);
        at += width;
    }
    match &out[start..] {
        b".well-known" => Some(()),
        [] | [b'.', ..] => None,
        _ => Some(()),
    }
}

/// The first byte, decoded, and how many bytes spell it; a `%` that begins nothing stays as it is.
fn decoded(raw: &[u8]) -> (u8, usize) {
    match raw {
        [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => (high << 4 | low, 3),
            _ => (b'%', 1),
        },
        [first, ..] => (*first, 1),
        [] => (b'/', 0),
    }
}

/// The decoded bytes of a path; several slashes are one.
struct Bytes<'a> {
    path: &'a [u8],
    /// Behind what was returned last.
    at: usize,
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.path.len() <= self.at {
            return None;
        }
        let (byte, width) = decoded(&self.path[self.at..]);
        self.at += width;
        while byte == b'/' && self.at < self.path.len() {
            let (next, width) = decoded(&self.path[self.at..]);
            // The last slash of several is left: it begins the next segment.
            if next != b'/' {
                break;
            }
            self.at += width;
        }
        Some(byte)
    }
}

#[cfg(test)]
mod tests;
