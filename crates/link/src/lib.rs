//! The link between the edge and a worker: frames on a stream socket, and a ledger of what has started.
//!
//! Invariant: a decoder never panics and never trusts a length; whatever it cannot read is [`Malformed`], and the
//! reader then gives the link up. This crate does no I/O and keeps no connection state; `proxy` and `worker` do.
#![forbid(unsafe_code)]

mod frame; // the 12-byte header, the kinds, the buffer that cuts a stream into frames
mod id; // the name of an exchange on its link
mod request; // the payload of a Request frame
mod response; // the payload of a Response frame
mod file; // a part of a file in place of bytes, and how its descriptor travels
mod cancel; // why nobody wants a response any more
mod ledger; // offered, started, withdrawn: shared memory that settles who owns a request
mod vitals; // what a worker tells of itself
mod endpoint; // what the edge is given of a link
#[cfg(any(test, fuzzing))]
pub mod fuzz; // what holds of frames, whatever the bytes are

pub use cancel::Cancel;
pub use endpoint::LinkEnd;
pub use file::{Descriptors, FilePart, Outbound};
pub use frame::{FRAME_MAX, Frame, HEADER_LEN, Inbound, Kind, Malformed, flags, write_frame};
pub use id::ExchangeId;
pub use ledger::{LEDGER_PLACES, LEDGER_WORDS, Ledger, State};
pub use request::{BodyLength, Field, Place, RequestHead, RequestWriter};
pub use response::{Abort, ResponseHead, write_response};
pub use vitals::{Verdict, Vitals};

/// How many bytes of one response's body a worker may have sent beyond what the edge has passed on.
pub const RESPONSE_WINDOW: u32 = 256 * 1024;

/// How many bytes of one request's body the edge may have sent beyond what the application has read. Also the size
/// up to which a body that has arrived travels inside the Request frame, and may be sent to a second worker.
pub const BODY_WINDOW: u32 = 64 * 1024;
