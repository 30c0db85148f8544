//! Which trace a request belongs to (W3C Trace Context).
//!
//! The edge records no spans, so that what comes is passed on as it is: a parent of our own would be one that nobody finds.
//! Invariant: the application gets one `traceparent` at most, a valid one, and `tracestate` only with the one that came.

use config::Tracing;
use http::{Field, FieldKind, RequestHead};
use units::TraceContext;

use crate::thread::Thread;

/// A request's place in a trace, and who has put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// It came with the request.
    Given(TraceContext),
    /// The trace begins here.
    Made(TraceContext),
    /// It belongs to none.
    None,
}

/// The trace of a request with this head.
pub(crate) fn of(thread: &Thread, tracing: Tracing, head: &RequestHead, input: &[u8]) -> Trace {
    match (given(head, input), tracing) {
        (Some(context), _) => Trace::Given(context),
        (None, Tracing::Make) => Trace::Made(thread.make_trace()),
        (None, Tracing::Pass) => Trace::None,
    }
}

/// More than one are as good as none (§2.2 of the recommendation).
fn given(head: &RequestHead, input: &[u8]) -> Option<TraceContext> {
    let mut given = head.fields.iter().filter(|field| field.kind == FieldKind::TraceParent);
    match (given.next(), given.next()) {
        (Some(Field { value, .. }), None) => TraceContext::parse(value.of(input)),
        _ => None,
    }
}

impl Trace {
    pub(crate) fn context(&self) -> Option<&TraceContext> {
        match self {
            Self::Given(context) | Self::Made(context) => Some(context),
            Self::None => None,
        }
    }

    /// Whether a field that came with the request goes on with it.
    pub(crate) fn passes(&self, kind: FieldKind) -> bool {
        match kind {
            // Written anew from what was understood.
            FieldKind::TraceParent => false,
            FieldKind::TraceState => matches!(self, Self::Given(_)),
            _ => true,
        }
    }
}
