"""The edge and its peers: the configuration of each, for what a cell asks of a proxy.

Invariant: as in peers.py, each is set up as its documentation advises for that work; no access log, connections to the
upstreams kept in as large a number as the cell can use. The reasons are beside the options and in README.md.
"""

import json
import subprocess
from dataclasses import dataclass
from enum import Enum

import nginx
from handshakes import CURVE
from peers import Setup, backlog
from servers import Failed
from upstreams import FILE, address

HOUR = "3600s"
TRIES = 3  # of a request, where failures are tried elsewhere


class Serves(Enum):
    UPSTREAMS = "requests go to upstreams"
    FILES = "files of a directory"
    HANDSHAKES = "a fixed answer, over TLS 1.3"


class Care(Enum):
    """What is done about upstreams that may be ill."""

    NONE = "nothing: they are well"
    PROBES = "connected to every 2 s, as Tierce does by itself"
    ALL = "asked every second, out after 2 failures; 1 s for a connection, 2 s for an answer; others are tried"


@dataclass(frozen=True)
class Work:
    """What a cell asks of a proxy."""

    serves: Serves = Serves.UPSTREAMS
    connections: int = 64  # the most that are open at a time
    threads: int = 1
    upstreams: int = 1
    size: int = 64  # of a body
    care: Care = Care.NONE

    @property
    def addresses(self):
        return [address(number) for number in range(self.upstreams)]

    @property
    def kept(self):
        """Idle connections to upstreams, as many as can ever be of use."""
        return 2 * max(self.connections, self.upstreams, 256)


def setup(peer, work, command):
    scheme = "https" if work.serves is Serves.HANDSHAKES else "http"
    return [Setup(peer, peer, command, scheme, f"/{FILE}" if work.serves is Serves.FILES else "/")]


def files(directory):
    """Beside the servers' directories lies what they share."""
    return directory.parent / "files"


def certificate(directory):
    """Of P-256, the kind that most sites have by now; the same for all servers of a run."""
    place = directory.parent / "certificate"
    chain, key, both = place / "cert.pem", place / "key.pem", place / "both.pem"
    if not both.exists():
        place.mkdir(exist_ok=True)
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        words += ["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        made = subprocess.run([*words, "-keyout", key, "-out", chain], capture_output=True, text=True)
        if made.returncode != 0:
            raise Failed(f"openssl makes no certificate: {made.stderr.strip()[-100:]}")
        both.write_text(chain.read_text() + key.read_text())
    return chain, key, both


def tierce(install, work):
    """Nothing is tuned; `cores` is the cell's number of threads. The rules of health are what the others are told too."""

    def words(port, directory):
        scheme = "https" if work.serves is Serves.HANDSHAKES else "http"
        lines = [f'listen = ["{scheme}://127.0.0.1:{port}"]', f"cores = {work.threads}", 'log = { access = "off" }']
        lines += [f"upstream = {json.dumps([f'http://{one}' for one in work.addresses])}"]
        if work.care is Care.ALL:
            lines += ['health = { path = "/", every = "1s", fail = 2 }', 'limits = { time = "2s" }']
            lines += ['retry_on = ["timeout", "closed", "500", "502", "503", "504"]']
        if work.serves is Serves.FILES:
            lines += [f'static = {{ "/" = "{files(directory)}" }}']
        if work.serves is Serves.HANDSHAKES:
            chain, key, _ = certificate(directory)
            lines += [f'tls = {{ certificate = "{chain}", key = "{key}" }}']
            lines += ["[[route]]", 'respond = { status = 200, body = "ok" }']
        (directory / "tierce.toml").write_text("\n".join([*lines, ""]))
        return [install.tierce, "-C", directory, "edge"]

    return setup("tierce", work, words)


def haproxy(install, work):
    """Its manual: `http-reuse always` where upstreams are trusted to keep their connections; `leastconn` where they are not
    alike; `observe layer7` and `retry-on` for those that fail. It sends no files."""
    if work.serves is Serves.FILES:
        return []

    def words(port, directory):
        # The limit of open files is twice this and some more; it raises it by itself where it may.
        lines = ["global", f"nbthread {work.threads}", f"maxconn {max(4000, work.connections + 500)}"]
        seconds = 2 if work.care is Care.ALL else 60
        lines += ["defaults", "mode http", f"timeout connect {'1s' if work.care is Care.ALL else '5s'}"]
        lines += [f"timeout client {HOUR}", f"timeout server {seconds}s", "http-reuse always"]
        lines += ["listen edge", *bind(port, directory), *haproxy_servers()]
        (directory / "haproxy.cfg").write_text("\n".join([*lines, ""]))
        return [install.haproxy(), "-db", "-f", directory / "haproxy.cfg"]

    def bind(port, directory):
        if work.serves is Serves.UPSTREAMS:
            return [f"bind 127.0.0.1:{port} backlog {backlog()}"]
        tls = f"ssl crt {certificate(directory)[2]} curves {CURVE} ssl-min-ver TLSv1.3"
        answer = "http-request return status 200 content-type text/plain string ok"
        return [f"bind 127.0.0.1:{port} backlog {backlog()} {tls}", answer]

    def haproxy_servers():
        checked = {Care.NONE: "", Care.PROBES: " check inter 2s", Care.ALL: " check"}[work.care]
        care = ["balance leastconn", "option httpchk GET /", f"retries {TRIES - 1}", "option redispatch 1"]
        care += ["retry-on all-retryable-errors"]
        care += ["default-server inter 1s fall 2 observe layer7 error-limit 10 on-error mark-down"]
        servers = [f"server s{number} {one}{checked}" for number, one in enumerate(work.addresses)]
        return [*(care if work.care is Care.ALL else []), *servers]

    return setup("haproxy", work, words)


def nginx_peer(install, work):
    """Its documentation: `keepalive` with HTTP/1.1 and an empty `Connection`; `reuseport` for several workers; buffers that
    hold the answer, which else goes through a file; `sendfile` and `tcp_nopush` with a cache of open files. It has no
    active probes: `least_conn`, `max_fails` (of its default 1) and `proxy_next_upstream` are what it does about ill ones."""

    def http(port, directory):
        listen = f"listen 127.0.0.1:{port} backlog={backlog()}{' reuseport' if work.threads > 1 else ''}"
        if work.serves is Serves.FILES:
            fast = "sendfile on; tcp_nopush on; open_file_cache max=100;"
            return [f"{fast} server {{ {listen}; root {files(directory)}; }}"]
        if work.serves is Serves.HANDSHAKES:
            chain, key, _ = certificate(directory)
            tls = f"ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ssl_ecdh_curve {CURVE};"
            tls += " ssl_session_cache shared:tls:10m;"
            return [f'server {{ {listen} ssl; {tls} location / {{ return 200 "ok"; }} }}']
        servers = [f"server {one};" for one in work.addresses]
        least = ["least_conn;"] if work.care is Care.ALL else []
        pool = [f"keepalive {work.kept}; keepalive_requests 1000000000;"]
        hop = ["proxy_pass http://upstreams;", "proxy_http_version 1.1;", 'proxy_set_header Connection "";']
        hop += [f"proxy_buffers {2 + work.size // 16384} 16k;"] if work.size > 32768 else []  # what its default holds
        if work.care is Care.ALL:
            hop += ["proxy_connect_timeout 1s;", "proxy_read_timeout 2s;", f"proxy_next_upstream_tries {TRIES};"]
            hop += ["proxy_next_upstream error timeout http_500 http_502 http_503 http_504;"]
        return ["upstream upstreams {", *least, *servers, *pool, "}", f"server {{ {listen};", "location / {", *hop, "} }"]

    return setup("nginx", work, nginx.command(install.nginx(), http, work.threads))


def caddy(install, work):
    """Its documentation: more idle connections to one upstream than the default of 32. One thread is what it makes of one
    core. It asks other upstreams again when a connection fails; one that has answered 5xx gets nothing for a while."""
    if work.serves is Serves.HANDSHAKES:
        return []

    def words(port, directory):
        lines = ["{", "admin off", "auto_https off", "persist_config off", f"storage file_system {directory}"]
        lines += ["log {", "level ERROR", "}", "}", f"http://:{port} {{", "bind 127.0.0.1"]
        if work.serves is Serves.FILES:
            lines += [f"root * {files(directory)}", "file_server", "}"]
        else:
            lines += [f"reverse_proxy {' '.join(work.addresses)} {{", *care(), "transport http {"]
            lines += [f"keepalive_idle_conns_per_host {work.kept}", *times(), "}", "}", "}"]
        (directory / "Caddyfile").write_text("\n".join([*lines, ""]))
        return [install.program("caddy"), "run", "--config", directory / "Caddyfile", "--adapter", "caddyfile"]

    def care():
        if work.care is not Care.ALL:
            return []
        passive = ["fail_duration 10s", "max_fails 1", "unhealthy_status 5xx", f"lb_retries {TRIES - 1}"]
        return ["lb_policy least_conn", "health_uri /", "health_interval 1s", "health_timeout 1s", "health_fails 2", *passive]

    def times():
        return ["dial_timeout 1s", "response_header_timeout 2s"] if work.care is Care.ALL else []

    return setup("caddy", work, words)


def traefik(install, work):
    """Its documentation: more idle connections to one upstream than the default of 200. One thread is what it makes of one
    core. Its files are YAML, which JSON is too."""
    if work.serves is not Serves.UPSTREAMS:
        return []

    def words(port, directory):
        static = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "ERROR"},
            "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
            "providers": {"file": {"filename": str(directory / "routes.yml")}},
        }
        (directory / "traefik.yml").write_text(json.dumps(static))
        (directory / "routes.yml").write_text(json.dumps({"http": routes()}))
        return [install.program("traefik"), f"--configFile={directory / 'traefik.yml'}"]

    def routes():
        router = {"rule": "PathPrefix(`/`)", "service": "upstreams", "entryPoints": ["web"]}
        balancer = {"servers": [{"url": f"http://{one}"} for one in work.addresses], "serversTransport": "kept"}
        transport = {"maxIdleConnsPerHost": work.kept}
        found = {"routers": {"all": router}, "services": {"upstreams": {"loadBalancer": balancer}}}
        found["serversTransports"] = {"kept": transport}
        if work.care is Care.ALL:
            transport["forwardingTimeouts"] = {"dialTimeout": "1s", "responseHeaderTimeout": "2s"}
            balancer["strategy"] = "leasttime"
            balancer["healthCheck"] = {"path": "/", "interval": "1s", "timeout": "1s"}
            balancer["passiveHealthCheck"] = {"failureWindow": "10s", "maxFailedAttempts": 2}
            router["middlewares"] = ["again"]
            found["middlewares"] = {"again": {"retry": {"attempts": TRIES, "initialInterval": "1ms"}}}
        return found

    return setup("traefik", work, words)


EXTENSIONS = "type.googleapis.com/envoy.extensions"


def envoy(install, work):
    """Its documentation: `--concurrency` threads; circuit breakers above the load, as the defaults end at 1,024; for ill
    upstreams outlier detection, probes, and retries on another host."""
    if work.serves is not Serves.UPSTREAMS:
        return []

    def words(port, directory):
        listener = {"address": socket_address(f"127.0.0.1:{port}"), "tcp_backlog_size": backlog()}
        listener["filter_chains"] = [{"filters": [{"name": "http", "typed_config": manager()}]}]
        config = {"static_resources": {"listeners": [listener], "clusters": [cluster()]}}
        (directory / "envoy.json").write_text(json.dumps(config))
        words = [install.program("envoy"), "-c", directory / "envoy.json", "--concurrency", work.threads]
        return [*words, "-l", "error", "--disable-hot-restart"]

    def manager():
        route = {"cluster": "upstreams", **({"timeout": "6s", "retry_policy": again()} if work.care is Care.ALL else {})}
        everything = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
        router = {"name": "router", "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}}
        kind = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
        found = {"@type": kind, "stat_prefix": "edge", "http_filters": [router]}
        found["http_protocol_options"] = {"accept_http_10": True}  # as ab speaks it
        return {**found, "route_config": {"virtual_hosts": [everything]}}

    def again():
        others = {"@type": f"{EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
        return {
            "retry_on": "5xx,reset,connect-failure,refused-stream",
            "num_retries": TRIES - 1,
            "per_try_timeout": "2s",
            "retry_host_predicate": [{"name": "others", "typed_config": others}],
            "host_selection_retry_max_attempts": 3,
        }

    def cluster():
        hosts = [{"endpoint": {"address": socket_address(one)}} for one in work.addresses]
        limits = {name: 100_000 for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries")}
        found = {"name": "upstreams", "type": "STATIC", "circuit_breakers": {"thresholds": [limits]}}
        found["load_assignment"] = {"cluster_name": "upstreams", "endpoints": [{"lb_endpoints": hosts}]}
        if work.care is Care.ALL:
            probe = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 2}
            found |= {"lb_policy": "LEAST_REQUEST", "connect_timeout": "1s", "outlier_detection": {}}
            found["health_checks"] = [{**probe, "http_health_check": {"path": "/"}}]
        return found

    def socket_address(text):
        host, port = text.split(":")
        return {"socket_address": {"address": host, "port_value": int(port)}}

    return setup("envoy", work, words)


PEERS = {"haproxy": haproxy, "nginx": nginx_peer, "caddy": caddy, "traefik": traefik, "envoy": envoy}
