//! How many of what.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
        key(
            "name",
            "text",
            "`\"web\"`",
            "",
            "The service's name: nodes are `web.1`, `web.2`, …; lower-case letters, digits and `-`.",
        ),
        key(
            "nodes",
            "number, 0 to 1000",
            "1",
            "`--scale NAME=N`",
            "How many nodes. With 0, requests are held until there are some.",
        ),
        key(
            "workers",
            "number, 1 to 1024, `\"auto\"` or bounds like `\"2..8\"`",
            "one per core",
            "`-w`, `--workers`",
            "Processes in each node. Between bounds there are as many as the requests need: one more when requests have waited for a second and a core is free to run it, one fewer when that would have been enough for `limits.idle`; `tierce -v ps` and the log say why. `\"auto\"` is 1 to 4 per core: workers that compute stop at one per core by themselves, and more of them serve handlers that wait where `threads` is low.",
        ),
        key(
            "threads",
            "number, 1 to 4096",
            "256",
            "`--threads`",
            "The most requests in flight in one worker. How many there really are adapts by itself.",
        ),
        key(
            "cores",
            "number, 1 to 256",
            "one per core",
            "`--cores`",
            "Threads of the edge. A reload changes their number, and closes no connection.",
        ),
    ],
    foreign: &[
        ("processes", "`workers` is the number of processes per node"),
        ("worker_processes", "`workers` is the number of processes per node"),
        ("cheaper", "write `workers = \"2..8\"`, or \"auto\""),
        ("replicas", "write `nodes`"),
        ("scale", "write `nodes`"),
        ("master", "not needed: there is always a supervisor"),
        ("enable-threads", "not needed: concurrency adapts by itself"),
    ],
};
