//! Hostile bytes made harmless: no line breaks, no terminal sequences, no quotes that end a text.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends bytes for a text line: visible ASCII and valid UTF-8 beyond it as they are, all else as `\xNN`.
pub(crate) fn write_text(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|byte| write_hex(byte, out));
            } else {
                let mut buffer = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            }
        }
        chunk.invalid().iter().for_each(|byte| write_hex(*byte, out));
    }
}

fn write_hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Appends bytes as a JSON string with its quotes (RFC 8259 §7); what is not UTF-8 becomes U+FFFD.
pub(crate) fn write_json(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if c.is_control() => {
                    let code = c as u32;
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        out.push(HEX[(code >> shift & 15) as usize]);
                    }
                }
                c => {
                    let mut buffer = [0; 4];
                    out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_gets_out_of_its_line() {
        let hostile: Vec<u8> = (0..=255).collect();
        let (mut text, mut json) = (Vec::new(), Vec::new());
        write_text(&hostile, &mut text);
        write_json(&hostile, &mut json);
        for out in [&text, &json] {
            assert!(!out.iter().any(u8::is_ascii_control));
            assert!(std::str::from_utf8(out).is_ok());
        }
        let back: String = serde_json::from_slice(&json).unwrap();
        assert!(back.starts_with("\0\u{1}") && back.contains('"'));
        let mut shown = Vec::new();
        write_text("/caf\u{e9}\u{1b}[0m".as_bytes(), &mut shown);
        assert_eq!(String::from_utf8(shown).unwrap(), "/caf\u{e9}\\x1b[0m");
    }
}
