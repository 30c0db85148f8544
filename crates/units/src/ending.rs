//! How a request ended: one closed pair of words from which status, log field and right to retry follow.
//!
//! Invariant: every request has exactly one `Ending`, made at the single exit of the request path.
//! Names follow RFC 9209 §2.3 where it has one; the others are ours.

/// Who or what ended the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The application answered and the client has the whole answer.
    Served,
    /// The application raised an exception; it answered nothing, or not to the end.
    AppException,
    /// The application cannot be loaded as it is now, and what was loaded before is not to answer (`up --reload`).
    AppNotLoaded,
    /// The request's body is larger than `limits.body`.
    BodyTooLarge,
    /// The client closed its connection before the end.
    ClientClosed,
    /// The client has `limits.client_in_flight` requests in flight already.
    ClientInFlight,
    /// The client sent or read nothing for too long.
    ClientTimedOut,
    /// No connection to an upstream could be made (RFC 9209 `connection_refused`).
    ConnectionRefused,
    /// The upstream's connection ended before it had answered anything (RFC 9209 `connection_terminated`).
    ConnectionTerminated,
    /// An upstream took no connection in time (RFC 9209 `connection_timeout`).
    ConnectionTimeout,
    /// No upstream takes requests (RFC 9209 `destination_unavailable`).
    DestinationUnavailable,
    /// The name of an upstream stands for no address (RFC 9209 `dns_error`).
    DnsError,
    /// Its node or worker was to stop, and the request was not finished within `limits.drain`.
    Draining,
    /// It came in plain HTTP where HTTPS is spoken.
    HttpOnHttpsPort,
    /// The request cannot be understood (RFC 9112) or is refused as ambiguous; the status says which.
    HttpProtocolError(u16),
    /// The application gave no response head within `limits.time` (RFC 9209 `http_response_timeout`).
    HttpResponseTimeout,
    /// The response broke off, or did not have the length it declared (RFC 9209 `http_response_incomplete`).
    HttpResponseIncomplete,
    /// Nobody is served at present, at the operator's word (`maintenance`).
    Maintenance,
    /// No route leads anywhere for it.
    NoRoute,
    /// No slot was free, and the queue is full.
    QueueFull,
    /// No worker has started the request within `limits.queue`.
    QueueTimeout,
    /// Nothing has moved for `limits.tunnel` on a connection that had left HTTP.
    TunnelTimeout,
    /// The client has come more often than `rate_limit` allows.
    RateLimited,
    /// The response is larger than `limits.response`.
    ResponseTooLarge,
    /// The certificate of an upstream is not to be trusted (RFC 9209 `tls_certificate_error`).
    TlsCertificateError,
    /// An upstream does not speak TLS as it should, or not with us (RFC 9209 `tls_protocol_error`).
    TlsProtocolError,
    /// What an upstream has sent is no response, or one that could be read in two ways.
    UpstreamProtocolError,
    /// Tierce itself failed (RFC 9209 `proxy_internal_error`).
    ProxyInternalError,
    /// The worker ended while it was running the request.
    WorkerCrashed,
}

/// Where the request stood when it ended, in the order in which a request lives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Its head was being read.
    ReadHead,
    /// It waited for a slot.
    Queue,
    /// A worker had it; no response byte was forwarded yet.
    AwaitHead,
    /// Response bytes were on their way to the client.
    SendBody,
    /// Everything was sent.
    Done,
}

/// How a request ended. Exactly one per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ending {
    /// Who or what ended it.
    pub cause: Cause,
    /// Where it stood.
    pub phase: Phase,
}

impl Ending {
    /// The application's answer was delivered.
    pub const SERVED: Self = Self { cause: Cause::Served, phase: Phase::Done };

    /// Pairs a cause with a phase.
    pub const fn new(cause: Cause, phase: Phase) -> Self {
        Self { cause, phase }
    }

    /// The status to answer with, or `None` when there is nobody to answer or the head has already left.
    pub fn status(self) -> Option<u16> {
        if Phase::SendBody <= self.phase {
            return None;
        }
        match self.cause {
            Cause::Served | Cause::ClientClosed => None,
            Cause::AppException | Cause::AppNotLoaded => Some(500),
            Cause::BodyTooLarge => Some(413),
            Cause::NoRoute => Some(404),
            Cause::ClientInFlight | Cause::RateLimited => Some(429),
            Cause::ClientTimedOut => Some(408),
            Cause::HttpOnHttpsPort => Some(400),
            Cause::HttpProtocolError(status) => Some(status),
            Cause::HttpResponseTimeout | Cause::ConnectionTimeout | Cause::TunnelTimeout => Some(504),
            Cause::HttpResponseIncomplete | Cause::ResponseTooLarge | Cause::WorkerCrashed => Some(502),
            Cause::ConnectionRefused | Cause::ConnectionTerminated | Cause::UpstreamProtocolError => Some(502),
            Cause::DnsError | Cause::TlsCertificateError | Cause::TlsProtocolError => Some(502),
            Cause::DestinationUnavailable | Cause::Maintenance => Some(503),
            // 503 would say that nothing was done yet and that it may be sent again.
            Cause::Draining if self.phase == Phase::AwaitHead => Some(502),
            Cause::Draining | Cause::QueueFull | Cause::QueueTimeout => Some(503),
            Cause::ProxyInternalError => Some(500),
        }
    }
}

impl Cause {
    /// The words of all causes, by [`Cause::number`].
    pub const NAMES: [&str; 29] = [
        "served",
        "app_exception",
        "app_not_loaded",
        "body_too_large",
        "client_closed",
        "client_timed_out",
        "draining",
        "http_protocol_error",
        "http_response_timeout",
        "http_response_incomplete",
        "queue_full",
        "queue_timeout",
        "proxy_internal_error",
        "worker_crashed",
        "http_on_https_port",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "destination_unavailable",
        "upstream_protocol_error",
        "no_route",
        "tunnel_timeout",
        "client_in_flight",
        "maintenance",
        "rate_limited",
        "response_too_large",
        "dns_error",
        "tls_certificate_error",
        "tls_protocol_error",
    ];

    /// Its place in [`Cause::NAMES`].
    pub fn number(self) -> usize {
        match self {
            Self::Served => 0,
            Self::AppException => 1,
            Self::AppNotLoaded => 2,
            Self::BodyTooLarge => 3,
            Self::ClientClosed => 4,
            Self::ClientTimedOut => 5,
            Self::Draining => 6,
            Self::HttpProtocolError(_) => 7,
            Self::HttpResponseTimeout => 8,
            Self::HttpResponseIncomplete => 9,
            Self::QueueFull => 10,
            Self::QueueTimeout => 11,
            Self::ProxyInternalError => 12,
            Self::WorkerCrashed => 13,
            Self::HttpOnHttpsPort => 14,
            Self::ConnectionRefused => 15,
            Self::ConnectionTerminated => 16,
            Self::ConnectionTimeout => 17,
            Self::DestinationUnavailable => 18,
            Self::UpstreamProtocolError => 19,
            Self::NoRoute => 20,
            Self::TunnelTimeout => 21,
            Self::ClientInFlight => 22,
            Self::Maintenance => 23,
            Self::RateLimited => 24,
            Self::ResponseTooLarge => 25,
            Self::DnsError => 26,
            Self::TlsCertificateError => 27,
            Self::TlsProtocolError => 28,
        }
    }

    /// The word for logs, metrics and error pages.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.number()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_their_names() {
        for (cause, name) in [
            (Cause::Served, "served"),
            (Cause::ClientTimedOut, "client_timed_out"),
            (Cause::HttpProtocolError(400), "http_protocol_error"),
            (Cause::QueueTimeout, "queue_timeout"),
            (Cause::WorkerCrashed, "worker_crashed"),
        ] {
            assert_eq!(cause.name(), name);
        }
    }

    #[test]
    fn a_status_exists_only_before_the_head_has_left() {
        let crashed = |phase| Ending::new(Cause::WorkerCrashed, phase).status();
        assert_eq!(crashed(Phase::AwaitHead), Some(502));
        assert_eq!(crashed(Phase::SendBody), None);
        let cut_off = |phase| Ending::new(Cause::Draining, phase).status();
        assert_eq!((cut_off(Phase::Queue), cut_off(Phase::AwaitHead)), (Some(503), Some(502)));
        assert_eq!(Ending::SERVED.status(), None);
        assert_eq!(Ending::new(Cause::HttpProtocolError(431), Phase::ReadHead).status(), Some(431));
    }
}
