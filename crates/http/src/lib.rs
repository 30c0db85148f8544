//! HTTP/1.1 for the side that serves, and towards upstreams: requests are read, responses are read and written. No I/O,
//! no clock.
//!
//! Invariant: where two parsers could read the same bytes differently, they are refused (RFC 9112 §11.2); what is passed
//! on is written anew from what was understood.
#![forbid(unsafe_code)]

mod bytes; // which bytes may stand where
mod target; // the request target and the host
mod fields; // what the fields mean for framing and connection
mod head; // a request's head as spans of the buffer that it came in
mod parse; // bytes to head, or the reason to refuse
mod uwsgi; // the same out of a packet of variables
mod forwarded; // what proxies tell of the client
mod body; // a body's bytes out of its framing
mod response; // status line, fields and framing of a response
mod received; // an upstream's response: bytes to head
mod date; // the Date field

pub use body::{BodyDecoder, Decoded};
pub use date::DateCache;
pub use fields::could_be_taken_for_ours;
pub use forwarded::{Forwarded, Origin, forwarded};
pub use head::{Field, FieldKind, Framing, Gateway, Limits, Refusal, RequestHead, Scheme, Span, Version};
pub use parse::{HeadScan, asks_for_head, parse_request};
pub use received::{ReceivedBody, ReceivedHead, parse_response};
pub use response::{
    CHUNK_END, LAST_CHUNK, ResponseFraming, reason_phrase, response_framing, write_chunk_head, write_content_length,
    write_field, write_fields_without, write_status_line,
};
pub use uwsgi::parse_uwsgi;
