//! Which bytes may stand where, as tables: one look per byte.

pub(crate) type Class = [bool; 256];

/// Letters, digits and `extra`.
const fn class(extra: &[u8]) -> Class {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < extra.len() {
        table[extra[at] as usize] = true;
        at += 1;
    }
    table
}

/// `tchar` (RFC 9110 §5.6.2): methods and field names.
pub(crate) static TOKEN: Class = class(b"!#$%&'*+-.^_`|~");

/// A request target: visible ASCII but what starts a fragment or is nowhere legal and has been used for attacks.
pub(crate) static TARGET: Class = class(b"!$%&'()*+,-./:;=?@[]^_`{|}~");

/// `reg-name` (RFC 3986 §3.2.2) without the comma, which makes lists of fields.
pub(crate) static HOST: Class = class(b"!$&'()*+-.;=_~%");

/// A field's value: visible characters, SP, HTAB and obs-text (RFC 9110 §5.5).
pub(crate) static VALUE: Class = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = byte == b'\t' as usize;
        byte += 1;
    }
    table[0x7f] = false;
    table
};

pub(crate) fn all(bytes: &[u8], class: &Class) -> bool {
    bytes.iter().all(|byte| class[usize::from(*byte)])
}

/// The same as `all(bytes, &VALUE)`. Values are long: sixteen bytes are looked at at once, and what is left over together with some
/// that were looked at before, as one by one it would take longer than all others.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<16>() else { return all(bytes, &VALUE) };
    bytes.as_chunks::<16>().0.iter().chain([last]).all(is_fine)
}

fn is_fine(chunk: &[u8; 16]) -> bool {
    chunk.iter().fold(true, |fine, byte| fine & ((b' ' <= *byte && *byte != 0x7f) || *byte == b'\t'))
}

/// Optional white space (RFC 9110 §5.6.3).
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `bytes` without optional white space at both ends, as positions within it.
pub(crate) fn trimmed(bytes: &[u8]) -> (usize, usize) {
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    (start, end)
}

pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let (start, end) = trimmed(bytes);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_their_table_says() {
        for byte in 0..=255u8 {
            for length in [1, 15, 16, 17, 41] {
                for at in [0, length / 2, length - 1] {
                    let mut value = vec![b'x'; length];
                    value[at] = byte;
                    assert_eq!(is_value(&value), VALUE[usize::from(byte)], "{byte} at {at} of {length}");
                }
            }
        }
        assert!(is_value(b""));
    }
}
