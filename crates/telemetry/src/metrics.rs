//! What is counted of requests and connections: a set of numbers for each thread of the edge, added up when somebody asks.
//! There may be more threads later.
//!
//! Invariant: one thread writes a set, so that counting is a load and a store and nobody waits for anybody; others read at
//! any time. Labels come from closed lists: nothing that a client sends makes a new series.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use units::{Cause, Ending};

use crate::exposition::{Exposition, Kind};

/// Upper bounds of the buckets in microseconds: those that OpenTelemetry recommends for durations of requests, and three
/// below, as many handlers need less than 5 ms.
const BOUNDS_US: [u64; 17] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];

/// The last is for whatever is longer.
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Methods that have a name of their own; the first stands for all others, and for heads that could not be read.
const METHODS: [&str; 8] = ["_OTHER", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Classes of statuses; the first is for requests that were not answered.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A number that one thread counts up.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, amount: u64) {
        // There is one writer: nothing comes between the two.
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Histogram {
    fn record(&self, us: u64) {
        let at = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[at].add(1);
        self.sum_us.add(us);
    }
}

/// What one thread counts. Aligned, so that no two threads write to the same line of the processor's cache.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counts {
    begun: Counter,
    ended: Counter,
    accepted: Counter,
    closed: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    queue_wait: Histogram,
    /// By method, class and cause; few of all that are possible ever happen.
    durations: Box<[OnceLock<Box<Histogram>>]>,
}

/// What is counted of a request when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedRequest<'a> {
    /// Empty when its head could not be read.
    pub method: &'a [u8],
    /// The status sent; 0 when none was.
    pub status: u16,
    /// How it ended.
    pub ending: Ending,
    /// Microseconds from its head to its end.
    pub total_us: u64,
    /// Microseconds that it has waited for a slot; `None` when it has not asked for one.
    pub queue_us: Option<u64>,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let series = METHODS.len() * CLASSES.len() * Cause::NAMES.len();
        Self {
            begun: Counter::default(),
            ended: Counter::default(),
            accepted: Counter::default(),
            closed: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            queue_wait: Histogram::default(),
            durations: (0..series).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Counts {
    /// A connection was accepted.
    pub fn connection_accepted(&self) {
        self.accepted.add(1);
    }

    /// A connection has ended.
    pub fn connection_closed(&self) {
        self.closed.add(1);
    }

    /// A request has begun.
    pub fn request_begun(&self) {
        self.begun.add(1);
    }

    /// A request has ended.
    pub fn request_ended(&self, request: &EndedRequest<'_>) {
        self.ended.add(1);
        self.bytes_in.add(request.bytes_in);
        self.bytes_out.add(request.bytes_out);
        if let Some(us) = request.queue_us {
            self.queue_wait.record(us);
        }
        let method = METHODS.iter().position(|name| name.as_bytes() == request.method).unwrap_or(0);
        let class = usize::from(request.status / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        let at = (method * CLASSES.len() + class) * Cause::NAMES.len() + request.ending.cause.number();
        if let Some(series) = self.durations.get(at) {
            series.get_or_init(Box::default).record(request.total_us);
        }
    }
}

/// What all threads count. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<Arc<Counts>>>>);

impl Metrics {
    /// What a thread counts in, and no other does; what it has counted stays when it has gone.
    pub fn of_thread(&self, index: usize) -> Arc<Counts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= index {
            all.resize_with(index + 1, Arc::default);
        }
        Arc::clone(&all[index])
    }

    fn all(&self) -> Vec<Arc<Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends everything.
    pub fn write(&self, to: &mut Exposition) {
        let all = self.all();
        let sum = |part: fn(&Counts) -> &Counter| all.iter().map(|counts| part(counts).read()).sum::<u64>();
        write_durations(&all, to);
        // What ends is read before what begins: a difference is never below what it was.
        let ended = sum(|counts| &counts.ended);
        let begun = sum(|counts| &counts.begun);
        to.family("http_server_active_requests", Kind::Gauge, "Requests whose head is here and that have not ended.");
        to.sample(&[], begun.saturating_sub(ended));
        to.family("tierce_queue_wait_seconds", Kind::Histogram, "How long requests have waited for a slot.");
        let mut waits = Sums::default();
        all.iter().for_each(|counts| waits.add(&counts.queue_wait));
        waits.write(&[], to);
        let closed = sum(|counts| &counts.closed);
        let accepted = sum(|counts| &counts.accepted);
        to.family("tierce_connections_open", Kind::Gauge, "Connections of clients.");
        to.sample(&[], accepted.saturating_sub(closed));
        for (name, help, value) in [
            ("tierce_connections_accepted_total", "Connections that clients have made.", accepted),
            ("tierce_request_body_bytes_total", "Bytes of requests' bodies.", sum(|counts| &counts.bytes_in)),
            ("tierce_response_body_bytes_total", "Bytes of responses' bodies.", sum(|counts| &counts.bytes_out)),
        ] {
            to.family(name, Kind::Counter, help);
            to.sample(&[], value);
        }
    }
}

fn write_durations(all: &[Arc<Counts>], to: &mut Exposition) {
    let mut series: BTreeMap<usize, Sums> = BTreeMap::new();
    for counts in all {
        let present = counts.durations.iter().enumerate().filter_map(|(at, cell)| Some((at, cell.get()?)));
        present.for_each(|(at, histogram)| series.entry(at).or_default().add(histogram));
    }
    let help = "How long requests have taken, from the head to the end of the response.";
    to.family("http_server_request_duration_seconds", Kind::Histogram, help);
    for (at, sums) in series {
        let (rest, cause) = (at / Cause::NAMES.len(), at % Cause::NAMES.len());
        let labels = [
            ("http_request_method", METHODS[rest / CLASSES.len()]),
            ("http_response_status_class", CLASSES[rest % CLASSES.len()]),
            ("tierce_ending", Cause::NAMES[cause]),
        ];
        sums.write(&labels, to);
    }
}

/// The same histogram of all threads.
#[derive(Debug, Default)]
struct Sums {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Sums {
    fn add(&mut self, histogram: &Histogram) {
        self.sum_us += histogram.sum_us.read();
        self.buckets.iter_mut().zip(&histogram.buckets).for_each(|(sum, counter)| *sum += counter.read());
    }

    fn write(&self, labels: &[(&str, &str)], to: &mut Exposition) {
        let bounds = BOUNDS_US.iter().map(|us| seconds(*us)).chain(["+Inf".to_owned()]);
        to.histogram(labels, bounds.zip(self.buckets), &seconds(self.sum_us));
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use units::Phase;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut exposition = Exposition::default();
        metrics.write(&mut exposition);
        exposition.finish()
    }

    #[test]
    fn threads_are_added_up() {
        let metrics = Metrics::default();
        let request = EndedRequest {
            method: b"GET",
            status: 200,
            ending: Ending::SERVED,
            total_us: 1_000,
            queue_us: Some(0),
            bytes_in: 3,
            bytes_out: 5,
        };
        let [one, other] = [0, 1].map(|index| metrics.of_thread(index));
        let metrics = metrics.clone();
        for (counts, method, total_us) in [(&one, &b"GET"[..], 1_000), (&other, b"GET", 1_001), (&other, b"BREW", 0)] {
            counts.connection_accepted();
            counts.request_begun();
            counts.request_ended(&EndedRequest { method, total_us, ..request });
        }
        one.connection_closed();
        other.request_begun();
        let gone = Ending::new(Cause::ClientClosed, Phase::Queue);
        other.request_ended(&EndedRequest { status: 0, ending: gone, total_us: 99_000_000, queue_us: None, ..request });
        one.request_begun();
        let text = text(&metrics);
        let get = r#"http_request_method="GET",http_response_status_class="2xx",tierce_ending="served""#;
        for line in [
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="0.0005"}} 0"#),
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="0.001"}} 1"#),
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="0.0025"}} 2"#),
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="+Inf"}} 2"#),
            &format!("http_server_request_duration_seconds_sum{{{get}}} 0.002001"),
            &format!("http_server_request_duration_seconds_count{{{get}}} 2"),
            r#"http_server_request_duration_seconds_count{http_request_method="_OTHER",http_response_status_class="2xx",tierce_ending="served"} 1"#,
            r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_class="none",tierce_ending="client_closed"} 1"#,
            r#"tierce_queue_wait_seconds_count 3"#,
            "http_server_active_requests 1",
            "tierce_connections_open 2",
            "tierce_connections_accepted_total 3",
            "tierce_request_body_bytes_total 12",
            "tierce_response_body_bytes_total 20",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (us, expected) in [(0, "0"), (1, "0.000001"), (2_500, "0.0025"), (10_000_000, "10"), (1_500_000, "1.5")] {
            assert_eq!(seconds(us), expected);
        }
    }
}
