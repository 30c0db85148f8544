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
    /// Its node or worker was to stop, and the request was not finished within `limits.drain`.
    Draining,
    /// The request cannot be understood (RFC 9112) or is refused as ambiguous; the status says which.
    HttpProtocolError(u16),
    /// The application gave no response head within `limits.time` (RFC 9209 `http_response_timeout`).
    HttpResponseTimeout,
    /// The response broke off, or did not have the length it declared (RFC 9209 `http_response_incomplete`).
    HttpResponseIncomplete,
    /// No slot was free, and the queue is full.
    QueueFull,
    /// No worker has started the request within `limits.queue`.
    QueueTimeout,
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
            Cause::ClientTimedOut => Some(408),
            Cause::HttpProtocolError(status) => Some(status),
            Cause::HttpResponseTimeout | Cause::ConnectionTimeout => Some(504),
            Cause::HttpResponseIncomplete | Cause::WorkerCrashed => Some(502),
            Cause::ConnectionRefused | Cause::ConnectionTerminated | Cause::UpstreamProtocolError => Some(502),
            Cause::DestinationUnavailable => Some(503),
            // 503 would say that nothing was done yet and that it may be sent again.
            Cause::Draining if self.phase == Phase::AwaitHead => Some(502),
            Cause::Draining | Cause::QueueFull | Cause::QueueTimeout => Some(503),
            Cause::ProxyInternalError => Some(500),
        }
    }
}

impl Cause {
    /// The word for logs, metrics and error pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::AppException => "app_exception",
            Self::AppNotLoaded => "app_not_loaded",
            Self::BodyTooLarge => "body_too_large",
            Self::ClientClosed => "client_closed",
            Self::ClientTimedOut => "client_timed_out",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::Draining => "draining",
            Self::HttpProtocolError(_) => "http_protocol_error",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::UpstreamProtocolError => "upstream_protocol_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::WorkerCrashed => "worker_crashed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
