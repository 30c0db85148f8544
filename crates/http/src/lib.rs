//! HTTP/1.1 for the side that serves, and towards upstreams: requests are read, responses are read and written. No I/O,
//! no clock.
//!
//! Invariant: where two parsers could read the same bytes differently, they are refused (RFC 9112 §11.2); what is passed
//! on is written anew from what was understood.
#![forbid(unsafe_code)]

mod bytes; // which bytes may stand where
mod target; // the request target and the host
mod path; // the same as routes and files see it
mod fields; // what the fields mean for framing and connection
mod head; // a request's head as spans of the buffer that it came in
mod parse; // bytes to head, or the reason to refuse
mod uwsgi; // the same out of a packet of variables
mod packet; // such a packet, for servers that speak uwsgi
mod forwarded; // what proxies tell of the client
mod proxy_header; // what a proxy that passes bytes through puts before them
mod body; // a body's bytes out of its framing
mod response; // status line, fields and framing of a response
mod received; // an upstream's response: bytes to head
mod upgrade; // leaving HTTP for WebSocket
mod conditional; // conditions, ranges and codings of what is asked for
mod date; // the Date field, and dates that clients send

#[cfg(any(test, fuzzing))]
pub mod fuzz; // what holds of all of them, whatever the bytes are

pub use body::{BodyDecoder, Decoded};
pub use conditional::{Coding, Condition, Selected, Validators, accepted_codings, condition, selected};
pub use date::{DateCache, parse_date, write_date};
pub use fields::could_be_taken_for_ours;
pub use forwarded::{Forwarded, Origin, forwarded};
pub use head::{Field, FieldKind, Framing, Gateway, Limits, Refusal, RequestHead, Scheme, Span, Version};
pub use packet::PacketWriter;
pub use parse::{HeadScan, asks_for_head, parse_request};
pub use path::{Named, has_dot_segments, path_prefix, relative_path};
pub use proxy_header::{PROXY_HEADER_MAX, ProxyHeader, parse_proxy_header, write_proxy_binary, write_proxy_line};
pub use received::{ReceivedBody, ReceivedHead, parse_response};
pub use response::{
    CHUNK_END, LAST_CHUNK, ResponseFraming, reason_phrase, response_framing, write_chunk_head, write_content_length,
    write_field, write_fields_without, write_status_line,
};
pub use upgrade::{asks_for_websocket, switches_to_websocket};
pub use uwsgi::parse_uwsgi;
