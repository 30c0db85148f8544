//! Conditions and ranges of a request for something whose validators are known (RFC 9110 §13, §14).
//!
//! Invariant: what cannot be understood is as if it were not there, as the RFC has it for conditions and for ranges.

use std::ops::Range;

use crate::{bytes::trim, date::parse_date, head::RequestHead};

/// What a representation is recognised by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its entity tag, quotes included; a strong one.
    pub etag: &'a [u8],
    /// When it was modified, in seconds since 1970 began.
    pub modified: u64,
}

/// What the conditions of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is to be answered as if there were none.
    Met,
    /// The client has it already: 304.
    NotModified,
    /// The client wanted another: 412.
    Failed,
}

/// What of the representation is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it.
    Whole,
    /// These bytes: 206.
    Part(Range<u64>),
    /// Nothing that is there: 416.
    Nothing,
}

/// The conditions of a GET or HEAD, in the order of RFC 9110 §13.2.2.
pub fn condition(head: &RequestHead, input: &[u8], validators: Validators<'_>) -> Condition {
    let Validators { etag, modified } = validators;
    let date = |name: &str| value(head, input, name).and_then(parse_date);
    // Strong comparison, but for If-None-Match (§13.1.1, §13.1.2).
    if let Some(matches) = lists(head, input, "if-match", |tag| tag == b"*" || tag == etag) {
        if !matches {
            return Condition::Failed;
        }
    } else if date("if-unmodified-since").is_some_and(|since| since < modified) {
        return Condition::Failed;
    }
    let is_same = |tag: &[u8]| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag;
    let had = match lists(head, input, "if-none-match", is_same) {
        Some(had) => had,
        None => date("if-modified-since").is_some_and(|since| modified <= since),
    };
    if had { Condition::NotModified } else { Condition::Met }
}

/// The part of `length` bytes that a GET asks for. Several ranges are answered with the whole, as §14.2 allows; so is one whose
/// If-Range names another representation. A date counts there only when it was over by `now` (§8.8.2.2).
pub fn selected(head: &RequestHead, input: &[u8], validators: Validators<'_>, length: u64, now: u64) -> Selected {
    let Some(range) = value(head, input, "range") else { return Selected::Whole };
    if let Some(wanted) = value(head, input, "if-range") {
        let is_strong = validators.modified + 1 < now;
        let same = wanted == validators.etag || (is_strong && parse_date(wanted) == Some(validators.modified));
        if !same {
            return Selected::Whole;
        }
    }
    match range.split_at_checked(6) {
        Some((unit, spec)) if unit.eq_ignore_ascii_case(b"bytes=") => part(trim(spec), length),
        _ => Selected::Whole,
    }
}

fn part(spec: &[u8], length: u64) -> Selected {
    let Some(dash) = spec.iter().position(|byte| *byte == b'-') else { return Selected::Whole };
    let (first, last) = (trim(&spec[..dash]), trim(&spec[dash + 1..]));
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(length)),
        (Some(first), None) if last.is_empty() => (first, length),
        (None, Some(last)) if first.is_empty() => (length.saturating_sub(last), length),
        _ => return Selected::Whole,
    };
    if start < end { Selected::Part(start..end) } else { Selected::Nothing }
}

/// More digits than any file has bytes are as many as it can have.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The value of a field of which there can be one; of several none counts.
fn value<'i>(head: &RequestHead, input: &'i [u8], name: &str) -> Option<&'i [u8]> {
    let mut values = values(head, input, name);
    values.next().filter(|_| values.next().is_none())
}

/// The values of all fields with this name.
fn values<'i>(head: &RequestHead, input: &'i [u8], name: &str) -> impl Iterator<Item = &'i [u8]> {
    let named = head.fields.iter().filter(move |field| field.name.of(input).eq_ignore_ascii_case(name.as_bytes()));
    named.map(|field| field.value.of(input))
}

/// Whether one of the tags that the fields list is `wanted`; `None` when there is no such field.
fn lists(head: &RequestHead, input: &[u8], name: &str, wanted: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let mut listed = None;
    for list in values(head, input, name) {
        // Our tags hold no comma: one that does is none of ours however it is cut.
        let found = list.split(|byte| *byte == b',').any(|tag| wanted(trim(tag)));
        listed = Some(found || listed == Some(true));
    }
    listed
}

/// How a body can be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// `gzip`.
    Gzip,
}

impl Coding {
    /// As Content-Encoding names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// The codings that the client takes, the one that it likes best first, then as in `order` (RFC 9110 §12.5.3); none that it likes
/// less than no coding at all.
pub fn accepted_codings(head: &RequestHead, input: &[u8], order: [Coding; 3]) -> impl Iterator<Item = Coding> + use<> {
    let mut liked = [None; 3];
    let (mut any, mut identity) = (None, 0);
    for item in values(head, input, "accept-encoding").flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut parts = item.split(|byte| *byte == b';').map(trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")))
            .map_or(1000, thousandths);
        if name == b"*" {
            any = Some(quality);
        } else if name.eq_ignore_ascii_case(b"identity") {
            identity = quality;
        }
        for (coding, liking) in order.iter().zip(&mut liked) {
            if name.eq_ignore_ascii_case(coding.name().as_bytes()) {
                *liking = Some(quality);
            }
        }
    }
    let mut ranked = [0, 1, 2].map(|at: usize| (liked[at].or(any).unwrap_or(0), order[at]));
    ranked.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    ranked.into_iter().filter(move |(quality, _)| 0 < *quality && identity <= *quality).map(|(_, coding)| coding)
}

/// `0.75` → 750; what is no number from 0 to 1 is 0.
fn thousandths(text: &[u8]) -> u16 {
    let (whole, rest) = text.split_at(text.len().min(1));
    let digits = rest.strip_prefix(b".").unwrap_or(rest);
    if 3 < digits.len() || !digits.iter().all(u8::is_ascii_digit) || (digits.len() == rest.len() && !rest.is_empty()) {
        return 0;
    }
    let fraction = (0..3).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |digit| u16::from(digit - b'0')));
    match (whole, fraction) {
        (b"1", 0) => 1000,
        (b"0", fraction) => fraction,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
