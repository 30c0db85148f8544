//! The right to a second try: one function of what is known of the first.

/// What happened to a request on a worker that is no more.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// The ledger says that the application was called.
    pub started: bool,
    /// A byte of a response has gone to the client.
    pub response_begun: bool,
    /// All the body bytes that were sent to the worker are still at hand.
    pub body_at_hand: bool,
    /// `GET`, …
    pub method: &'a [u8],
    /// How many workers have begun to run it, this one included when it started.
    pub starts: u32,
}

/// Whether the request may go to another worker. What was not started moves whatever its method is; what was started is
/// run once more only if its method is safe (RFC 9110 §9.2.1: GET, HEAD, OPTIONS), as the client could have done itself.
pub fn may_try_again(tried: &Tried<'_>) -> bool {
    if tried.response_begun || !tried.body_at_hand {
        return false;
    }
    !tried.started || (tried.starts < 2 && is_safe(tried.method))
}

/// Whether a client asks for nothing but an answer (RFC 9110 §9.2.1).
pub fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS")
}

/// Whether a request may be sent once more when the connection it was sent on turns out to be no more (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    is_safe(method) || matches!(method, b"PUT" | b"DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_run_twice_unseen_is_tried_again() {
        let unstarted = Tried { started: false, response_begun: false, body_at_hand: true, method: b"POST", starts: 0 };
        let started = Tried { started: true, starts: 1, ..unstarted };
        for (tried, expected) in [
            (unstarted, true),
            (Tried { body_at_hand: false, ..unstarted }, false),
            (started, false),
            (Tried { method: b"PUT", ..started }, false),
            (Tried { method: b"GET", ..started }, true),
            (Tried { method: b"HEAD", ..started }, true),
            (Tried { method: b"OPTIONS", ..started }, true),
            (Tried { method: b"GET", starts: 2, ..started }, false),
            (Tried { method: b"GET", response_begun: true, ..started }, false),
        ] {
            assert_eq!(may_try_again(&tried), expected, "{tried:?}");
        }
    }
}
