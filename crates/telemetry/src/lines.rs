//! An application's line and our own.

use crate::{
    escape::write_json,
    time::{write_clock, write_instant, write_number},
};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A whole line of the log as one object: one that is text already becomes its `message`, with whose it is.
pub fn line_as_json(line: &[u8]) -> Vec<u8> {
    if line.starts_with(b"{") {
        return line.to_vec();
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    let mut out = b"{".to_vec();
    let message = match text.split_once(" | ") {
        Some((whose, message)) if !whose.contains(' ') => {
            let (node, worker) = whose.split_once('/').unwrap_or((whose, "0"));
            out.extend_from_slice(b"\"tierce.node\":");
            write_json(node.as_bytes(), &mut out);
            out.extend_from_slice(b",\"tierce.worker\":");
            write_number(worker.parse().unwrap_or(0), &mut out);
            out.push(b',');
            message
        }
        _ => &text,
    };
    out.extend_from_slice(b"\"message\":");
    write_json(message.as_bytes(), &mut out);
    out.extend_from_slice(b"}\n");
    out
}

/// What a message of Tierce itself is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// All of it.
    Tierce,
    /// One node, whose lines can be asked for.
    Node(&'a str),
}

/// A longer line of an application is cut into pieces.
pub(crate) const LINE_MAX: usize = 64 * 1024;

/// Appends one line of an application's output, without its line end. `worker` is 0 for output during the import.
pub fn write_app_line(unix_us: u64, node: &str, worker: u32, line: &[u8], format: LineFormat, out: &mut Vec<u8>) {
    for piece in line.chunks(LINE_MAX).chain(line.is_empty().then_some(line)) {
        match format {
            LineFormat::Text => {
                out.extend_from_slice(node.as_bytes());
                if worker != 0 {
                    out.push(b'/');
                    write_number(u64::from(worker), out);
                }
                out.extend_from_slice(b" | ");
                // Colours are the application's business; a carriage return would overwrite whose line it is.
                out.extend(piece.iter().filter(|byte| **byte != b'\r'));
                out.push(b'\n');
            }
            LineFormat::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                write_instant(unix_us, out);
                out.extend_from_slice(b"\",\"tierce.node\":");
                write_json(node.as_bytes(), out);
                out.extend_from_slice(b",\"tierce.worker\":");
                write_number(u64::from(worker), out);
                out.extend_from_slice(b",\"message\":");
                write_json(piece, out);
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

/// Begins a message of Tierce itself, behind the time.
pub(crate) const OWN: &str = " tierce: ";

/// Appends a message of Tierce itself for the log file.
pub(crate) fn write_message(unix_us: u64, about: About<'_>, text: &str, format: LineFormat, out: &mut Vec<u8>) {
    for line in text.lines() {
        match format {
            LineFormat::Text => {
                write_clock(unix_us, out);
                out.extend_from_slice(OWN.as_bytes());
                // Each line says what it is about; most name it anyway.
                if let About::Node(node) = about
                    && !line.starts_with(node)
                {
                    out.extend_from_slice(node.as_bytes());
                    out.extend_from_slice(b": ");
                }
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
            LineFormat::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                write_instant(unix_us, out);
                out.push(b'"');
                if let About::Node(node) = about {
                    out.extend_from_slice(b",\"tierce.node\":");
                    write_json(node.as_bytes(), out);
                }
                out.extend_from_slice(b",\"tierce.message\":");
                write_json(line.as_bytes(), out);
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_whose_they_are() {
        let mut out = Vec::new();
        write_app_line(0, "web.1", 12, b"hello", LineFormat::Text, &mut out);
        write_app_line(0, "web.1", 0, b"", LineFormat::Text, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "web.1/12 | hello\nweb.1 | \n");
        let mut out = Vec::new();
        write_app_line(0, "web.1", 12, b"a\"b\xff", LineFormat::Json, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["tierce.node"], &value["message"]), (&"web.1".into(), &"a\"b\u{fffd}".into()));
    }

    #[test]
    fn messages_say_what_they_are_about() {
        let written = |about, format| {
            let mut out = Vec::new();
            write_message(0, about, "web.1 is gone\nwhy", format, &mut out);
            String::from_utf8(out).unwrap()
        };
        let text = written(About::Node("web.1"), LineFormat::Text);
        let said: Vec<_> = text.lines().map(|line| line.split_once(OWN).unwrap().1).collect();
        assert_eq!(said, ["web.1 is gone", "web.1: why"]);
        assert!(written(About::Tierce, LineFormat::Text).ends_with(" tierce: why\n"));
        for line in written(About::Node("web.1"), LineFormat::Json).lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["tierce.node"], "web.1");
        }
    }

    #[test]
    fn every_line_becomes_one_object() {
        for (line, expected) in [
            ("{\"a\":1}\n", serde_json::json!({ "a": 1 })),
            (
                "web.1/12 | a \"b\" | c\n",
                serde_json::json!({ "tierce.node": "web.1", "tierce.worker": 12, "message": "a \"b\" | c" }),
            ),
            ("web.1 | {}\n", serde_json::json!({ "tierce.node": "web.1", "tierce.worker": 0, "message": "{}" })),
            ("12:00 tierce: a | b\n", serde_json::json!({ "message": "12:00 tierce: a | b" })),
        ] {
            let json = line_as_json(line.as_bytes());
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap(), expected);
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut out = Vec::new();
        write_app_line(0, "w", 0, &vec![b'x'; LINE_MAX * 2 + 1], LineFormat::Text, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 3);
    }
}
