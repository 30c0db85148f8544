//! A request's line. Field names of the JSON form are those of OpenTelemetry's semantic conventions where it has them.

use std::net::IpAddr;

use units::{Ending, Phase, RequestId, TraceId};

use crate::{
    combined,
    escape::{write_json, write_text},
    time::{write_clock, write_instant, write_ms, write_number},
};

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

/// What is told of one request when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct RequestEvent<'a> {
    /// When its head was there, in microseconds since 1970.
    pub unix_us: u64,
    /// The client's address; `None` for a Unix socket.
    pub client: Option<IpAddr>,
    /// Empty when the head could not be read.
    pub method: &'a [u8],
    /// Path and query as they came.
    pub target: &'a [u8],
    /// `1.1` or `1.0`.
    pub version: &'a str,
    /// The status sent; 0 when none was.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Microseconds until it had a slot.
    pub queue_us: u64,
    /// Microseconds from there to the response's head.
    pub app_us: u64,
    /// Microseconds in all.
    pub total_us: u64,
    /// The node that had it; empty when none.
    pub node: &'a str,
    /// The worker's process; 0 when none.
    pub worker: u32,
    /// How it ended.
    pub ending: Ending,
    /// Its id.
    pub id: RequestId,
    /// The trace that it belongs to, if it does.
    pub trace: Option<TraceId>,
    /// Where the client says it has found the target; only for the combined format.
    pub referer: &'a [u8],
    /// What the client says it is; only for the combined format.
    pub user_agent: &'a [u8],
}

/// Appends the event as one line.
pub fn write_line(event: &RequestEvent<'_>, format: AccessFormat, out: &mut Vec<u8>) {
    match format {
        AccessFormat::Text => text(event, out),
        AccessFormat::Json => json(event, out),
        AccessFormat::Combined => combined::write(event, out),
    }
}

fn text(event: &RequestEvent<'_>, out: &mut Vec<u8>) {
    write_clock(event.unix_us, out);
    out.push(b' ');
    write_client(event.client, out);
    out.push(b' ');
    write_text(if event.method.is_empty() { b"-" } else { event.method }, out);
    out.push(b' ');
    write_text(if event.target.is_empty() { b"-" } else { event.target }, out);
    out.push(b' ');
    if event.status == 0 {
        out.push(b'-')
    } else {
        write_number(u64::from(event.status), out)
    }
    out.push(b' ');
    write_number(event.bytes_out, out);
    out.extend_from_slice(b"B queue ");
    write_ms(event.queue_us, 1, out);
    out.extend_from_slice(b" app ");
    write_ms(event.app_us, 1, out);
    out.extend_from_slice(b" total ");
    write_ms(event.total_us, 1, out);
    out.extend_from_slice(b" ms ");
    if event.node.is_empty() {
        out.push(b'-');
    } else {
        out.extend_from_slice(event.node.as_bytes());
        if event.worker != 0 {
            out.push(b'/');
            write_number(u64::from(event.worker), out);
        }
    }
    out.push(b' ');
    out.extend_from_slice(event.ending.cause.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(event.id.as_bytes());
    out.push(b'\n');
}

fn json(event: &RequestEvent<'_>, out: &mut Vec<u8>) {
    let query = memchr(event.target);
    let (path, query) = (&event.target[..query.unwrap_or(event.target.len())], query.map(|at| &event.target[at + 1..]));
    out.extend_from_slice(b"{\"time\":\"");
    write_instant(event.unix_us, out);
    out.extend_from_slice(b"\",\"http.request.method\":");
    write_json(event.method, out);
    out.extend_from_slice(b",\"url.path\":");
    write_json(path, out);
    if let Some(query) = query {
        out.extend_from_slice(b",\"url.query\":");
        write_json(query, out);
    }
    out.extend_from_slice(b",\"network.protocol.version\":");
    write_json(event.version.as_bytes(), out);
    out.extend_from_slice(b",\"client.address\":\"");
    write_client(event.client, out);
    out.push(b'"');
    for (name, number) in [
        (&b"http.response.status_code"[..], u64::from(event.status)),
        (b"http.request.body.size", event.bytes_in),
        (b"http.response.body.size", event.bytes_out),
    ] {
        key(name, out);
        write_number(number, out);
    }
    for (name, us) in [
        (&b"tierce.queue_ms"[..], event.queue_us),
        (b"tierce.app_ms", event.app_us),
        (b"tierce.total_ms", event.total_us),
    ] {
        key(name, out);
        write_ms(us, 3, out);
    }
    key(b"tierce.node", out);
    write_json(event.node.as_bytes(), out);
    key(b"tierce.worker", out);
    write_number(u64::from(event.worker), out);
    key(b"tierce.ending", out);
    write_json(event.ending.cause.name().as_bytes(), out);
    key(b"tierce.phase", out);
    write_json(phase(event.ending.phase).as_bytes(), out);
    key(b"tierce.request_id", out);
    write_json(event.id.as_bytes(), out);
    if let Some(trace) = event.trace {
        key(b"trace_id", out);
        write_json(&trace.to_hex(), out);
    }
    out.extend_from_slice(b"}\n");
}

fn memchr(target: &[u8]) -> Option<usize> {
    target.iter().position(|byte| *byte == b'?')
}

fn key(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
}

fn write_client(client: Option<IpAddr>, out: &mut Vec<u8>) {
    use std::io::Write;
    match client {
        // Writing to memory cannot fail.
        Some(client) => drop(write!(out, "{client}")),
        None => out.extend_from_slice(b"unix"),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::ReadHead => "read_head",
        Phase::Queue => "queue",
        Phase::AwaitHead => "await_head",
        Phase::SendBody => "send_body",
        Phase::Done => "done",
    }
}

#[cfg(test)]
mod tests {
    use units::Cause;

    use super::*;

    fn event() -> RequestEvent<'static> {
        RequestEvent {
            unix_us: 1_700_000_000_123_456,
            client: Some("127.0.0.1".parse().unwrap()),
            method: b"GET",
            target: b"/report?x=1\n\"",
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
            trace: TraceId::new(255),
            referer: b"",
            user_agent: b"",
        }
    }

    #[test]
    fn a_line_for_people() {
        let mut out = Vec::new();
        write_line(&event(), AccessFormat::Text, &mut out);
        let refused = RequestEvent {
            method: b"",
            target: b"",
            status: 0,
            node: "",
            worker: 0,
            client: None,
            ending: Ending::new(Cause::ClientClosed, Phase::ReadHead),
            ..event()
        };
        write_line(&refused, AccessFormat::Text, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (times, lines): (Vec<_>, Vec<_>) = text.lines().map(|line| line.split_once(' ').unwrap()).unzip();
        // The hour is that of the place where this runs.
        let dated = |time: &&str| time.starts_with("2023-11-1") && time.ends_with(":20.123");
        assert!(times.iter().all(dated), "{times:?}");
        assert_eq!(
            lines,
            [
                "127.0.0.1 GET /report?x=1\\x0a\" 200 1234B queue 0.0 app 100.4 total 100.6 ms web.2/1234 served 00000000000000ff",
                "unix - - - 1234B queue 0.0 app 100.4 total 100.6 ms - client_closed 00000000000000ff",
            ]
        );
    }

    #[test]
    fn a_line_for_programs() {
        let mut out = Vec::new();
        write_line(&event(), AccessFormat::Json, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        for (name, expected) in [
            ("time", serde_json::json!("2023-11-14T22:13:20.123456Z")),
            ("url.path", "/report".into()),
            ("url.query", "x=1\n\"".into()),
            ("http.response.status_code", 200.into()),
            ("tierce.app_ms", 100.449.into()),
            ("tierce.node", "web.2".into()),
            ("tierce.worker", 1234.into()),
            ("tierce.ending", "served".into()),
            ("tierce.request_id", "00000000000000ff".into()),
            ("trace_id", "000000000000000000000000000000ff".into()),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
    }
}
