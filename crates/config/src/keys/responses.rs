//! What is said or done beside the application's response.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
        key(
            "expose",
            "true or false",
            "false",
            "",
            "Whether responses carry `X-Served-By: web.2/1234`; one that the application sets is then left out.",
        ),
        key(
            "server_timing",
            "true or false",
            "false",
            "",
            "Whether responses carry `Server-Timing`: how long the request has waited (`queue`) and been worked at (`app`), in milliseconds.",
        ),
        key(
            "traceparent",
            "`\"make\"` or `\"pass\"`",
            "`\"make\"`",
            "",
            "Whether a request without a valid `traceparent` (W3C Trace Context) gets one, which is marked as sampled; the application and the JSON access log have it. With `pass`, only those that come with one have one.",
        ),
        key(
            "compress",
            "true or false",
            "false",
            "",
            "Whether responses of at least 1 KiB whose type gains by it (text, JSON, JavaScript, XML, SVG, WebAssembly, …) are compressed with zstd, brotli or gzip for clients that accept it. Those with `Content-Encoding` or `Cache-Control: no-transform`, streams of events and parts of files are left alone. [What not to compress](../guides/compression.md).",
        ),
    ],
    foreign: &[
        ("gzip", "write `compress = true`"),
        ("gzip_types", "write `compress = true`: all types that gain by it are compressed"),
        ("gzip_min_length", "write `compress = true`: what is shorter than 1 KiB is left alone"),
        ("brotli", "write `compress = true`"),
        ("zstd", "write `compress = true`"),
        ("encode", "write `compress = true`"),
        ("compression", "write `compress = true`"),
    ],
};
