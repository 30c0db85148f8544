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

use crate::{
    exposition::{Exposition, Kind},
    services::{Counted, Names},
};

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
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counts {
    begun: Counter,
    ended: Counter,
    accepted: Counter,
    closed: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    /// By the name under which requests are counted; made when there are any.
    services: Rare<OfService, { Counted::ALL }>,
}

/// What is counted of the requests of one service.
#[derive(Debug, Default)]
struct OfService {
    queue_wait: Histogram,
    /// By method and class, and then by cause; few of all that are possible ever happen.
    durations: Rare<Causes, { METHODS.len() * CLASSES.len() }>,
}

type Causes = Rare<Histogram, { Cause::NAMES.len() }>;

/// Places for what seldom is there: each is made when it is wanted for the first time.
#[derive(Debug)]
struct Rare<T, const N: usize>([OnceLock<Box<T>>; N]);

impl<T, const N: usize> Default for Rare<T, N> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; N])
    }
}

impl<T: Default, const N: usize> Rare<T, N> {
    fn make(&self, at: usize) -> &T {
        self.0[at].get_or_init(Box::default)
    }

    /// What is there at this place.
    fn find(&self, at: usize) -> Option<&T> {
        Some(self.0.get(at)?.get()?.as_ref())
    }

    /// All that is there, each with its place.
    fn present(&self) -> impl Iterator<Item = (usize, &T)> {
        (0..N).filter_map(|at| Some((at, self.find(at)?)))
    }
}

/// What is counted of a request when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedRequest<'a> {
    /// Whose request it was.
    pub service: Counted,
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
        let service = self.services.make(request.service.number());
        if let Some(us) = request.queue_us {
            service.queue_wait.record(us);
        }
        let method = METHODS.iter().position(|name| name.as_bytes() == request.method).unwrap_or(0);
        let class = usize::from(request.status / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        let causes = service.durations.make(method * CLASSES.len() + class);
        causes.make(request.ending.cause.number()).record(request.total_us);
    }
}

/// What all threads count. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    threads: Arc<Mutex<Vec<Arc<Counts>>>>,
    names: Arc<Names>,
}

impl Metrics {
    /// What requests of the service with this name are to be counted under, now and after any reload.
    pub fn counted(&self, service: &str) -> Counted {
        self.names.counted(service)
    }

    /// What a thread counts in, and no other does; what it has counted stays when it has gone.
    pub fn of_thread(&self, index: usize) -> Arc<Counts> {
        let mut all = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= index {
            all.resize_with(index + 1, Arc::default);
        }
        Arc::clone(&all[index])
    }

    fn all(&self) -> Vec<Arc<Counts>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends everything.
    pub fn write(&self, to: &mut Exposition) {
        let all = self.all();
        let sum = |part: fn(&Counts) -> &Counter| all.iter().map(|counts| part(counts).read()).sum::<u64>();
        let names = self.names.all();
        write_durations(&all, &names, to);
        // What ends is read before what begins: a difference is never below what it was.
        let ended = sum(|counts| &counts.ended);
        let begun = sum(|counts| &counts.begun);
        to.family("http_server_active_requests", Kind::Gauge, "Requests whose head is here and that have not ended.");
        to.sample(&[], begun.saturating_sub(ended));
        write_waits(&all, &names, to);
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

fn write_durations(all: &[Arc<Counts>], names: &[String], to: &mut Exposition) {
    let help = "How long requests have taken, from the head to the end of the response.";
    to.family("http_server_request_duration_seconds", Kind::Histogram, help);
    for (number, name) in names.iter().enumerate() {
        let mut series: BTreeMap<_, Sums> = BTreeMap::new();
        for service in of_service(all, number) {
            for (rest, causes) in service.durations.present() {
                causes.present().for_each(|(cause, one)| series.entry((rest, cause)).or_default().add(one));
            }
        }
        for ((rest, cause), sums) in series {
            let labels = [
                ("service", name.as_str()),
                ("http_request_method", METHODS[rest / CLASSES.len()]),
                ("http_response_status_class", CLASSES[rest % CLASSES.len()]),
                ("tierce_ending", Cause::NAMES[cause]),
            ];
            sums.write(&labels, to);
        }
    }
}

fn write_waits(all: &[Arc<Counts>], names: &[String], to: &mut Exposition) {
    to.family("tierce_queue_wait_seconds", Kind::Histogram, "How long requests have waited for a slot.");
    for (number, name) in names.iter().enumerate() {
        let mut waits = Sums::default();
        of_service(all, number).for_each(|service| waits.add(&service.queue_wait));
        // Tierce itself is waited for by nobody.
        if waits.buckets != [0; BUCKETS] {
            waits.write(&[("service", name.as_str())], to);
        }
    }
}

/// What the threads have counted under a name.
fn of_service(all: &[Arc<Counts>], number: usize) -> impl Iterator<Item = &OfService> {
    all.iter().filter_map(move |counts| counts.services.find(number))
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
        let [web, api] = ["web", "api"].map(|name| metrics.counted(name));
        let request = EndedRequest {
            service: web,
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
        for (counts, service, method, total_us) in
            [(&one, web, &b"GET"[..], 1_000), (&other, web, b"GET", 1_001), (&other, api, b"BREW", 0)]
        {
            counts.connection_accepted();
            counts.request_begun();
            counts.request_ended(&EndedRequest { service, method, total_us, ..request });
        }
        one.connection_closed();
        other.request_begun();
        let gone = Ending::new(Cause::ClientClosed, Phase::Queue);
        let service = Counted::default();
        let gone = EndedRequest { service, status: 0, ending: gone, total_us: 99_000_000, queue_us: None, ..request };
        other.request_ended(&gone);
        one.request_begun();
        let text = text(&metrics);
        let get = r#"service="web",http_request_method="GET",http_response_status_class="2xx",tierce_ending="served""#;
        for line in [
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="0.0005"}} 0"#),
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="0.001"}} 1"#),
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="0.0025"}} 2"#),
            &format!(r#"http_server_request_duration_seconds_bucket{{{get},le="+Inf"}} 2"#),
            &format!("http_server_request_duration_seconds_sum{{{get}}} 0.002001"),
            &format!("http_server_request_duration_seconds_count{{{get}}} 2"),
            r#"http_server_request_duration_seconds_count{service="api",http_request_method="_OTHER",http_response_status_class="2xx",tierce_ending="served"} 1"#,
            r#"http_server_request_duration_seconds_count{service="tierce",http_request_method="GET",http_response_status_class="none",tierce_ending="client_closed"} 1"#,
            r#"tierce_queue_wait_seconds_count{service="web"} 2"#,
            r#"tierce_queue_wait_seconds_count{service="api"} 1"#,
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
    fn what_never_happens_takes_no_memory() {
        let metrics = Metrics::default();
        let counts = metrics.of_thread(0);
        let request = EndedRequest {
            service: metrics.counted("web"),
            method: b"GET",
            status: 200,
            ending: Ending::SERVED,
            total_us: 1,
            queue_us: None,
            bytes_in: 0,
            bytes_out: 0,
        };
        counts.request_ended(&request);
        counts.request_ended(&request);
        let rows: Vec<_> = counts.services.present().flat_map(|(_, service)| service.durations.present()).collect();
        assert_eq!((counts.services.present().count(), rows.len(), rows[0].1.present().count()), (1, 1, 1));
        assert!(size_of::<Counts>() + size_of::<OfService>() + size_of::<Causes>() < 4 << 10);
    }

    #[test]
    fn seconds_are_exact() {
        for (us, expected) in [(0, "0"), (1, "0.000001"), (2_500, "0.0025"), (10_000_000, "10"), (1_500_000, "1.5")] {
            assert_eq!(seconds(us), expected);
        }
    }
}
