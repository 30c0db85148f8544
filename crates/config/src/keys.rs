//! Every key: what it takes, its default, its environment name and flag. This table is the schema: what is not in it is
//! refused, and the reference page is written from it.

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Dotted path in the file.
    pub(crate) path: &'static str,
    takes: &'static str,
    default: &'static str,
    flag: &'static str,
    about: &'static str,
}

const fn key(
    path: &'static str,
    takes: &'static str,
    default: &'static str,
    flag: &'static str,
    about: &'static str,
) -> Key {
    Key { path, takes, default, flag, about }
}

pub(crate) const KEYS: &[Key] = &[
    key(
        "app",
        "`\"module:callable\"`",
        "found in app.py, wsgi.py, asgi.py, main.py or manage.py",
        "`APP`",
        "What to run. `create_app()` calls a factory.",
    ),
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
    key(
        "listen",
        "list of addresses",
        "`[\"http://localhost:8080\"]`",
        "`-b`, `--bind`",
        "Where requests come in: `http://HOST:PORT`, `HOST:PORT`, `:PORT`, `https://HOST:PORT` or `unix:PATH`; in the uwsgi protocol, for nginx's `uwsgi_pass`, `uwsgi://HOST:PORT` or `uwsgi:PATH`. Whoever reaches a uwsgi listener is believed in all it says: bind it to a loopback address, a private network or a Unix socket. A reload changes the list: connections that were accepted go on.",
    ),
    key(
        "socket_mode",
        "text, as `\"660\"`",
        "what the umask leaves, mostly `\"755\"`",
        "",
        "Who may connect to the Unix sockets of `listen`, in the digits of chmod: `\"660\"` the socket's user and group, `\"666\"` whoever may enter its directory.",
    ),
    key(
        "admin",
        "address or `\"off\"`",
        "`admin.sock` in `.tierce/`",
        "",
        "Where `/metrics` (Prometheus), `/health`, `/ready` and `/nodes` are answered: `127.0.0.1:9180`, `unix:PATH`. Only loopback addresses and Unix sockets, unless `admin_public` is set. A socket is for the user who runs Tierce, or as `socket_mode` says.",
    ),
    key(
        "admin_public",
        "true or false",
        "false",
        "",
        "Whether `admin` may be an address that other machines reach: whoever reaches it sees nodes, processes and counts.",
    ),
    key(
        "tls",
        "`{ certificate = PATH, key = PATH }`, or a list of such",
        "for `https://localhost`, a certificate of a local authority",
        "",
        "The certificates of the https listeners, with their chain, and their keys; in PEM. Which one a client gets is decided by the names in them (also `*.example.org`), the first is for all other names. They are read again when they change.",
    ),
    key(
        "https_redirect",
        "true, false or a port",
        "false",
        "",
        "Sends plain requests to https with 308, except those for `/.well-known/acme-challenge/`: to the first https port of `listen`, or to the given port where clients see another.",
    ),
    key(
        "trusted_proxies",
        "list of addresses",
        "none",
        "",
        "Proxies in front, as `10.0.0.1`, `10.0.0.0/8` or `unix` (whoever comes through a Unix socket): from them, and only from them, the client's address, scheme and host are taken from `X-Forwarded-For`, `-Proto` and `-Host`, or else from `Forwarded`, and a request's name from `X-Request-Id`. They have to set these fields, or to drop those that clients send.",
    ),
    key(
        "proxy_protocol",
        "true or false",
        "false",
        "",
        "Connections begin with a header of the PROXY protocol, version 1 or 2, that names the client. Those of `trusted_proxies` only are served then, and only with it. uwsgi listeners are not concerned.",
    ),
    key(
        "static",
        "table of directories",
        "none",
        "",
        "Files that the edge sends itself, as `{ \"/static\" = \"static/\" }`: below the path `/static` those of the directory, of several paths the longest. Where there is no such file the application is asked. Names that begin with a dot and symbolic links that lead out of the directory are no files here.",
    ),
    key(
        "internal",
        "table of directories",
        "none",
        "",
        "Files that the edge sends when the application names one in its response, in place of a body: `X-Accel-Redirect: /protected/a.pdf` with `{ \"/protected\" = \"files/\" }`, or `X-Sendfile` with the file's absolute path. Clients cannot ask for them.",
    ),
    key(
        "route",
        "tables",
        "none",
        "",
        "What becomes of some requests, as `[[route]]` with the keys below. The first that fits counts, in the order of the file; what fits none goes to `app`, or to `upstream`; where there is neither, as routes have upstreams of their own, it is answered with 404 (`no_route`).",
    ),
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
    key(
        "python",
        "path",
        "searched for",
        "`--python`",
        "The interpreter. Otherwise `$VIRTUAL_ENV` and `.venv` are tried, if they have the packages that the project requires, `.tierce/venv`, which is made when there are requirements, and `python3`.",
    ),
    key("pythonpath", "list of paths", "none", "", "Directories for `sys.path`, behind the project's own."),
    key("env", "table of texts", "none", "", "Variables for the application."),
    key("env_file", "path", "none", "", "A file of `KEY=VALUE` lines for the application's environment; `env` wins."),
    key(
        "user",
        "text",
        "the one who starts Tierce",
        "",
        "The user as whom the application runs; `HOME`, `USER` and `LOGNAME` are that user's, unless `env` says otherwise.",
    ),
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
    key("limits.body", "size", "`\"10MB\"`", "", "The longest request body; beyond: 413."),
    key(
        "limits.time",
        "duration",
        "`\"30s\"`",
        "`-t`, `--timeout`",
        "From the call of the application to the head of its response; beyond: 504.",
    ),
    key(
        "limits.queue",
        "duration",
        "`\"30s\"`",
        "",
        "The longest wait until a worker starts the request; beyond: 503.",
    ),
    key("limits.queue_length", "number, 1 to 1000000", "10000", "", "How many requests may wait; beyond: 503."),
    key(
        "limits.in_flight",
        "number, 1 to 1000000",
        "none",
        "",
        "The most requests in flight in all workers together, for example as many as the database has connections.",
    ),
    key(
        "limits.tunnel",
        "duration",
        "`\"1h\"`",
        "",
        "How long a WebSocket connection to an upstream may be silent in both directions; then it is closed.",
    ),
    key(
        "limits.response",
        "size",
        "none",
        "",
        "The longest body of a response of the application or an upstream: 502 for one that announces more, and one that grows beyond it is broken off.",
    ),
    key(
        "limits.client_in_flight",
        "number, 1 to 1000000",
        "none",
        "",
        "The most requests of one client that wait or are in flight; beyond: 429. Who is one client is said at `rate_limit`.",
    ),
    key(
        "limits.client_connections",
        "number, 1 to 1000000",
        "none",
        "",
        "The most connections of one address (of IPv6, one /64); one more is closed at once. Those of `trusted_proxies` and of Unix sockets are not counted.",
    ),
    key(
        "limits.on_disconnect",
        "`\"finish\"` or `\"interrupt\"`",
        "`\"finish\"`",
        "",
        "What becomes of a handler whose client has gone: it runs to its end, or `ClientDisconnected` is raised in it.",
    ),
    key(
        "limits.requests",
        "number, 1 to 1000000000",
        "none",
        "",
        "A worker is replaced after about so many requests (at most a tenth fewer, so that not all are replaced at a time).",
    ),
    key(
        "limits.age",
        "duration",
        "none",
        "",
        "A worker is replaced when it is about so old (at most a tenth younger, so that not all are replaced at a time).",
    ),
    key(
        "limits.memory",
        "size",
        "none",
        "",
        "A worker is replaced when its memory (PSS, its share of shared pages included) is larger.",
    ),
    key(
        "limits.idle",
        "duration",
        "`\"60s\"`",
        "",
        "Where `workers` has bounds: how long fewer must have been enough before a worker leaves. Longer, up to 32 times, after one was missed soon after it had left.",
    ),
    key("limits.start", "duration", "`\"60s\"`", "", "How long a node may take to be ready."),
    key("limits.drain", "duration", "`\"30s\"`", "", "How long requests in flight may take when a node is stopped."),
    key(
        "log.access",
        "`\"auto\"`, `\"text\"`, `\"json\"`, `\"combined\"` or `\"off\"`",
        "`\"auto\"`",
        "`--access-log`",
        "The access log; `auto` is text on a terminal and JSON otherwise, `combined` the format of Apache and nginx.",
    ),
];

/// The keys of a `[[route]]`.
const ROUTE_KEYS: &[Key] = &[
    key(
        "route.host",
        "text or list",
        "any",
        "",
        "The host that is asked for, without port; `*.example.org` is any below it.",
    ),
    key(
        "route.path",
        "path",
        "`\"/\"`",
        "",
        "It and all below it, segment by segment: `/a` is `/a` and `/a/b`, not `/ab`. Escapes are decoded before.",
    ),
    key("route.method", "text or list", "any", "", "`\"POST\"`, `[\"GET\", \"HEAD\"]`."),
    key(
        "route.header",
        "table of texts",
        "any",
        "",
        "Fields that the request has, with this value; `\"*\"` is any value.",
    ),
    key(
        "route.allow",
        "list of addresses",
        "everybody",
        "",
        "From where clients may come, as `10.0.0.0/8` or `unix`; others get 403. The client is whom `trusted_proxies` tell of.",
    ),
    key("route.deny", "list of addresses", "nobody", "", "From where they may not, even if `allow` has them."),
    key(
        "route.basic_auth",
        "path",
        "nobody is asked",
        "",
        "A file of users and their passwords as `htpasswd -B` writes it (bcrypt), or with hashes of argon2id (`$argon2id$…`); others get 401, and 429 when a client has tried 20 wrong passwords and more than one a second. It is read at the start and by a reload.",
    ),
    key("route.limits.body", "size", "`limits.body`", "", "The longest request body."),
    key(
        "route.limits.time",
        "duration",
        "`limits.time`",
        "",
        "From the call of the application to the head of its response.",
    ),
    key("route.limits.response", "size", "`limits.response`", "", "The longest body of a response."),
    key("route.limits.queue", "duration", "`limits.queue`", "", "The longest wait until a worker starts the request."),
    key(
        "route.limits.in_flight",
        "number, 1 to 1000000",
        "none",
        "",
        "How many of its requests the application may have at a time, so that others find room beside them; more wait in line.",
    ),
    key(
        "route.limits.queue_length",
        "number, 1 to 1000000",
        "`limits.queue_length`",
        "",
        "How many of them may wait in that line; beyond: 503.",
    ),
    key(
        "route.rate_limit",
        "`\"10/s\"`, `{ rate, burst, by }` or `\"off\"`",
        "`rate_limit`",
        "",
        "How often one client may come, in place of `rate_limit`, and counted apart; also where the route or a file is the answer.",
    ),
    key("route.rate_limit.rate", "text", "", "", "The same, beside `burst` or `by`."),
    key("route.rate_limit.burst", "number, 1 to 1000000", "the number of the rate", "", "How many may come at once."),
    key("route.rate_limit.by", "`\"client\"` or `\"header:NAME\"`", "`\"client\"`", "", "Who is one client."),
    key(
        "route.maintenance",
        "true, false or `{ page, retry_after, allow }`",
        "`maintenance`",
        "",
        "Whether the route's requests get to the application; `false` keeps it open while all others are closed.",
    ),
    key("route.maintenance.page", "path", "a page of ours", "", "A file of HTML for browsers."),
    key("route.maintenance.retry_after", "duration", "`\"1m\"`", "", "When clients are asked to come again."),
    key("route.maintenance.allow", "list of addresses", "nobody", "", "Who is served all the same."),
    key("route.compress", "true or false", "`compress`", "", "Whether responses are compressed."),
    key(
        "route.set_request_header",
        "table of texts",
        "none",
        "",
        "Fields that the application is told, in place of those with their names; also `Host`.",
    ),
    key("route.remove_request_header", "list of texts", "none", "", "Fields that it is not told."),
    key(
        "route.set_header",
        "table of texts",
        "none",
        "",
        "Fields of the response, in place of those with their names.",
    ),
    key("route.remove_header", "list of texts", "none", "", "Fields that are left out of the response."),
    key(
        "route.upstream",
        "list of URLs or tables",
        "none",
        "",
        "Other servers that answer, as the key `upstream` has them, in place of whoever answers otherwise: with a queue, probes (`health`) and retries of their own. `limits.queue_length` holds for each queue. With `redirect`, `respond` and `static` it cannot be had.",
    ),
    key(
        "route.name",
        "text",
        "from `path`, or from `host`",
        "",
        "How these upstreams are called by `ps`, metrics and messages: lower-case letters, digits and `-`. Routes with the same name have the same upstreams, and one queue.",
    ),
    key(
        "route.redirect",
        "text, or `{ to, status }`",
        "",
        "",
        "Sends the client elsewhere: `\"https://{host}{uri}\"`, `\"/new{rest}\"`. `{uri}` is path and query, `{rest}` what follows the route's path.",
    ),
    key("route.redirect.to", "text", "", "", "Where."),
    key("route.redirect.status", "301, 302, 303, 307 or 308", "302", "", "How."),
    key("route.respond", "number, or `{ status, body, type }`", "", "", "Answers with this."),
    key("route.respond.status", "number, 200 to 599", "200", "", "The status."),
    key("route.respond.body", "text", "nothing", "", "The body."),
    key("route.respond.type", "text", "`\"text/plain; charset=utf-8\"`", "", "Its type."),
    key(
        "route.static",
        "path",
        "",
        "",
        "A directory whose files are found below `path`; where there is no such file the application is asked.",
    ),
    key(
        "route.fallback",
        "path",
        "none",
        "",
        "A file below `static` that is sent to GET and HEAD where there is none, as `index.html` of an application that runs in the browser.",
    ),
    key(
        "route.strip_prefix",
        "true or false",
        "false",
        "",
        "The application is told the path without `path`, which becomes its `SCRIPT_NAME`.",
    ),
    key("route.rewrite", "path", "", "", "The application is told this in place of `path`."),
];

pub(crate) fn is_known_in_route(path: &str) -> bool {
    ROUTE_KEYS.iter().any(|key| key.path == path)
}

/// Whether there are keys of a route below this one.
pub(crate) fn holds_route_keys(path: &str) -> bool {
    ROUTE_KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The same as [`suggest`], within a route.
pub(crate) fn suggest_in_route(path: &str) -> (Option<&'static str>, Option<String>) {
    let word = path.rsplit_once('.').map_or(path, |(_, word)| word);
    if let Some((_, hint)) = FOREIGN_IN_ROUTE.iter().find(|(foreign, _)| *foreign == word) {
        return (None, Some((*hint).to_owned()));
    }
    let near = ROUTE_KEYS.iter().filter_map(|key| Some((key.path, distance(split(path).1, split(key.path).1)?)));
    (near.min_by_key(|(_, rank)| *rank).map(|(meant, _)| meant), None)
}

/// Names that users bring along into a route.
const FOREIGN_IN_ROUTE: &[(&str, &str)] = &[
    ("location", "write `path`"),
    ("prefix", "write `path`"),
    ("server_name", "write `host`"),
    ("alias", "write `static`"),
    ("root", "write `static`: it stands for `path` itself, as nginx's alias does"),
    ("return", "write `respond` or `redirect`"),
    ("add_header", "write `set_header`"),
    ("auth_basic", "write `basic_auth = \"FILE\"`"),
    ("auth_basic_user_file", "write `basic_auth = \"FILE\"`"),
    ("try_files", "write `static`, and `fallback = \"index.html\"`"),
    ("limit_req", "write `rate_limit = \"10/s\"`"),
    ("limit_conn", "write `limits = { in_flight = 10 }`"),
    ("in_flight", "write `limits = { in_flight = 10 }`"),
    ("queue", "write `limits = { queue = \"5s\" }`"),
    ("error_page", "`error_pages` are for all routes"),
    ("gzip", "write `compress = true`"),
    ("brotli", "write `compress = true`"),
    ("encode", "write `compress = true`"),
    ("compression", "write `compress = true`"),
    ("app", "this version runs one application"),
    ("proxy_pass", "write `upstream = [\"http://HOST:PORT\"]`"),
    ("reverse_proxy", "write `upstream = [\"http://HOST:PORT\"]`"),
    ("use_backend", "write `upstream = [\"http://HOST:PORT\"]`"),
    ("backend", "write `upstream = [\"http://HOST:PORT\"]`"),
    ("service", "write `upstream = [\"http://HOST:PORT\"]`, and `name` for what it is called"),
];

/// Keys that a single text cannot hold.
pub(crate) fn has_variable(path: &str) -> bool {
    !["env", "tls", "static", "internal", "route", "error_pages"].contains(&path)
}

/// Tables that hold keys.
pub(crate) const TABLES: &[&str] = &["health", "limits", "log", "rate_limit", "maintenance"];

/// Names that users bring along, and what to write here.
const FOREIGN: &[(&str, &str)] = &[
    ("processes", "`workers` is the number of processes per node"),
    ("worker_processes", "`workers` is the number of processes per node"),
    ("cheaper", "write `workers = \"2..8\"`, or \"auto\""),
    ("cheaper-idle", "write `limits.idle`"),
    ("module", "write `app = \"module:callable\"`"),
    ("wsgi-file", "write `app = \"module:callable\"`"),
    ("callable", "write `app = \"module:callable\"`"),
    ("wsgi_app", "write `app = \"module:callable\"`"),
    ("max-requests", "write `limits.requests`"),
    ("max_requests", "write `limits.requests`"),
    ("max-worker-lifetime", "write `limits.age`"),
    ("reload", "watching files is for development, not for a file that goes to production: tierce up --reload"),
    ("py-autoreload", "watching files is for development: tierce up --reload"),
    ("touch-reload", "tierce reload takes new code; for development, tierce up --reload watches the files"),
    ("reload-on-rss", "write `limits.memory`"),
    ("harakiri", "`limits.time` bounds the wait for a response"),
    ("timeout", "`limits.time` bounds the wait for a response"),
    ("graceful_timeout", "`limits.drain` bounds the wait for requests in flight"),
    ("bind", "write `listen = [\"http://HOST:PORT\"]`"),
    ("http", "write `listen = [\"http://HOST:PORT\"]`"),
    ("http-socket", "write `listen = [\"http://HOST:PORT\"]`"),
    (
        "socket",
        "write `listen = [\"uwsgi://HOST:PORT\"]` or `listen = [\"uwsgi:PATH\"]`, to which nginx can uwsgi_pass",
    ),
    (
        "uwsgi-socket",
        "write `listen = [\"uwsgi://HOST:PORT\"]` or `listen = [\"uwsgi:PATH\"]`, to which nginx can uwsgi_pass",
    ),
    ("chmod-socket", "write `socket_mode = \"660\"`"),
    (
        "umask",
        "the Unix sockets of `listen` have the mode `socket_mode`; files have the umask of whoever starts Tierce",
    ),
    ("forwarded-allow-ips", "write `trusted_proxies = [\"10.0.0.0/8\"]`"),
    ("set-real-ip-from", "write `trusted_proxies = [\"10.0.0.0/8\"]`"),
    ("proxy-headers", "write `trusted_proxies = [\"10.0.0.0/8\"]`"),
    ("host", "write `listen = [\"http://HOST:PORT\"]`"),
    ("port", "write `listen = [\"http://HOST:PORT\"]`"),
    ("venv", "`python` is the path of the interpreter, for example `.venv/bin/python`"),
    ("virtualenv", "`python` is the path of the interpreter, for example `.venv/bin/python`"),
    ("home", "`python` is the path of the interpreter, for example `.venv/bin/python`"),
    ("chdir", "the project is the directory of the file; see `-C`"),
    ("uid", "write `user`"),
    ("replicas", "write `nodes`"),
    ("scale", "write `nodes`"),
    ("client_max_body_size", "write `limits.body`"),
    ("master", "not needed: there is always a supervisor"),
    ("lazy-apps", "not needed: each node imports the application once and forks its workers"),
    ("enable-threads", "not needed: concurrency adapts by itself"),
    ("ssl", "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`"),
    ("certfile", "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`"),
    ("ssl_certificate", "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`"),
    ("proxy_pass", "write `upstream = [\"http://HOST:PORT\"]`"),
    ("uwsgi_pass", "write `upstream = [\"uwsgi://HOST:PORT\"]`"),
    ("backend", "write `upstream = [\"http://HOST:PORT\"]`"),
    ("timeout-tunnel", "write `limits.tunnel`"),
    ("stream-timeout", "write `limits.tunnel`"),
    ("websocket-timeout", "write `limits.tunnel`"),
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
    ("backlog", "not needed: it is 4096"),
    ("limit_req", "write `rate_limit = \"10/s\"`"),
    ("limit_req_zone", "write `rate_limit = \"10/s\"`"),
    ("limit_conn", "write `limits.client_in_flight`, or `limits.client_connections`"),
    ("in_flight_req", "write `limits.client_in_flight`"),
    ("error_page", "write `error_pages = { \"5xx\" = \"sorry.html\" }`"),
    ("errorfile", "write `error_pages = { \"5xx\" = \"sorry.html\" }`"),
    ("gzip", "write `compress = true`"),
    ("gzip_types", "write `compress = true`: all types that gain by it are compressed"),
    ("gzip_min_length", "write `compress = true`: what is shorter than 1 KiB is left alone"),
    ("brotli", "write `compress = true`"),
    ("zstd", "write `compress = true`"),
    ("encode", "write `compress = true`"),
    ("compression", "write `compress = true`"),
];

/// Keys of the language that this version does not have.
const LATER: &[&str] = &["command"];

pub(crate) fn is_known(path: &str) -> bool {
    KEYS.iter().any(|key| key.path == path)
}

/// What to say of an unknown key: the meant one if it is near, and what to do.
pub(crate) fn suggest(path: &str) -> (Option<&'static str>, Option<String>) {
    if LATER.contains(&path) {
        return (None, Some("this version does not have it".to_owned()));
    }
    if let Some((_, hint)) = FOREIGN.iter().find(|(foreign, _)| *foreign == path || *foreign == path.replace('_', "-"))
    {
        return (None, Some((*hint).to_owned()));
    }
    // The last words, as a key may stand in the wrong table.
    let (table, word) = split(path);
    let names = KEYS.iter().map(|key| key.path).chain(TABLES.iter().copied());
    let near = names.filter_map(|name| {
        let (its_table, its_word) = split(name);
        Some((name, (distance(word, its_word)?, table != its_table)))
    });
    let best = near.min_by_key(|(_, rank)| *rank);
    (best.map(|(meant, _)| meant), None)
}

/// `limits.time` → `limits`, `time`.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// How many letters have to be changed, if it is few enough for a slip of the hand: one of three.
fn distance(given: &str, meant: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(given, meant);
    (distance * 3 <= given.len().min(meant.len())).then_some(distance)
}

/// `limits.queue_length` → `TIERCE_LIMITS__QUEUE_LENGTH`.
pub(crate) fn variable(path: &str) -> String {
    format!("TIERCE_{}", path.replace('.', "__").to_uppercase())
}

/// The reference page of the documentation.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Configuration reference\n\nThe file is `tierce.toml`, or the table `[tool.tierce]` of `pyproject.toml`. A flag wins over the environment, the\n\
         environment over the file, the file over `PORT` and `WEB_CONCURRENCY`, those over the default. Durations are written\n\
         with a unit (`\"30s\"`, `\"200ms\"`, `\"5m\"`), sizes too (`\"10MB\"`, `\"64KiB\"`).\n\n\
         | key | takes | default | environment | flag | |\n|---|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let variable = if has_variable(key.path) { format!("`{}`", variable(key.path)) } else { String::new() };
        page.push_str(&format!(
            "| `{}` | {} | {} | {variable} | {} | {} |\n",
            key.path, key.takes, key.default, key.flag, key.about
        ));
    }
    page.push_str("\n## Keys of a `[[route]]`\n\n| key | takes | default | |\n|---|---|---|---|\n");
    for key in ROUTE_KEYS {
        let name = key.path.strip_prefix("route.").unwrap_or(key.path);
        page.push_str(&format!("| `{name}` | {} | {} | {} |\n", key.takes, key.default, key.about));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested_is_near() {
        for (path, meant) in [
            ("worker", Some("workers")),
            ("wrokers", Some("workers")),
            ("limit", Some("limits")),
            ("limits.tiem", Some("limits.time")),
            ("limits.workers", Some("workers")),
            ("drain", Some("limits.drain")),
            ("queue_lenght", Some("limits.queue_length")),
            ("pythnpath", Some("pythonpath")),
            ("env-file", Some("env_file")),
            ("debug", None),
            ("bogus", None),
            ("limits.bogus", None),
            ("access_log", None),
        ] {
            assert_eq!(suggest(path), (meant, None), "{path}");
        }
        for path in ["certfile", "ssl", "host", "harakiri"] {
            let (meant, hint) = suggest(path);
            assert!(meant.is_none() && hint.is_some(), "{path}");
        }
    }
}
