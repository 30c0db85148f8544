"""What the proxies are in front of: nginx that sends a small file, on as many addresses as a cell wants.

Its memory holds the file, it keeps connections without end, and it logs nothing: it shall cost as little as possible on
the core that it shares with the load. Invariant: upstream number N is at `address(N)` in every run, and only on loopback.
"""

import os
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nginx
from peers import Setup, backlog
from servers import Server

PORT = 18390
FILE = "body"


def address(number):
    """Each has an IP address of its own, so that no proxy takes two for one."""
    return f"{host(number)}:{PORT}"


def host(number):
    return f"127.0.{number // 250}.{number % 250 + 1}"


def make_file(directory, size):
    """What all of them send; beside it stands what makes them fail."""
    files = Path(directory) / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "fail").unlink(missing_ok=True)
    (files / FILE).write_bytes(b"x" * (size - 1) + b"\n")
    return files


@contextmanager
def group(bed, numbers, size, cores, delay=0.0):
    """One nginx for these upstreams, which answers after so many seconds."""
    files = make_file(bed.directory, size)

    def http(_, directory):
        return [
            *(["open_file_cache max=10;"] if not delay else []),
            "sendfile on; tcp_nopush on;",
            "server {",
            *(f"listen {address(number)} backlog={backlog()};" for number in numbers),
            f"root {files};",
            *(slowly(files, delay) if delay else [f"location / {{ try_files /{FILE} =404; }}"]),
            "}",
        ]

    label = f"upstream-{numbers[0]}"
    program = bed.install.nginx_that_waits() if delay else bed.install.nginx()
    setup = Setup("upstream", label, nginx.command(program, http))
    with Server(setup, bed.install.apps, bed.directory, cores, host(numbers[0]), PORT) as server:
        try:
            yield Group(server, files)
        finally:
            os.killpg(server.process.pid, signal.SIGCONT)  # so that it can end


def slowly(files, delay):
    """nginx's timers wait without using a core. Once there is a file `fail`, all is answered with 503 at once."""
    wait = f"echo_sleep {delay}; echo_exec /{FILE};"
    return [f"location = /{FILE} {{ internal; }}", f"location / {{ if (-f {files}/fail) {{ return 503; }} {wait} }}"]


class Group:
    """Running upstreams, and what can befall them."""

    def __init__(self, server, files):
        self.server, self.files = server, files

    def fail(self):
        (self.files / "fail").touch()

    def hang(self):
        """The kernel still takes connections; nobody answers."""
        os.killpg(self.server.process.pid, signal.SIGSTOP)


@contextmanager
def good_and_bad(bed, cores, delay, bad_delay):
    """Three that are well, and the fourth, which is yielded."""
    with ExitStack() as stack:
        stack.enter_context(group(bed, range(3), 64, cores, delay))
        bad = bed.aside("bad")
        yield stack.enter_context(group(bad, range(3, 4), 64, cores, bad_delay))
