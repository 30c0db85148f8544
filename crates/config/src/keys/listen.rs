//! Where requests come in, and what is before the first.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
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
    ],
    foreign: &[
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
        ("ssl", "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`"),
        ("certfile", "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`"),
        ("ssl_certificate", "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`"),
        ("backlog", "not needed: it is 4096"),
    ],
};
