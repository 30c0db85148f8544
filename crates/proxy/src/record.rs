//! What is told of a request when it has ended: one event, made in one place.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{RequestHead, Version};
use policy::{NodeLabel, WorkerId};
use telemetry::{AccessFormat, Counted, EndedRequest, RequestEvent};
use units::{Ending, Phase, RequestId};

use crate::{connection::Connection, request::Request};

/// When what happened to a request, and where.
#[derive(Debug)]
pub(crate) struct Story {
    /// By which it is known, also when its head could not be read.
    pub(crate) id: RequestId,
    pub(crate) began: Instant,
    asked: Option<Instant>,
    /// Under which it is counted: that which it has asked.
    service: Counted,
    granted: Option<Instant>,
    handed_over: Option<Instant>,
    head_arrived: Option<Instant>,
    node: Option<Arc<NodeLabel>>,
    pid: u32,
    server: Option<WorkerId>,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    retry_after: Option<Duration>,
}

impl Story {
    pub(crate) fn begin(now: Instant, id: RequestId) -> Self {
        Self {
            id,
            began: now,
            asked: None,
            service: Counted::default(),
            granted: None,
            handed_over: None,
            head_arrived: None,
            node: None,
            pid: 0,
            server: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            retry_after: None,
        }
    }

    /// It wants a slot of this service.
    pub(crate) fn asked(&mut self, now: Instant, service: Counted) {
        self.asked = Some(now);
        self.service = service;
    }

    /// A slot was given.
    pub(crate) fn granted(&mut self, now: Instant) {
        self.granted = Some(now);
    }

    /// A worker has it; not necessarily the first.
    pub(crate) fn handed_over(&mut self, now: Instant, node: Arc<NodeLabel>, pid: u32) {
        self.handed_over = Some(now);
        self.node = Some(node);
        self.pid = pid;
    }

    /// The worker had not started it; it has only waited.
    pub(crate) fn taken_back(&mut self) {
        (self.granted, self.handed_over, self.node) = (None, None, None);
    }

    /// The response's head is here.
    pub(crate) fn head_arrived(&mut self, now: Instant) {
        self.head_arrived = Some(now);
    }

    /// The client is asked to come again after this.
    pub(crate) fn retry_after(&mut self, wait: Duration) {
        self.retry_after = Some(wait);
    }

    /// The same in whole seconds, at least one (RFC 9110 §10.2.3).
    pub(crate) fn retry_seconds(&self) -> u64 {
        let wait = self.retry_after.unwrap_or_default();
        (wait.as_secs() + u64::from(0 < wait.subsec_nanos())).max(1)
    }

    /// That head is this worker's.
    pub(crate) fn served_by(&mut self, worker: WorkerId) {
        self.server = Some(worker);
    }

    /// Whose response it is.
    pub(crate) fn server(&self) -> Option<WorkerId> {
        self.server
    }

    /// A head with this status goes to the client.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Whether the head of a response was written.
    pub(crate) fn has_answer(&self) -> bool {
        self.status != 0
    }

    /// Body bytes that the client has sent, and been sent.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.bytes_in = bytes;
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }

    /// Appends the `Server-Timing` of a request whose response's head is made `now`: what it has waited for, and how long.
    pub(crate) fn write_timing(&self, now: Instant, out: &mut Vec<u8>) {
        let between = |from: Instant, to: Option<Instant>| to.unwrap_or(now).saturating_duration_since(from);
        let queue = self.asked.map(|asked| ("queue", between(asked, self.granted)));
        let app = self.handed_over.map(|handed_over| ("app", between(handed_over, self.head_arrived)));
        let mut before = "Server-Timing: ";
        for (name, duration) in queue.into_iter().chain(app) {
            // Writing to memory cannot fail.
            let _ = write!(out, "{before}{name};dur={:.3}", duration.as_secs_f64() * 1000.0);
            before = ", ";
        }
        if before == ", " {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// `web.2` and 1234, as `X-Served-By` and the log name them.
    pub(crate) fn worker(&self) -> Option<(&str, u32)> {
        self.node.as_ref().map(|node| (node.name.as_str(), self.pid))
    }
}

/// Counts the request, and writes its line to the access log. `request` is `None` when its head could not be read.
pub(crate) fn record(connection: &Connection, request: Option<&Request<'_>>, story: &Story, ending: Ending) {
    let now = Instant::now();
    count(connection, request, story, ending, now);
    let Some(format) = connection.thread.settings().access_log else { return };
    let input = &connection.input;
    let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
        (Some(from), Some(to)) => microseconds(to.saturating_duration_since(from)),
        _ => 0,
    };
    let left_queue = match ending.phase {
        Phase::Queue => Some(now),
        _ => story.granted.or(story.handed_over),
    };
    let told = request.and_then(|request| request.told.as_ref());
    let (node, worker) = story.worker().unwrap_or(("", 0));
    let event = RequestEvent {
        unix_us: connection.thread.unix_us(story.began),
        client: told.map_or(connection.peer.ip, |told| told.address),
        method: request.map_or(b"", |request| request.head.method.of(input)),
        target: request.map_or(b"", |request| request.head.target.of(input)),
        version: request.map_or("", |request| version(request.head, input)),
        status: story.status,
        bytes_in: story.bytes_in,
        bytes_out: story.bytes_out,
        queue_us: between(Some(story.began), left_queue),
        app_us: between(story.handed_over, story.head_arrived.or(Some(now))),
        total_us: microseconds(now.saturating_duration_since(story.began)),
        node,
        worker,
        ending,
        id: story.id,
        trace: request.and_then(|request| request.trace.context()).map(|context| context.trace),
        referer: if format == AccessFormat::Combined { said(request, input, b"referer") } else { b"" },
        user_agent: if format == AccessFormat::Combined { said(request, input, b"user-agent") } else { b"" },
    };
    connection.thread.log(|out| telemetry::write_line(&event, format, out));
}

fn count(connection: &Connection, request: Option<&Request<'_>>, story: &Story, ending: Ending, now: Instant) {
    let since = |from: Instant, to: Instant| microseconds(to.saturating_duration_since(from));
    let left_queue = story.granted.unwrap_or(now);
    connection.thread.counts.request_ended(&EndedRequest {
        service: story.service,
        method: request.map_or(b"", |request| request.method(&connection.input)),
        status: story.status,
        ending,
        total_us: since(story.began, now),
        queue_us: story.asked.map(|asked| since(asked, left_queue)),
        bytes_in: story.bytes_in,
        bytes_out: story.bytes_out,
    });
}

/// The value of the first field of this name; empty when there is none.
fn said<'i>(request: Option<&Request<'_>>, input: &'i [u8], name: &[u8]) -> &'i [u8] {
    let mut fields = request.iter().flat_map(|request| &request.head.fields);
    let found = fields.find(|field| field.name.of(input).eq_ignore_ascii_case(name));
    found.map_or(b"", |field| field.value.of(input))
}

/// The version that the client speaks, with a gateway if there is one.
fn version<'i>(head: &RequestHead, input: &'i [u8]) -> &'i str {
    let protocol = head.gateway.map(|gateway| gateway.protocol.of(input));
    let told = protocol.and_then(|text| std::str::from_utf8(text).ok()?.strip_prefix("HTTP/"));
    told.unwrap_or(match head.version {
        Version::Http11 => "1.1",
        Version::Http10 => "1.0",
    })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
