//! What stands before the application.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
        key(
            "rate_limit",
            "`\"10/s\"`, or `{ rate, burst, by }`",
            "none",
            "",
            "How often one client may ask the application: `10/s`, `100/min`, `1000/h`; beyond: 429 with `Retry-After`. The client is whom `trusted_proxies` or `proxy_protocol` tell of; of IPv6 a /64 is one, and all that comes through a Unix socket. Of up to 131072 clients it is remembered.",
        ),
        key("rate_limit.rate", "text", "none", "", "The same, beside `burst` or `by`."),
        key(
            "rate_limit.burst",
            "number, 1 to 1000000",
            "the number of the rate",
            "",
            "How many may come at once before the rate counts.",
        ),
        key(
            "rate_limit.by",
            "`\"client\"` or `\"header:NAME\"`",
            "`\"client\"`",
            "",
            "Who is one client: an address, or whoever sends the same value in this field, as `header:X-Api-Key`; those without it count by address. Whoever makes up values is a new client with each.",
        ),
        key(
            "maintenance",
            "true, false or `{ page, retry_after, allow }`",
            "false",
            "",
            "Nobody gets to the application, from the next `tierce reload` on: 503 with `Retry-After`. `static`, redirects and answers of routes go on, so that a page can have its pictures.",
        ),
        key(
            "maintenance.page",
            "path",
            "a page of ours",
            "",
            "A file of HTML for browsers; others get JSON or text. It is read at the start and by a reload.",
        ),
        key("maintenance.retry_after", "duration", "`\"1m\"`", "", "When clients are asked to come again."),
        key(
            "maintenance.allow",
            "list of addresses",
            "nobody",
            "",
            "Who is served all the same, as `10.0.0.0/8` or `unix`.",
        ),
        key(
            "error_pages",
            "table of paths",
            "pages of ours",
            "",
            "Files of HTML for browsers, in place of what Tierce itself says: `{ \"502\" = \"502.html\", \"5xx\" = \"sorry.html\" }`. What the application answers, and what other clients get, stays as it is. They are read at the start and by a reload.",
        ),
    ],
    foreign: &[
        ("limit_req", "write `rate_limit = \"10/s\"`"),
        ("limit_req_zone", "write `rate_limit = \"10/s\"`"),
        ("error_page", "write `error_pages = { \"5xx\" = \"sorry.html\" }`"),
        ("errorfile", "write `error_pages = { \"5xx\" = \"sorry.html\" }`"),
    ],
};
