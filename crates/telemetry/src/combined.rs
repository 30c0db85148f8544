//! A request's line in the combined format of Apache and nginx:
//! `ADDRESS - - [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`.
//!
//! Invariant: nothing that a client sends ends its quotes or its line: quotes, backslashes and all bytes but visible ASCII are
//! written as `\xHH`, as nginx does.

use std::io::Write;

use units::Cause;

use crate::{
    event::RequestEvent,
    time::{write_combined, write_number, write_padded},
};

/// What nginx calls a request whose client has gone before it was answered.
const CLIENT_CLOSED: u16 = 499;

pub(crate) fn write(event: &RequestEvent<'_>, out: &mut Vec<u8>) {
    match event.client {
        // Writing to memory cannot fail.
        Some(client) => drop(write!(out, "{client}")),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - - [");
    write_combined(event.unix_us, out);
    out.extend_from_slice(b"] \"");
    if event.method.is_empty() {
        out.push(b'-');
    } else {
        escaped(event.method, out);
        out.push(b' ');
        escaped(event.target, out);
        out.extend_from_slice(b" HTTP/");
        escaped(event.version.as_bytes(), out);
    }
    out.extend_from_slice(b"\" ");
    let status = match event.status {
        0 if event.ending.cause == Cause::ClientClosed => CLIENT_CLOSED,
        status => status,
    };
    write_padded(u64::from(status), 3, out);
    out.push(b' ');
    write_number(event.bytes_out, out);
    for told in [event.referer, event.user_agent] {
        out.extend_from_slice(b" \"");
        escaped(if told.is_empty() { b"-" } else { told }, out);
        out.push(b'"');
    }
    out.push(b'\n');
}

fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                let digit = |four: u8| DIGITS[usize::from(four)];
                out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
            byte => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use units::{Ending, Phase, RequestId};

    use super::*;

    fn event() -> RequestEvent<'static> {
        RequestEvent {
            unix_us: 1_700_000_000_123_456,
            client: Some("127.0.0.1".parse().unwrap()),
            method: b"GET",
            target: b"/report?x=1",
            version: "1.1",
            status: 200,
            bytes_in: 0,
            bytes_out: 1234,
            queue_us: 40,
            app_us: 100_449,
            total_us: 100_600,
            node: "web.2",
            worker: 1234,
            ending: Ending::SERVED,
            id: RequestId::new(255),
            trace: None,
            referer: b"",
            user_agent: b"curl/8.0",
        }
    }

    /// The line without its time, which depends on where this runs.
    fn line(event: &RequestEvent<'_>) -> String {
        let mut out = Vec::new();
        write(event, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (before, rest) = text.split_once('[').unwrap();
        let (time, after) = rest.split_once(']').unwrap();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert!(["00/Nov/0000:00:00:00 +0000", "00/Nov/0000:00:00:00 -0000"].contains(&shape.as_str()), "{time}");
        format!("{before}[]{after}")
    }

    #[test]
    fn a_line_as_apache_and_nginx_write_it() {
        let expected = "127.0.0.1 - - [] \"GET /report?x=1 HTTP/1.1\" 200 1234 \"-\" \"curl/8.0\"\n";
        assert_eq!(line(&event()), expected);
        let refused = RequestEvent { client: None, method: b"", target: b"", status: 400, bytes_out: 0, ..event() };
        assert_eq!(line(&refused), "- - - [] \"-\" 400 0 \"-\" \"curl/8.0\"\n");
    }

    #[test]
    fn who_has_gone_is_499_as_in_nginx() {
        let gone = Ending::new(Cause::ClientClosed, Phase::Queue);
        assert!(line(&RequestEvent { status: 0, ending: gone, ..event() }).contains("HTTP/1.1\" 499 1234"));
    }

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        let hostile: Vec<u8> = (0..=255).collect();
        let line = line(&RequestEvent { referer: &hostile, user_agent: b"a\"b\\\r\n\xc3\xa9", ..event() });
        assert_eq!(line.matches('"').count(), 6, "{line}");
        assert!(line.ends_with("\"a\\x22b\\x5C\\x0D\\x0A\\xC3\\xA9\"\n"), "{line}");
        assert!(line.trim_end().bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line}");
    }
}
