//! Which trace a request belongs to, as W3C Trace Context (level 1) writes it: `00-TRACE-PARENT-FLAGS`.
//!
//! Invariant: a context that exists is valid; what is malformed is as good as nothing.

use crate::RequestIds;

/// Names a trace: 16 bytes, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// `None` for 0, which names no trace.
    pub fn new(number: u128) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// 32 lower-case hexadecimal digits.
    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(self.0, &mut text);
        text
    }
}

/// A request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    text: [u8; LENGTH],
}

/// `00-` and 32, 16 and 2 digits with dashes between them.
const LENGTH: usize = 55;

impl TraceContext {
    /// Reads the value of a `traceparent` field. A later version is read as far as this one knows it (§4.3 of the
    /// recommendation), and passed on as this one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let version = number(&known[..2])?;
        let follows = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let trace = TraceId::new(number(&known[3..35])?)?;
        let (parent, _flags) = (number(&known[36..52])?, number(&known[53..])?);
        if !(dashes && follows && parent != 0) {
            return None;
        }
        let mut text: [u8; LENGTH] = known.try_into().ok()?;
        text[..2].copy_from_slice(b"00");
        Some(Self { trace, text })
    }

    /// A new trace, which is recorded by whoever records any.
    pub fn make(ids: &mut RequestIds) -> Self {
        let mut next = || u128::from(ids.number());
        // The lowest bit keeps both from being zero.
        let (trace, parent) = (next() << 64 | next() | 1, next() | 1);
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hex(trace, &mut text[3..35]);
        write_hex(parent, &mut text[36..52]);
        Self { trace: TraceId(trace), text }
    }

    /// The value of the field.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

/// Lower-case hexadecimal digits only.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let four = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(four))
    })
}

fn write_hex(mut number: u128, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::try_from(number & 15).expect("below 16")];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_valid_is_taken_over() {
        let later = format!("cc{}", &GIVEN[2..]);
        for text in [GIVEN, &GIVEN.replace("-01", "-00"), &later, &format!("{later}-more")] {
            let context = TraceContext::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(context.trace.to_hex().as_slice(), &GIVEN.as_bytes()[3..35]);
            assert_eq!(context.as_bytes(), format!("00{}", &text[2..55]).as_bytes());
        }
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for text in [
            "",
            &GIVEN[..54],
            &format!("{GIVEN}-more"),
            &format!("{GIVEN} "),
            &GIVEN.to_uppercase(),
            &format!("ff{}", &GIVEN[2..]),
            &format!("cc{}more", &GIVEN[2..]),
            &GIVEN.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GIVEN.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GIVEN.replace('-', "_"),
            &GIVEN.replace("-01", "-0g"),
            &GIVEN.replace("0af7", "+af7"),
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_made_is_valid_and_another_each_time() {
        let mut ids = RequestIds::new();
        let made: std::collections::HashSet<_> = (0..1000)
            .map(|_| TraceContext::make(&mut ids))
            .map(|context| {
                assert_eq!(TraceContext::parse(context.as_bytes()), Some(context));
                context.trace
            })
            .collect();
        assert_eq!(made.len(), 1000);
    }
}
