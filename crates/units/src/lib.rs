//! Ids, sizes and the way a request ends: the words every other crate shares. Plain values over `std`.
//!
//! Invariant: nothing here does I/O, reads a clock or depends on another crate of the workspace.
#![forbid(unsafe_code)]

mod bytes; //       sizes: `10MB`, `64KiB`
mod duration; //    durations with a unit: `30s`, `1.5s`, `200ms`
mod ending; //      how a request ended: cause and phase
mod plural; //      counted things
mod request_id; //  16 hexadecimal digits that name one request
mod trace; //       which trace it belongs to

pub use bytes::{Bytes, BytesError};
pub use duration::{DurationError, parse_duration, show_duration};
pub use ending::{Cause, Ending, Phase};
pub use plural::plural;
pub use request_id::{RequestId, RequestIds};
pub use trace::{TraceContext, TraceId};
