//! Other servers, and which of them or of the nodes gets a request.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
        key(
            "upstream",
            "list of URLs or tables",
            "none",
            "`--upstream`",
            "In place of `app`: other servers that answer, in HTTP/1.1 as `http://HOST:PORT`, `https://HOST` or `unix:PATH`, in the uwsgi protocol as `uwsgi://HOST:PORT` or `uwsgi:PATH`, or as `{ url = …, weight = 1, backup = false, max_concurrency = 1024 }`. A request goes to the one with the least in flight for its weight; to a backup only when no other takes requests. `Host` stays the client's; `X-Forwarded-For`, `-Proto` and `-Host` say who asks, and are continued only if a trusted proxy has sent them. WebSocket passes to those that speak HTTP. Those that speak uwsgi are told what nginx's `uwsgi_params` tell, with the client in `REMOTE_ADDR`; a body in chunks that is longer than 64 KiB gets 411, as its length has to be told first. For https, see [TLS](../guides/tls.md#to-upstreams): `ca = \"PATH\"` in place of the system's authorities, `server_name`, `certificate` and `key` for an upstream that asks for them, and `verify = false`, with which **anybody on the way can read and change everything**. `proxy_protocol = \"v1\"` or `\"v2\"` begins each connection with a header that names the client.",
        ),
        key(
            "health.path",
            "path",
            "none",
            "",
            "What upstreams are asked for to see whether they are well: 2xx and 3xx pass. Without it a connection is enough. An upstream gets no requests before a probe has passed.",
        ),
        key(
            "health.every",
            "duration",
            "`\"2s\"`",
            "",
            "How often; a tenth more or less, so that probes do not come together.",
        ),
        key(
            "health.fail",
            "number, 1 to 100",
            "3",
            "",
            "After so many failed probes in a row an upstream gets no more requests.",
        ),
        key("health.rise", "number, 1 to 100", "2", "", "After so many passed probes in a row it gets requests again."),
        key(
            "balance",
            "`\"least_outstanding\"`, `\"round_robin\"`, `\"random_two\"` or `\"consistent_hash\"`",
            "`\"least_outstanding\"`",
            "",
            "By what an upstream or a node is chosen: the least in flight, turns, the one of two by chance that has less, or by what `hash_on` says. Weights count in all of them, and who has no room or does not take requests is passed over.",
        ),
        key(
            "hash_on",
            "`\"client\"`, `\"path\"`, `\"uri\"`, `\"header:NAME\"` or `\"cookie:NAME\"`",
            "`\"client\"`",
            "",
            "Where `balance` is `consistent_hash`: requests that have the same go to the same one, as long as it has no more than 1.25 times as many in flight as all have on average. `uri` is path and query. Requests that do not have it go where the least is in flight.",
        ),
        key(
            "sticky",
            "true, false or `{ cookie = NAME }`",
            "false",
            "",
            "Whether clients stay with the node that has answered them first, by a cookie (`tierce_node`; `tierce_node-NAME` for a service of routes) that names it to nobody else. A request waits for its node, at most `limits.queue`, as long as that takes requests, and goes elsewhere when it does not, for example after `tierce drain`.",
        ),
        key(
            "slow_start",
            "duration",
            "`\"0s\"`",
            "",
            "For so long an upstream that has become ready gets less than its part, from little to all of it. Nodes of an application need none: they show what they can take.",
        ),
    ],
    foreign: &[
        ("proxy_pass", "write `upstream = [\"http://HOST:PORT\"]`"),
        ("uwsgi_pass", "write `upstream = [\"uwsgi://HOST:PORT\"]`"),
        ("backend", "write `upstream = [\"http://HOST:PORT\"]`"),
        ("least_conn", "it is the default: `balance = \"least_outstanding\"`"),
        ("leastconn", "it is the default: `balance = \"least_outstanding\"`"),
        ("roundrobin", "write `balance = \"round_robin\"`"),
        ("random", "write `balance = \"random_two\"`"),
        ("ip_hash", "write `balance = \"consistent_hash\"`"),
        ("hash", "write `balance = \"consistent_hash\"` and `hash_on`"),
        ("source", "write `balance = \"consistent_hash\"`"),
        ("lb_policy", "write `balance`"),
        ("load_balancing", "write `balance`"),
        ("cookie", "write `sticky = true`"),
        ("slowstart", "write `slow_start = \"10s\"`"),
        ("max_fails", "not needed: who fails on and on is left alone for a while"),
        ("fail_timeout", "not needed: who fails on and on is left alone for a while"),
    ],
};
